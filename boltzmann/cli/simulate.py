"""boltzmann simulate: a whole subnet in this process, faster than time."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boltzmann.errors import ConfigError

if TYPE_CHECKING:
    from boltzmann.simulate.results import SimulationResult

INTERRUPTED = 130
_PROCESSES_MAX = 4  # what more would gain is lost on what one process does alone
_NUMBERS = (
    ("--peers", 64, "miners, the hostile ones among them"),
    ("--validators", 4, "honest validators"),
    ("--windows", 200, "windows to train"),
    ("--seed", 1, "everything follows from it"),
)
_COLUMNS = (
    "kind",
    "peers",
    "pay",
    "work",
    "windows",
    "accepted",
    "bad",
    "after",
    "audits",
    "rejected",
    "delay",
    "p95",
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "simulate",
        help="simulate a whole subnet in one process",
        description="Run miners, cheats and validators in this process, with the nodes' own code, "
        "in virtual time: the same options give the same result. Prints who was paid, refused and "
        "found out, and what the model learnt. Exit code 0 only if all honest nodes end with the "
        "same model and no honest miner's work was refused.",
    )
    for flag, default, meaning in _NUMBERS:
        parser.add_argument(flag, type=int, metavar="N", help=f"{meaning} (default {default})")
    parser.add_argument(
        "--adversary",
        action="append",
        metavar="NAME[:COUNT]",
        help="make some of the peers cheats, or add validators that are; may be given again",
    )
    parser.add_argument("--list", action="store_true", help="name all adversaries and end")
    parser.add_argument(
        "--scenario",
        type=Path,
        metavar="FILE",
        help="read the options from a TOML file; those given here as well win",
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help=f"how many processes compute gradients, of which the result does not depend (default: "
        f"one per core, at most {_PROCESSES_MAX})",
    )
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Simulate what these options describe. Raises: BoltzmannError."""
    if options.list:
        print(listing())
        return 0
    # Before numpy is loaded: over vectors this short its threads wait more than they work.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    chosen = _chosen(options)
    from boltzmann.simulate.plan import SimulationPlan
    from boltzmann.simulate.run import simulate

    plan = SimulationPlan(**chosen)
    processes = options.processes or min(_PROCESSES_MAX, os.cpu_count() or 1)
    if processes < 1:
        raise ConfigError(f"--processes must be at least 1, not {processes}")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # to clean up after that too
    try:
        result = simulate(plan, Progress(plan.windows), processes=processes)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    if options.json:
        print(json.dumps(result.document(), indent=1, sort_keys=True))
    else:
        print(table(result))
    return 0 if result.is_sound else 1


def listing() -> str:
    """All adversaries, one a line."""
    from boltzmann.simulate.adversaries import described

    lines = described()
    width = max(map(len, lines))
    return "\n".join(f"{name.ljust(width)}  {line}" for name, line in lines.items())


class Progress:
    """One line of a terminal that is written over, or one in ten windows elsewhere."""

    def __init__(self, windows: int) -> None:
        self._windows = windows
        self._since = time.monotonic()

    def __call__(self, window: int, loss: float | None, accepted: int) -> None:
        shown = "-" if loss is None else f"{loss:.3f}"
        seconds = time.monotonic() - self._since
        line = (
            f"window {window}/{self._windows}  loss {shown}  accepted {accepted}  {seconds:.0f} s"
        )
        last = window == self._windows
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        elif last or window % 10 == 0:
            print(line, file=sys.stderr, flush=True)


def table(result: SimulationResult) -> str:
    """The result for people: a line per kind of peer, then the model's."""
    from boltzmann.simulate.plan import VALIDATOR

    rows: list[tuple[str, ...]] = [_COLUMNS]
    for kind in result.kinds:
        rows.append(
            (
                kind.kind,
                str(kind.count),
                f"{kind.pay:.3f}",
                "-" if kind.work is None else f"{kind.work:.1f}",
                f"{kind.windows:.1f}",
                f"{kind.accepted:.1f}",
                f"{kind.bad:.1f}",
                f"{kind.bad_after:.1f}",
                f"{kind.audits:.1f}",
                str(kind.rejected),
                _delay(kind.delay_median),
                _delay(kind.delay_p95),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = [
        "  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))) for row in rows
    ]
    lines += [
        "pay: mean share of one peer, an honest miner's being 1; work in honest windows, windows "
        "in which it sent a delta, deltas accepted, bad ones of these, of those the ones after its "
        "first failed audit, and audits by any validator are means per peer; "
        "rejected: windows in which a validator refused something, of all of the kind together; "
        "delay: windows from the first cheat to the first failed audit, median and p95",
        f"loss {result.loss_first:.4f} -> {result.loss_last:.4f} nats per token on pages nobody "
        f"trains on; {result.updates} of {result.windows} windows had an update; roots "
        f"{'equal' if result.agreed else 'DIFFER'}, the last {result.root[:16]}",
    ]
    if not result.honest_pay:
        lines.append(
            "nobody was paid yet: who is new works off its dues first, "
            "(1 - audit_rate) / audit_rate windows"
        )
    hostile = {kind: share for kind, share in result.dividends.items() if kind != VALIDATOR}
    if hostile:
        shares = {"honest": result.dividends.get(VALIDATOR, 0.0), **hostile}
        said = ", ".join(f"{kind} {share:.3f}" for kind, share in shares.items())
        lines.append(f"validators' dividends, 1 for weights that are the consensus: {said}")
    lines.append(
        f"{result.honest_audits} audits of honest work, "
        f"of {len(result.honest_refused)} miners some was refused"
    )
    lines += [f"note: {note}" for note in result.notes[:10]]
    lines += [f"FAILED: work of the honest {name} was refused" for name in result.honest_refused]
    return "\n".join(lines)


def _delay(windows: float | None) -> str:
    if windows is None:
        return "-"
    return "never" if windows == math.inf else f"{windows:g}"


def _chosen(options: argparse.Namespace) -> dict[str, Any]:
    """The plan's fields that file and command line set. Raises: ConfigError."""
    from boltzmann.simulate.scenario import read_scenario

    chosen = read_scenario(options.scenario) if options.scenario else {}
    for name in ("peers", "validators", "windows", "seed"):
        if getattr(options, name) is not None:
            chosen[name] = getattr(options, name)
    if options.adversary is not None:
        chosen["hostile"] = _adversaries(options.adversary)
    return chosen


def _adversaries(texts: list[str]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for text in texts:
        kind, _, count = text.partition(":")
        if count and not count.isdecimal():
            raise ConfigError(f"--adversary {text}: the count after the colon must be a number")
        counted[kind] += int(count or 1)
    return dict(counted)
