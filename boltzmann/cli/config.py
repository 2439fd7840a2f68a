"""boltzmann config: what may be set, whether a run's config is in order, and its way to a chain."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from boltzmann.cli.runfile import read_run


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    from boltzmann.app.settings import add_node_options

    parser = commands.add_parser(
        "config",
        help="explain every setting; check or publish a run's config",
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
    publish = verbs.add_parser(
        "publish",
        help="begin a run on a subnet, as its owner",
        description="Check the config, its data, the bucket and the owner's wallet, put the file "
        "into the bucket and its sha256 on chain, and find it there as nodes do. The subnet is the "
        "file's; wallet, network and bucket are set as a node's.",
    )
    publish.add_argument("file", type=Path, metavar="FILE", help="the run.toml to publish")
    publish.add_argument(
        "--replace", action="store_true", help="even if the subnet's present run ends by it"
    )
    add_node_options(publish)
    publish.set_defaults(run=run_publish)


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


def run_publish(options: argparse.Namespace) -> int:
    """Publish the file. Raises: BoltzmannError."""
    from boltzmann.app.publish import publish
    from boltzmann.app.settings import settings_from

    run = read_run(options.file)
    flags = {**vars(options), "netuid": str(run.run.netuid)}
    asyncio.run(publish(settings_from(flags), run, replaces=options.replace))
    print(
        f"run {run.run.id} is on netuid {run.run.netuid}; its nodes may pin --run.hash {run.sha256}"
    )
    return 0
