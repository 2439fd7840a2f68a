"""boltzmann pay: what each validator pays whom, and why."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from boltzmann.cli.which_run import add_which_run, which_run

if TYPE_CHECKING:
    from boltzmann.app.pay import PayStatus, Statement


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "pay",
        help="show what each validator pays whom, and why",
        description="Show, for each validator of a run, the payroll it has signed for the weights "
        "it set last: weight and moving score, debt and last audit of each hotkey; beside it the "
        "weight that stands on chain, and the share of the subnet's pay that the chain gave that "
        "hotkey last.",
    )
    add_which_run(parser)
    parser.add_argument("--hotkey", metavar="SS58", default="", help="only this miner's lines")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show it. Raises: BoltzmannError."""
    from boltzmann.app.pay import pay_status

    which = which_run(options)
    status = asyncio.run(pay_status(which.network, which.netuid, which.run_hash, options.hotkey))
    print(json.dumps(asdict(status), indent=1) if options.json else _text(status))
    return 0


def _text(status: PayStatus) -> str:
    lines = [f"run {status.run} on netuid {status.netuid}, block {status.block}"]
    for statement in status.validators:
        lines += ["", *_statement(statement, status.incentives)]
    return "\n".join(lines)


def _statement(statement: Statement, incentives: Mapping[str, float]) -> Iterator[str]:
    who = f"validator {statement.uid} {statement.hotkey[:8]}, stake {statement.stake:,.1f}"
    if statement.missing:
        yield f"{who}: no payroll of window {statement.window}: {statement.missing}"
        return
    yield f"{who}: weights of block {statement.block}, for windows up to {statement.settled}"
    yield (
        f"{'uid':>4}  {'miner':<10}{'weight':>8}{'on chain':>10}{'moving score':>14}"
        f"{'debt':>8}{'last audit':>16}{'chain pays':>12}"
    )
    for line in statement.lines:
        audited = "never" if line.audited < 0 else f"window {line.audited}"
        yield (
            f"{line.uid:>4}  {line.hotkey[:8]:<10}{line.weight:>8.4f}"
            f"{statement.on_chain.get(line.uid, 0.0):>10.4f}{line.moving:>14.4f}"
            f"{line.debt:>8.2f}{audited:>16}{incentives.get(line.hotkey, 0.0):>12.4f}"
        )
