"""python -m boltzmann is the `boltzmann` command."""

import sys

try:
    from boltzmann.cli.main import main
except ModuleNotFoundError as error:
    sys.exit(
        f"boltzmann: the package {error.name} is not installed for {sys.executable}: use "
        f"`bash scripts/run.sh`, or `source .venv/bin/activate` first"
    )

if __name__ == "__main__":
    sys.exit(main())
