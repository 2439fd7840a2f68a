"""boltzmann doctor: what keeps a node from running, before it is started."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boltzmann.app.nodeconfig import NodeConfig

_WIDTH = 18


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    from boltzmann.app.settings import add_node_options

    parser = commands.add_parser(
        "doctor",
        help="check wallet, chain, bucket, data, device and disk",
        description="Check what a node needs, one line each: what is wrong, and how to mend it. "
        "Exit code 0 if nothing has failed, 1 otherwise. The only thing written is a small probe "
        "object in the own bucket.",
    )
    parser.add_argument(
        "what", nargs="?", choices=("all", "bucket"), default="all", help="default: all"
    )
    parser.add_argument(
        "--validator", action="store_true", help="check what a validator needs beyond a miner"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per check")
    add_node_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check and tell. Raises: BoltzmannError for settings that are missing or malformed."""
    from boltzmann.app.settings import settings_from

    settings = settings_from(vars(options))
    return asyncio.run(_tell(options, settings))


async def _tell(options: argparse.Namespace, settings: NodeConfig) -> int:
    from boltzmann.app.doctor import Mark, examine, examine_bucket
    from boltzmann.protocol.commitment import Role

    role = Role.VALIDATOR if options.validator else Role.MINER
    checks = examine_bucket(settings) if options.what == "bucket" else examine(settings, role)
    failed = False
    async for finding in checks:
        failed |= finding.mark is Mark.FAILED
        name = finding.name.replace("_", " ")
        if options.json:
            line = json.dumps({"check": name, "mark": finding.mark.value, "detail": finding.detail})
        else:
            line = f"{finding.mark.value:<8} {name:<{_WIDTH}} {finding.detail}"
        print(line)
        sys.stdout.flush()
    return int(failed)
