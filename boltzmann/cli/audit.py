"""boltzmann audit: recompute what a run did, from what everybody can read."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack, aclosing, closing

from boltzmann.cli.which_run import add_which_run, which_run


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "audit",
        help="recompute windows of a run from public objects",
        description="Recompute windows of a run from the chain and public buckets: no wallet, no "
        "bucket and no key is needed. One line per window: match, empty, MISMATCH with what is "
        "wrong and by whom, or partial where something could not be checked. Exit code 0 if "
        "everything matches, 1 if something does not, 3 if something could not be checked.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--window", type=_number, metavar="W", help="this window only")
    which.add_argument("--from", dest="first", type=_number, metavar="A", help="the first window")
    parser.add_argument("--to", dest="last", type=_number, metavar="B", help="the last window")
    add_which_run(parser)
    parser.add_argument(
        "--recompute",
        action="store_true",
        help="recompute the gradients behind the witnesses' verdicts as well; takes the run's data",
    )
    parser.add_argument(
        "--device", default="auto", help="for --recompute: cpu, cuda or cuda:N (default auto)"
    )
    parser.add_argument(
        "--data.source",
        dest="data_source",
        default="",
        metavar="SOURCE",
        help="for --recompute: a copy of the run's data (default: where the run's config says)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per window, with every mismatch"
    )
    parser.set_defaults(run=run, refuse=parser.error)


def run(options: argparse.Namespace) -> int:
    """Audit what these options name; the exit code. Raises: BoltzmannError."""
    if options.window is not None:
        if options.last is not None:
            options.refuse("--to goes with --from, not with --window")
        first, last = options.window, options.window
    else:
        if options.last is None:
            options.refuse("--from needs --to: which window is the last?")
        first, last = options.first, options.last
    if first > last:
        options.refuse(f"--from {first} comes after --to {last}")
    return asyncio.run(_audit(options, first, last))


async def _audit(options: argparse.Namespace, first: int, last: int) -> int:
    from boltzmann.app.auditor import Target, open_auditor
    from boltzmann.audit.replay import audit
    from boltzmann.audit.report import Report, exit_code
    from boltzmann.telemetry.fanout import Fanout

    which = which_run(options)
    target = Target(
        which.network,
        which.netuid,
        which.run_hash,
        options.recompute,
        options.device,
        options.data_source,
    )
    reports: list[Report] = []
    async with AsyncExitStack() as stack:
        progress = stack.enter_context(closing(Progress() if sys.stderr.isatty() else Fanout()))
        node = await stack.enter_async_context(open_auditor(target, progress))
        windows = audit(node, first, last, recompute=options.recompute)
        async for report in await stack.enter_async_context(aclosing(windows)):
            reports.append(report)
            progress.event("report")
            print(report.document() if options.json else report.line(), flush=True)
    return exit_code(reports)


class Progress:
    """Telemetry that shows how far the audit is, on one line of a terminal."""

    def event(self, name: str, **fields: object) -> None:
        shown = f"{fields['what']}: {fields['done']} of {fields['of']}" if "done" in fields else ""
        if shown or name == "report":  # what is printed next needs the line
            print(f"\r\x1b[K{shown}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        self.event("report")


def _number(text: str) -> int:
    """A whole number, 0 or more. Raises: argparse.ArgumentTypeError."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)
