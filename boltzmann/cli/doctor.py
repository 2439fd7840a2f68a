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
# Settings that a check needs; any text may stand in them, but for the netuid, which is a number.
_LOOKED_AT = {
    *("netuid", "network", "wallet_name", "wallet_hotkey", "wallet_path", "run_hash"),
    *("bucket", "endpoint", "access_key", "secret_key", "region", "public_url"),
    *("data_source", "device", "workdir"),
}


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
    """Check and tell. Raises: ConfigError if `.env` cannot be read."""
    from boltzmann.app.nodeconfig import NodeConfig, Secret, require_netuid
    from boltzmann.app.settings import settled
    from boltzmann.errors import ConfigError

    flags = vars(options)
    if options.what == "bucket":
        flags["netuid"] = flags["netuid"] or "0"  # a bucket is of no subnet
    values, faults = settled(flags)
    # Stand-ins for what has no default: nothing that needs them is looked at.
    nothing = {"netuid": 0, "bucket": "", "endpoint": ""}
    nothing |= {"access_key": Secret(""), "secret_key": Secret("")}
    values = {**nothing, **values}
    try:
        require_netuid(values["netuid"])
    except ConfigError as error:
        faults["netuid"], values["netuid"] = str(error), 0
    told = list(faults.values())
    try:
        settings = NodeConfig(**values)
    except ConfigError as error:
        told.append(str(error))
        settings = NodeConfig(**{name: values[name] for name in _LOOKED_AT & values.keys()})
    for fault in told:
        _print(options.json, "setting", "failed", fault)
    if told:
        mend = "in the environment or .env; `boltzmann setup` asks for what is not set at all"
        _print(options.json, "mend", "skipped", mend)
    return max(int(bool(told)), asyncio.run(_tell(options, settings, frozenset(faults))))


async def _tell(options: argparse.Namespace, settings: NodeConfig, unset: frozenset[str]) -> int:
    from boltzmann.app.doctor import Mark, examine, examine_bucket, examine_file
    from boltzmann.app.settings import ENV_FILE
    from boltzmann.protocol.commitment import Role

    role = Role.VALIDATOR if options.validator else Role.MINER
    if options.what == "bucket":
        checks = examine_bucket(settings, unset)
    else:
        checks = examine(settings, role, unset)
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
