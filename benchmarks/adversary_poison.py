"""What 30% of hostile miners do to the model: the last loss beside that of a network without them.

The reference is the same network, whose hostile miners stay away: the same hotkeys, so that honest
miners train on the same pages. What is left of a difference where no bad delta entered comes from
which honest ones were audited first; training makes small differences larger. Hence the mean over
several seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import ceil, inf
from multiprocessing import get_context
from statistics import fmean, median
from typing import Any

from boltzmann.simulate.adversaries import REGISTERED
from boltzmann.simulate.plan import SimulationPlan
from boltzmann.simulate.results import SimulationResult
from boltzmann.simulate.run import simulate

PEERS, HOSTILE = 20, 6
AWAY = "idle"
MIXES = {
    "a mix, awake": ("random", "negated", "half-pages", "off-points", "ipm", "alie"),
    "a mix, asleep": (
        *("sleeper10-random", "sleeper10-negated", "sleeper10-off-points"),
        *("sleeper10-one-tensor", "sometimes25-off-points", "relapser10-negated"),
    ),
}
SLEEPING = ("off-points", "negated", "one-tensor", "random", "half-pages", "stale")
Row = dict[str, Any]


def groups() -> dict[str, Mapping[str, int]]:
    """Attack -> which hostile miners; who stays away first."""
    miners = [name for name, attack in REGISTERED.items() if not attack.stake and name != AWAY]
    asleep = [f"sleeper10-{name}" for name in SLEEPING]
    others = ("sometimes25-off-points", "relapser10-negated")
    anew = ("recycler1-half-pages", "recycler1-negated")
    single = [AWAY, *miners, *asleep, *others, *anew]
    return {
        **{kind: {kind: HOSTILE} for kind in single},
        **{name: dict.fromkeys(kinds, 1) for name, kinds in MIXES.items()},
    }


def measure(
    plan: Callable[..., SimulationPlan], options: argparse.Namespace, rows: list[Row]
) -> Iterator[Row]:
    """A row per attack and seed that `rows` has not, as each is there."""
    chosen = options.attacks or groups()
    wanted = [(seed, name) for seed in options.seeds for name in chosen]
    there = {(row["seed"], row["attack"]) for row in rows}
    left = [case for case in wanted if case not in there]
    windows = max(30, options.windows // 5)
    # Attacks are independent of each other, so each has a process of its own to itself.
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        yield from pool.map(partial(_measured, plan, windows), left)


def _measured(plan: Callable[..., SimulationPlan], windows: int, case: tuple[int, str]) -> Row:
    seed, name = case
    hostile = groups()[name]
    result = simulate(plan(seed=seed, peers=PEERS, windows=windows, hostile=hostile))
    return _row(name, hostile, result)


def _row(name: str, hostile: Mapping[str, int], result: SimulationResult) -> Row:
    bad = [peer for peer in result.peers if peer.kind in hostile]
    return {
        "attack": name,
        "seed": result.seed,
        "windows": result.windows,
        "loss": result.loss_last,
        "updates": result.updates / result.windows,
        "bad_before": fmean(peer.bad_before for peer in bad),
        "bad_after": fmean(peer.bad_after for peer in bad),
        "uncaught": sum(peer.caught is None for peer in bad),
        "delays": [peer.delay for peer in bad if peer.first_cheat is not None],
        "honest_refused": len(result.honest_refused),
        "agreed": result.agreed,
    }


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row per attack, over its seeds. `above`: nats above the network without the attackers.

    Delays, in windows, of all its cheats together.
    """
    away = {row["seed"]: row["loss"] for row in rows if row["attack"] == AWAY}
    found = []
    for name in dict.fromkeys(row["attack"] for row in rows):
        of = [row for row in rows if row["attack"] == name]
        above = [row["loss"] - away[row["seed"]] for row in of]
        delays = sorted(inf if d is None else d for row in of for d in row["delays"])
        found.append(
            {
                "attack": name,
                "seeds": len(of),
                "loss": fmean(row["loss"] for row in of),
                "above": fmean(above),
                "above_most": max(above),
                "updates": fmean(row["updates"] for row in of),
                "bad_before": fmean(row["bad_before"] for row in of),
                "bad_after": fmean(row["bad_after"] for row in of),
                "uncaught": fmean(row["uncaught"] for row in of),
                "cheats": len(delays),
                "delay_median": _finite(median(delays)) if delays else None,
                "delay_p95": _finite(delays[ceil(0.95 * len(delays)) - 1]) if delays else None,
                "honest_refused": sum(row["honest_refused"] for row in of),
                "agreed": all(row["agreed"] for row in of),
            }
        )
    return found


def _finite(windows: float) -> float | str:
    return "never" if windows == inf else windows
