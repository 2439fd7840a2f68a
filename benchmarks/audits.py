"""What audits cost a validator, and how often 256 miners are looked at.

    python -m benchmarks.audits [--models 0.86M 3M] [--pages 8 16] [--rounds 7] [--peers 256]
                                [--windows 230] [--processes 2]
                                [--out benchmarks/results/audits.json]

cost: a member's window, a full audit, a spot audit and the control gradient that all audits of a
window share, by the nodes' own worker: floating-point operations as torch counts them in the
operators it ran, and processor seconds, medians of so many rounds, one after the other; for
several counts of pages of the same length. load: the simulation with so many honest miners and 4
validators, with a large run's settings: audits that each validator did per window, what they cost
in windows of one miner's work with the seconds above, and windows between two audits of a miner.
The first windows, in which everybody is new, do not count.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.adversary_tables import show_rows
from benchmarks.gate_scene import MEMBERS, MODELS, Extent, gate_run
from benchmarks.machine import machine_facts
from benchmarks.scripted import block_hash
from boltzmann.app.machine import open_data
from boltzmann.node.worker import Worker
from boltzmann.protocol.points import draw
from boltzmann.simulate import run as simulation
from boltzmann.simulate.network import Network
from boltzmann.simulate.observe import Look
from boltzmann.simulate.plan import SimulationPlan
from boltzmann.train.model import initial_parameters, parameter_shapes
from boltzmann.train.state import ModelState

ROOT = Path(__file__).resolve().parents[1]
ROWS = 4  # of a page, at most 512 tokens each
VALIDATORS = 4
SPOT, FULL, CONTROL = "spot audit", "full audit", "control gradient"
# One of the validators looks at a miner every 8 windows at the latest, so that each of them comes
# by every 30 on average, and seldom has to renew a pass for its own sake. What is drawn by lot
# beside that is little: the penalty of a failed audit makes up for it.
LARGE: dict[str, Any] = {
    "audit_rate": 1 / 64,
    "dues": 1 / 9,  # 7 windows: registering costs the rest on chain
    "trust_windows": 128,
    "full_rate": 1 / 64,
    "age_max": 8,
}


def main() -> None:
    options = _options()
    found: dict[str, Any] = {"machine": machine_facts(("numpy", "torch"))}
    found["cost"] = [
        row
        for model in options.models
        for pages in options.pages
        for row in costs(model, pages, options.rounds)
    ]
    print(show_rows(found["cost"]))
    dearest = {pages: _dearest(found["cost"], pages) for pages in options.pages}
    found["load"] = load(options.peers, options.windows, options.processes, dearest)
    print(show_rows([found["load"]]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


@dataclass(frozen=True)
class Work:
    """One kind of work and what it takes."""

    name: str
    do: Callable[[], object]


def _dearest(rows: Sequence[Mapping[str, Any]], pages: int) -> dict[str, float]:
    """What each kind of work takes of a member's window with so many pages, of any model."""
    return {
        work: max(r["time_share"] for r in rows if (r["work"], r["pages"]) == (work, pages))
        for work in (SPOT, FULL, CONTROL)
    }


def costs(model: str, pages: int, rounds: int) -> list[dict[str, Any]]:
    """A row per kind of work: operations and processor seconds, the member's window being 1."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        worker, works = _works(model, pages, Path(folder))
        flops = [_flops(work) for work in works]
        seconds: list[list[float]] = [[] for _ in works]
        for _ in range(rounds):
            for work, spent in zip(works, seconds, strict=True):
                begun = time.process_time()
                work.do()
                spent.append(time.process_time() - begun)
        worker.close()
    middle = [median(spent) for spent in seconds]
    return [
        {
            "model": model,
            "pages": pages,
            "work": work.name,
            "gflops": count / 1e9,
            "share": count / flops[0],
            "seconds": taken,
            "time_share": taken / middle[0],
        }
        for work, count, taken in zip(works, flops, middle, strict=True)
    ]


def _works(model: str, pages: int, folder: Path) -> tuple[Worker, list[Work]]:
    run = gate_run(model, Extent(pages, ROWS, 1))
    schedule, loader = open_data(run)
    shapes = parameter_shapes(run.model)
    layout = run.layout(shapes)
    state = ModelState(layout, shapes, run.outer, folder / "undo", run.exchange.history)
    state.reset(initial_parameters(run.model, bytes(32)), "genesis", 0)
    worker = Worker(run, state, loader, torch.device("cpu"))
    opening = block_hash(run.windows.open(1))
    points = draw(layout, opening, run.audit.points)
    assigned = schedule.assign(1, opening, MEMBERS)[MEMBERS[0]]
    return worker, [
        Work("a member's window", lambda: worker.compute(assigned, points)),
        Work(FULL, lambda: worker.compute(assigned)),
        Work(SPOT, lambda: worker.compute(assigned[:1], points)),
        Work(CONTROL, lambda: worker.compute(schedule.control(1))),
    ]


def _flops(work: Work) -> int:
    with FlopCounterMode(display=False) as counter:
        work.do()
    return int(counter.get_total_flops())


def load(
    peers: int, windows: int, processes: int, cost: Mapping[int, Mapping[str, float]]
) -> dict[str, Any]:
    """Of audits in a network of honest miners, from the second pass of everybody on.

    `cost`: by pages, by kind of work, in a member's window.
    """
    looks: dict[str, list[Look]] = {}

    async def keep(network: Network) -> None:
        looks.update(network.seen.audits)

    plan = SimulationPlan(
        peers=peers,
        validators=VALIDATORS,
        windows=windows,
        happenings={windows: keep},
        pages_per_member=2,  # who is audited when does not depend on it
        **LARGE,
    )
    begun = time.monotonic()

    def tell(window: int, loss: float | None, accepted: int) -> None:
        print(f"  window {window}/{windows}, {accepted} accepted, {time.monotonic() - begun:.0f} s")

    result = simulation.simulate(plan, tell, processes=processes)
    return {
        **_load_figures(looks, windows, cost),
        "honest_refused": len(result.honest_refused),
        "updates": result.updates,
        "agreed": result.agreed,
        "settings": json.dumps(LARGE, sort_keys=True),
    }


def _load_figures(
    looks: Mapping[str, Sequence[Look]], windows: int, cost: Mapping[int, Mapping[str, float]]
) -> dict[str, Any]:
    """`gap`: windows from one audit of a miner to the next, by whichever validators.

    `miner_windows_P_pages`: a validator's audits and control gradient, in windows of the work of
    one miner with P pages.
    """
    since = LARGE["trust_windows"]
    later = [look for of in looks.values() for look in of if look.window > since]
    gaps = sorted(
        after - before
        for of in looks.values()
        for before, after in pairwise(sorted({look.window for look in of}))
        if before > since
    )
    counted = VALIDATORS * (windows - 1 - since)  # the last window's audits were not over
    fulls = sum(look.pages > 1 for look in later) / counted
    spots = len(later) / counted - fulls
    busiest = max(Counter((look.validator, look.window) for look in later).values())
    return {
        "miners": len(looks),
        "spots": spots,
        "fulls": fulls,
        "most": busiest,
        **{
            f"miner_windows_{pages}_pages": spots * of[SPOT] + fulls * of[FULL] + of[CONTROL]
            for pages, of in cost.items()
        },
        "gap_mean": fmean(gaps),
        "gap_p95": gaps[math.ceil(0.95 * len(gaps)) - 1],
        "gap_max": gaps[-1],
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--pages", nargs="+", type=int, default=[8, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", type=int, default=256)
    parser.add_argument("--windows", type=int, default=230)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/audits.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
