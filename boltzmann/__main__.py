"""python -m boltzmann is the `boltzmann` command."""

import sys

from boltzmann.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
