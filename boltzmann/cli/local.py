"""boltzmann local: a whole subnet on this machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from boltzmann.errors import ConfigError

if TYPE_CHECKING:
    from boltzmann.local.plan import Plan
    from boltzmann.local.show import Show
    from boltzmann.local.summary import Outcome

INTERRUPTED = 130
_NUMBERS = (
    ("--miners", 3, "honest miners"),
    ("--validators", 3, "validators"),
    ("--windows", 30, "windows to train, 0 for until Ctrl-C"),
    ("--train-blocks", 4, "blocks of training per window"),
    ("--exchange-blocks", 8, "blocks of exchange per window"),
    ("--seed", 1, "keys, block hashes and page order follow from it"),
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "local",
        help="run a whole subnet on this machine",
        description="Start an embedded chain, an S3 server, miners, cheats and validators as "
        "processes of their own, train for some windows, and sum up. Exit code 0 only if all "
        "nodes end with the same model and no honest miner's work was refused.",
    )
    for flag, default, meaning in _NUMBERS:
        parser.add_argument(
            flag, type=int, default=default, metavar="N", help=f"{meaning} (default {default})"
        )
    parser.add_argument(
        "--block-time", default=1.0, type=float, metavar="S", help="seconds per block (default 1)"
    )
    parser.add_argument(
        "--adversary",
        action="append",
        metavar="KIND[:COUNT]",
        help="add cheats: random, copy, half or idle; none for no cheat; may be given again "
        "(default random:1)",
    )
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="a new folder for all files (default: one in .boltzmann)",
    )
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the summary as JSON")
    parser.add_argument(
        "--keep", action="store_true", help="leave wallets, chain and caches in the folder too"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the network these options describe. Raises: BoltzmannError."""
    from boltzmann.local.show import Show

    plan = _plan(options)
    with Show(Console()) as show:
        outcome = asyncio.run(_interruptible(plan, show))
    if outcome is None:
        show.say("interrupted: all processes have ended")
        return INTERRUPTED
    show.outcome(str(plan.workdir), outcome)
    return outcome.exit_code


async def _interruptible(plan: Plan, show: Show) -> Outcome | None:
    from boltzmann.local.run import run_local

    task = asyncio.ensure_future(run_local(plan, show))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return None


def _plan(options: argparse.Namespace) -> Plan:
    from boltzmann.local.plan import Plan

    chosen: dict[str, Any] = {
        name: getattr(options, name)
        for name in (
            "miners",
            "validators",
            "windows",
            "train_blocks",
            "exchange_blocks",
            "block_time",
            "seed",
            "summary",
            "keep",
        )
    }
    stamp = time.strftime("%Y%m%d-%H%M%S")
    chosen["workdir"] = options.workdir or Path(".boltzmann") / f"local-{stamp}"
    if options.adversary is not None:
        chosen["adversaries"] = _adversaries(options.adversary)
    return Plan(**chosen)


def _adversaries(texts: list[str]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for text in texts:
        kind, _, count = text.partition(":")
        if kind == "none":
            continue
        if count and not count.isdecimal():
            raise ConfigError(f"--adversary {text}: the count after the colon must be a number")
        counted[kind] += int(count or 1)
    return dict(counted)
