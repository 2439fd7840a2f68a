"""boltzmann doctor: what keeps a node from running, before it is started."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boltzmann.app.doctor import Finding
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
    from boltzmann.app.firsttime import indispensable
    from boltzmann.app.settings import settings_from

    flags = vars(options)
    if options.what == "bucket":
        flags["netuid"] = flags["netuid"] or "0"  # a bucket is of no subnet
    missing = indispensable(flags)
    for item in missing:
        names = " or ".join(filter(None, (item.metadata["flag"], item.metadata["env"])))
        _print(options.json, "setting", "failed", f"{names}, the {item.metadata['help']}: not set")
    if missing:
        mend = "`boltzmann setup` asks for these; or `cp .env.example .env`, and fill it in"
        _print(options.json, "mend", "skipped", mend)
        return 1
    return asyncio.run(_tell(options, settings_from(flags)))


async def _tell(options: argparse.Namespace, settings: NodeConfig) -> int:
    from boltzmann.app.doctor import Mark, examine, examine_bucket, examine_file
    from boltzmann.app.settings import ENV_FILE
    from boltzmann.protocol.commitment import Role

    role = Role.VALIDATOR if options.validator else Role.MINER
    checks = examine_bucket(settings) if options.what == "bucket" else examine(settings, role)
    failed = False
    for finding in examine_file(ENV_FILE):
        _show(options.json, finding)
    async for finding in checks:
        failed |= finding.mark is Mark.FAILED
        _show(options.json, finding)
    return int(failed)


def _show(as_json: bool, finding: Finding) -> None:
    _print(as_json, finding.name.replace("_", " "), finding.mark.value, finding.detail)


def _print(as_json: bool, check: str, mark: str, detail: str) -> None:
    plain = f"{mark:<8} {check:<{_WIDTH}} {detail}"
    print(json.dumps({"check": check, "mark": mark, "detail": detail}) if as_json else plain)
    sys.stdout.flush()
