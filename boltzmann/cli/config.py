"""boltzmann config: what may be set, and whether a run's config is in order."""

from __future__ import annotations

import argparse
from pathlib import Path

from boltzmann.cli.runfile import read_run


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "config",
        help="explain every setting, or check a run's config",
        description="Work with the settings of runs and nodes.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    reference = verbs.add_parser(
        "reference",
        help="print every key of run.toml and every setting of a node",
        description="Print every key of run.toml and every setting of a node, with default, unit "
        "and meaning, as Markdown.",
    )
    reference.set_defaults(run=run_reference)
    check = verbs.add_parser(
        "check",
        help="check a run.toml and print its hash",
        description="Read a run.toml as nodes do, and print the run's name and the file's sha256. "
        "Exit code 1 and one sentence if nodes would refuse it. The data it names are not read: "
        "`boltzmann data check` does that.",
    )
    check.add_argument("file", type=Path, metavar="FILE", help="the run.toml to check")
    check.set_defaults(run=run_check)


def run_reference(options: argparse.Namespace) -> int:
    """Print the reference."""
    from boltzmann.cli.reference import reference

    print(reference(), end="")
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Check the file. Raises: ConfigError."""
    run = read_run(options.file)
    print(f"run {run.run.id} on netuid {run.run.netuid}, sha256 {run.sha256}")
    return 0
