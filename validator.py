"""Start a validator: python3 validator.py --netuid 220 (every option: --help)."""

import sys

try:
    from boltzmann.app.main import run_node
    from boltzmann.app.nodeconfig import NodeConfig
    from boltzmann.node.node import Node
    from boltzmann.protocol.commitment import Role
except ModuleNotFoundError as error:
    sys.exit(
        f"validator: the package {error.name} is not installed for {sys.executable}: use "
        f"`bash scripts/run.sh validator`, or `source .venv/bin/activate` first"
    )


async def work(node: Node, settings: NodeConfig) -> None:
    """Validate until interrupted. torch is imported here, once everything else is in order."""
    from boltzmann.node.validator import validate

    await validate(node)


if __name__ == "__main__":
    sys.exit(run_node(Role.VALIDATOR, "Validate a Boltzmann subnet.", sys.argv[1:], work))
