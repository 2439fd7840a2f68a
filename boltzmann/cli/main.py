"""The `boltzmann` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from boltzmann import __version__
from boltzmann.app.settings import lend_to_libraries
from boltzmann.cli import (
    audit,
    checkpoint,
    config,
    data,
    doctor,
    local,
    pay,
    setup,
    simulate,
    status,
)
from boltzmann.errors import BoltzmannError
from boltzmann.privacy import keep_off_disk


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. 0: done; 1: it failed, and says why; 2: bad usage."""
    parser = argparse.ArgumentParser("boltzmann", description="Train one model on a subnet.")
    parser.add_argument("--version", action="version", version=f"boltzmann {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    local.add(commands)
    simulate.add(commands)
    setup.add(commands)
    doctor.add(commands)
    status.add(commands)
    pay.add(commands)
    checkpoint.add(commands)
    audit.add(commands)
    data.add(commands)
    config.add(commands)
    options = parser.parse_args(arguments)
    keep_off_disk()
    try:
        lend_to_libraries()
        code: int = options.run(options)
        sys.stdout.flush()
    except BoltzmannError as error:
        print(f"boltzmann: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # its reader has seen enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
        return 1
    return code
