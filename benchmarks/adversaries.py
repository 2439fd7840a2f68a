"""What every attack earns and spoils: the simulation's adversaries against honest miners.

    python -m benchmarks.adversaries [--windows 500] [--honest 12]
                                     [--parts mixed large validators poison newcomer]
                                     [--seed 1] [--seeds 1 2 3] [--attacks NAME ...]
                                     [--processes 2] [--quick]
                                     [--out benchmarks/results/adversaries.json]

mixed: one network of honest miners and one or two of each kind, some of them patient: pay against
its bound, how long cheats went unnoticed, which bad deltas entered. large: the same of those that
gain most where little is audited, at the settings of `benchmarks.audits`. validators: few miners
beside no hostile validator, one, or three allied ones. poison: 30% of 20 peers with each attack and
with two mixes, against as many that stay away, by the last loss. newcomer: windows until a miner
who joins late has 90% of its fair weight. Every part is written down as soon as it is there, the
mixed one every 25 windows; parts that were measured before stay in the file. Virtual time, so
deadlines are not tested; what a registration costs is not simulated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import adversary_poison
from benchmarks.adversary_tables import kind_rows, show_kinds, show_rows
from benchmarks.audits import LARGE
from benchmarks.machine import machine_facts
from boltzmann.simulate.adversaries import REGISTERED
from boltzmann.simulate.network import Network
from boltzmann.simulate.plan import Member, SimulationPlan
from boltzmann.simulate.results import SimulationResult, incentives
from boltzmann.simulate.run import result_of, simulate

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("mixed", "large", "validators", "poison", "newcomer")
EVERY = 25  # windows between two partial results
SEVERAL = {"one-machine": 3, "sharing": 2}
# Alarms make others audit in full, which would flatter all the other figures; and with all the
# leaders that withhold, hostile validators would have half of the stake.
WITHHOLDING = ("jamming", "late-manifest", "misleading", "parting", "splitting")
APART = ("alarmist", "false-alarms", "stretched", *WITHHOLDING)
# Validators whose friends do their work: to be paid for others' as well, or to be accused of it.
FRIENDS = {**dict.fromkeys(("captor", *WITHHOLDING), "favoured"), "alarmist": "stretched"}
ALLIED = {"jamming": 3, "splitting": 3}  # leaders that take each other's stake into account
PATIENT = {
    "sleeper10-half-pages": 2,
    "sleeper10-faked-page": 2,
    "sleeper10-tokens-94": 1,
    "sleeper10-random": 2,
    "sleeper10-stale": 1,
    "sleeper10-mean-others": 1,
    "sleeper10-off-points": 2,
    "sleeper10-one-tensor": 1,
    "sleeper10-diluted": 1,
    "sleeper10-one-machine": 3,
    "sleeper10-sharing": 2,
    "sleeper10-two-commits": 1,
    "sometimes25-half-pages": 2,
    "sometimes25-faked-page": 2,
    "sometimes10-random": 2,
    "sometimes25-off-points": 1,
    "relapser10-half-pages": 2,
    "relapser10-faked-page": 1,
    "relapser10-random": 2,
    "recycler1-half-pages": 2,
    "recycler1-random": 2,
    "recycler1-dodging": 2,
    "recycler1-off-points": 1,
    "recycler10-half-pages": 1,
    "recycler10-random": 1,
}
# Those that few audits make most of; trusted from the second window on.
RARELY_AUDITED = {
    "alie": 1,
    "ipm": 1,
    "sleeper1-off-points": 2,
    "sleeper1-diluted": 1,
    "sleeper1-one-tensor": 1,
    "sleeper1-half-pages": 2,
    "sleeper1-faked-page": 2,
    "sleeper1-random": 1,
    "sometimes25-half-pages": 2,
    "sometimes25-faked-page": 2,
    "recycler1-random": 1,
    "recycler1-half-pages": 1,
}
FAIR = 0.9


def main() -> None:
    options = _options()
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.parts:
        begun = time.monotonic()
        _PARTS[part](options, found)
        found.setdefault("how", {})[part] = {
            "machine": machine_facts(("numpy", "torch")),
            "options": {k: v for k, v in vars(options).items() if k not in ("out", "parts")},
            "seconds": round(time.monotonic() - begun),
        }
        _write(options.out, found)


def _plan(options: argparse.Namespace, **chosen: Any) -> SimulationPlan:
    fixed = {"validators": 4, "audit_rate": 0.125, "pages_per_member": 8, "seed": options.seed}
    return SimulationPlan(**{**fixed, **chosen})


def _simulated(options: argparse.Namespace, name: str, plan: SimulationPlan) -> SimulationResult:
    begun = time.monotonic()

    def tell(window: int, loss: float | None, accepted: int) -> None:
        if window % EVERY == 0 or window == plan.windows:
            seconds = time.monotonic() - begun
            print(f"  {name}: window {window}/{plan.windows}, {seconds:.0f} s", flush=True)

    return simulate(plan, tell, processes=options.processes)


def _mixed(options: argparse.Namespace, found: dict[str, Any]) -> None:
    every = {name: SEVERAL.get(name, 1) for name in REGISTERED if name not in APART}
    _kinds(options, found, "mixed", every | PATIENT)


def _large(options: argparse.Namespace, found: dict[str, Any]) -> None:
    _kinds(options, found, "large", RARELY_AUDITED, pages_per_member=16, **LARGE)


def _kinds(
    options: argparse.Namespace,
    found: dict[str, Any],
    part: str,
    hostile: Mapping[str, int],
    **settings: Any,
) -> None:
    miners = sum(n for kind, n in hostile.items() if kind not in _VALIDATORS)

    def partial(window: int) -> Callable[[Network], Awaitable[None]]:
        async def write(network: Network) -> None:
            so_far = result_of(network, window - 1, 0.0, 0.0)
            found[part] = {"windows": window - 1, "kinds": kind_rows(so_far)}
            _write(options.out, found)

        return write

    happenings = {w: partial(w) for w in range(EVERY + 1, options.windows + 1, EVERY)}
    plan = _plan(
        options,
        peers=options.honest + miners,
        windows=options.windows,
        hostile=hostile,
        happenings=happenings,
        **settings,
    )
    result = _simulated(options, part, plan)
    rows = kind_rows(result)
    found[part] = {**result.document(), "kinds": rows}
    print(show_kinds(rows, result))


def _validators(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Audits are all honest validators' together, of one honest miner in one window. Kinds that
    have a row already are not measured again."""
    rows: list[dict[str, Any]] = found.setdefault("validators", [])
    there = {row["validator"] for row in rows}
    for kind in ("none", *sorted(_VALIDATORS)):
        if kind in there:
            continue
        friends = FRIENDS.get(kind, "protege")
        hostile = {"half-pages": 1, friends: 2}
        hostile |= {} if kind == "none" else {kind: ALLIED.get(kind, 1)}
        windows = max(20, options.windows // 5)
        plan = _plan(options, peers=15, windows=windows, hostile=hostile)
        result = _simulated(options, kind, plan)
        kinds = {k.kind: k for k in result.kinds}
        rows.append(
            {
                "validator": kind,
                "updates": result.updates / result.windows,
                "audits": kinds["honest"].audits / result.windows,
                "honest_accepted": kinds["honest"].accepted / result.windows,
                "honest_refused": len(result.honest_refused),
                "friends": friends,
                "friends_pay": kinds[friends].pay,
                "friends_accepted": kinds[friends].accepted / result.windows,
                "honest_pay": result.honest_pay,
                "dividends": result.dividends.get(kind),
                "honest_dividends": result.dividends["validator"],
                "loss": result.loss_last,
                "agreed": result.agreed,
            }
        )
        _write(options.out, found)
    print(show_rows(rows))


def _poison(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """It takes hours: one that was broken off goes on where it was, and so do further seeds."""
    rows: list[dict[str, Any]] = found.setdefault("poison_runs", [])
    begun = time.monotonic()
    for row in adversary_poison.measure(partial(_plan, options), options, rows):
        print(
            f"  {row['attack']}, seed {row['seed']}, {time.monotonic() - begun:.0f} s", flush=True
        )
        rows.append(row)
        _write(options.out, found)
    found["poison"] = adversary_poison.summary(rows)
    print(show_rows(found["poison"]))


def _newcomer(options: argparse.Namespace, found: dict[str, Any]) -> None:
    joins = min(50, max(10, options.windows // 3))
    shares: dict[int, float] = {}
    late = Member("late", "honest")

    async def come(network: Network) -> None:
        network.seat(late)
        await network.start(late)

    async def look(network: Network) -> None:
        window = network.run.windows.window(network.ledger.height)
        now, hotkey = incentives(network.ledger.payments), network.nodes["late"].node.hotkey
        fair = fmean(
            now.get(running.node.hotkey, 0.0)
            for name, running in network.nodes.items()
            if name.startswith("honest")
        )
        shares[window] = now.get(hotkey, 0.0) / fair

    last = joins + 40
    happenings = {joins: come, **dict.fromkeys(range(joins + 1, last + 1), look)}
    plan = _plan(options, peers=12, windows=last, hostile={"idle": 1}, happenings=happenings)
    _simulated(options, "newcomer", plan)
    first = next((w - joins for w, share in shares.items() if share > 0.0), None)
    fair = next((w - joins for w, share in shares.items() if share >= FAIR), None)
    found["newcomer"] = {"joins": joins, "first_pay": first, "fair": fair, "shares": shares}
    print(f"a newcomer is paid after {first} windows and has {FAIR:.0%} of its share after {fair}")


_VALIDATORS = tuple(name for name, attack in REGISTERED.items() if attack.stake)
_PARTS: Mapping[str, Callable[[argparse.Namespace, dict[str, Any]], None]] = dict(
    zip(PARTS, (_mixed, _large, _validators, _poison, _newcomer), strict=True)
)


def _write(path: Path, found: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, sort_keys=True, default=str) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--windows", type=int, default=500)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--honest", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[1, 2, 3], help="of the poison part"
    )
    attacks = list(adversary_poison.groups())
    parser.add_argument(
        "--attacks", nargs="+", choices=attacks, metavar="NAME", help="of the poison part; else all"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="30 windows")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/adversaries.json")
    options = parser.parse_args()
    if options.quick:
        options.windows = 30
    return options


if __name__ == "__main__":
    main()
