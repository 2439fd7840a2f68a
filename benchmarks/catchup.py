"""A node that joins late: seconds to the newest window, bytes, and memory against a steady node.

    python -m benchmarks.catchup [--models 0.86M 10M 134M] [--windows 500] [--epoch 50]
                                 [--server moto] [--rounds 3]
                                 [--out benchmarks/results/catchup.json]

Two ways: `replay` has the genesis checkpoint only, and applies every update since; `checkpoint` has
the newest epoch's, and joins in the epoch's last window, the worst one. The buckets hold a real
run's objects (three validators, certified manifests, one update per window), on an S3 server on
this machine, which shares the processor; the chain is a script that answers at once. So the figures
are of a node's own work: a real network adds a round trip or more to each read.

Each node has a process of its own. `steady` is one that follows the same run window by window.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks.catchup_node import Case, Joined, Steady, join, stay
from benchmarks.machine import machine_facts
from benchmarks.publisher import Publisher
from benchmarks.runs import MODELS, parameters, run_config
from benchmarks.scripted import SeedKeys
from benchmarks.servers import SERVERS, Place, open_place
from boltzmann.local.plan import Plan
from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.documents import digest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "torch", "boto3", "moto", "bittensor")
PEERS = 8  # accepted in each window
SETTLE, STEADY = 10, 20  # windows followed before the steady node is measured, and while
LOCAL_S = Plan().clock().length * Plan().block_time  # one window of the local network
SUBNET_S = 9 * 12.0  # nine blocks of a subtensor chain
AIM_TIMES = 20.0
AIM_MEMORY = 1.1
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One way to join one run.

    `missed`: windows that were over when the node came; `applied`: updates it applied itself.
    `times_local` and `times_subnet`: how many times faster than the missed windows took;
    `times_applied`: than those it applied took at the local network's pace, the hardest count.
    Memory is in MB (10^6 bytes), resident: `peak_mb` the largest of all rounds, `steady_mb` that of
    a node that follows one window at a time, which takes `steady_ms` each. `parts` are seconds.
    """

    model: str
    way: str
    missed: int
    applied: int
    seconds: float
    rounds: list[float]
    ms_per_window: float
    steady_ms: float
    times_local: float
    times_subnet: float
    times_applied: float
    down_mb: float
    peak_mb: float
    steady_mb: float
    parts: dict[str, float]

    @property
    def memory(self) -> float:
        """Peak against the steady node's."""
        return self.peak_mb / self.steady_mb

    @property
    def is_fast(self) -> bool:
        return self.times_local >= AIM_TIMES

    @property
    def is_small(self) -> bool:
        return self.memory <= AIM_MEMORY


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    models = [model for model in MODELS if model != "1.2B"]
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument("--windows", type=int, default=500)
    parser.add_argument("--epoch", type=int, default=50)
    parser.add_argument("--server", choices=SERVERS, default="moto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/catchup.json")
    options = parser.parse_args()
    if options.windows < max(SETTLE + STEADY, 2 * options.epoch - 1):
        parser.error(f"--windows must be at least {SETTLE + STEADY}, and two epochs less one")
    rows = []
    show_head()
    for model in options.models:
        for row in measure(options.server, model, options.windows, options.epoch, options.rounds):
            rows.append(row)
            show(row)
    results = {
        "machine": machine_facts(PACKAGES),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "server": options.server,
        "epoch_windows": options.epoch,
        "window_seconds": {"local": LOCAL_S, "subnet": SUBNET_S},
        "aims": {"times": AIM_TIMES, "memory": AIM_MEMORY},
        "parameters": {model: parameters(model) for model in options.models},
        "rows": [
            {**asdict(row), "memory": row.memory, "fast": row.is_fast, "small": row.is_small}
            for row in rows
        ],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")


def measure(server: str, model: str, windows: int, epoch: int, rounds: int) -> Iterator[Row]:
    """Both ways to join, each on a run of its own."""
    newest = (windows + 1) // epoch * epoch - 1  # the last window of an epoch
    with tempfile.TemporaryDirectory() as name, open_place(server, Path(name) / "s3") as place:
        folder = Path(name)
        replay = publish(place, model, folder / "replay", windows, epoch=windows + 1)
        steady = apart(stay, replay, SETTLE, STEADY)
        yield to_row(model, "replay", windows, windows, replayed(replay, rounds), steady)
        case = publish(place, model, folder / "checkpoint", newest, epoch=epoch)
        yield to_row(model, "checkpoint", newest, epoch, replayed(case, rounds), steady)


def publish(place: Place, model: str, folder: Path, tip: int, epoch: int) -> Case:
    """A run's objects up to `tip`; of its checkpoints only the genesis and the newest.

    The older ones are retired by then. An epoch's checkpoint is of its first window's base, and the
    manifests from that window on name it.
    """
    run = run_config(f"{folder.name}-{model}", model, PEERS, epoch)
    publisher = Publisher(run, place, folder / "publisher")
    publisher.begin()
    peers = sorted(SeedKeys(f"peer-{number}").hotkey for number in range(PEERS))
    newest = tip - epoch
    for window in range(1, tip + 1):
        accepted = [Accepted(peer, digest(f"{peer} {window}".encode())) for peer in peers]
        publisher.close(window, publisher.drawn_outcome(window, accepted))
        if window == newest:
            publisher.save()
    return Case(run, place, publisher.members, publisher.ordered, tip, folder / "node")


def replayed(case: Case, rounds: int) -> list[Joined]:
    """What each of `rounds` fresh nodes measured."""
    found = []
    for number in range(rounds):
        os.sync()  # what the publisher wrote must not slow this node's writes
        joined = apart(join, _in_folder(case, f"{case.folder.name}-{number}"))
        found.append(joined)
    if len({joined.root for joined in found}) != 1:
        raise SystemExit("the joining nodes reached different states")
    return found


def _in_folder(case: Case, name: str) -> Case:
    return Case(
        case.run, case.place, case.members, case.ordered, case.tip, case.folder.with_name(name)
    )


def apart(work: Callable[..., T], *arguments: object) -> T:
    """`work(*arguments)` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def to_row(
    model: str, way: str, missed: int, applied: int, joined: list[Joined], steady: Steady
) -> Row:
    seconds = median(each.seconds for each in joined)
    middle = min(joined, key=lambda each: abs(each.seconds - seconds))
    return Row(
        model=model,
        way=way,
        missed=missed,
        applied=applied,
        seconds=seconds,
        rounds=[each.seconds for each in joined],
        ms_per_window=1e3 * seconds / applied,
        steady_ms=1e3 * steady.seconds,
        times_local=missed * LOCAL_S / seconds,
        times_subnet=missed * SUBNET_S / seconds,
        times_applied=applied * LOCAL_S / seconds,
        down_mb=middle.bytes_down / 1e6,
        peak_mb=max(each.peak for each in joined) / 1e6,
        steady_mb=steady.peak / 1e6,
        parts=dict(middle.parts),
    )


def show_head() -> None:
    local, subnet = f"x {LOCAL_S:.0f} s", f"x {SUBNET_S:.0f} s"
    print(
        f"{'model':<6} {'way':<11}{'missed':>7}{'applied':>8}{'s':>8}{'ms/w':>7}{'1 by 1':>7}"
        f"{local:>8}{subnet:>9}{'applied':>8}{'MB down':>9}{'peak MB':>9}{'steady':>8}{'ratio':>7}"
    )


def show(row: Row) -> None:
    """One line, and one for what the seconds went into."""
    verdict = f"{'fast' if row.is_fast else 'SLOW'}, {'small' if row.is_small else 'LARGE'}"
    print(
        f"{row.model:<6} {row.way:<11}{row.missed:>7}{row.applied:>8}{row.seconds:>8.2f}"
        f"{row.ms_per_window:>7.1f}{row.steady_ms:>7.1f}{row.times_local:>8.0f}"
        f"{row.times_subnet:>9.0f}{row.times_applied:>8.0f}{row.down_mb:>9.1f}{row.peak_mb:>9.0f}{row.steady_mb:>8.0f}"
        f"{row.memory:>7.2f}  {verdict}",
        flush=True,
    )
    print("       s: " + "  ".join(f"{part} {spent:.2f}" for part, spent in row.parts.items()))


if __name__ == "__main__":
    main()
