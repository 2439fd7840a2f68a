"""boltzmann status: where a run stands and who takes part."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from boltzmann.cli.which_run import add_which_run, which_run

if TYPE_CHECKING:
    from boltzmann.app.status import RunStatus


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "status",
        help="show where a run stands and who takes part",
        description="Show a run's window and phase, its miners with what the chain pays them, and "
        "its validators with the newest window they put in order, from the chain and the owner's "
        "run.toml alone.",
    )
    add_which_run(parser)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show it. Raises: BoltzmannError."""
    from boltzmann.app.status import run_status

    which = which_run(options)
    status = asyncio.run(run_status(which.network, which.netuid, which.run_hash))
    print(json.dumps(asdict(status), indent=1) if options.json else _text(status))
    return 0


def _text(status: RunStatus) -> str:
    agreed = "none yet" if status.agreed is None else f"window {status.agreed}"
    lines = [
        f"run {status.run} on netuid {status.netuid}, config {status.config[:16]}",
        f"block {status.block}, window {status.window}: {status.phase}, "
        f"{status.blocks_left} blocks to go; newest in order: {agreed}",
        "",
        f"{'uid':>4}  {'validator':<10}{'stake':>12}  {'in order':>8}  weights set",
    ]
    for judge in status.validators:
        held = "-" if judge.manifest is None else str(judge.manifest)
        lines.append(
            f"{judge.uid:>4}  {judge.hotkey[:8]:<10}{judge.stake:>12,.1f}  {held:>8}  "
            f"{judge.weights_age} blocks ago"
        )
    lines += ["", f"{'uid':>4}  {'miner':<10}{'incentive':>12}  bucket"]
    lines += [
        f"{miner.uid:>4}  {miner.hotkey[:8]:<10}{miner.incentive:>12.4f}  {miner.bucket}"
        for miner in status.miners
    ]
    return "\n".join(lines)
