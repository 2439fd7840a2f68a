"""Start a miner: python3 miner.py --netuid 220 (every option: --help)."""

import sys

try:
    from boltzmann.app.main import run_node
    from boltzmann.app.nodeconfig import NodeConfig
    from boltzmann.node.node import Node
    from boltzmann.protocol.commitment import Role
except ModuleNotFoundError as error:
    sys.exit(
        f"miner: the package {error.name} is not installed for {sys.executable}: use "
        f"`bash scripts/run.sh miner`, or `source .venv/bin/activate` first"
    )


async def work(node: Node, settings: NodeConfig) -> None:
    """Mine until interrupted. torch is imported here, once everything else is in order."""
    from boltzmann.node.conduct import conduct_named
    from boltzmann.node.miner import mine

    await mine(node, conduct_named(settings.adversary))


if __name__ == "__main__":
    sys.exit(run_node(Role.MINER, "Mine on a Boltzmann subnet.", sys.argv[1:], work))
