"""Memory of the local network's nodes over many windows: peak, and growth from early to late.

    python -m benchmarks.memory [--windows 100] [--validators 1]
                                [--out benchmarks/results/memory.json]

Each node's resident and unshared memory is read once a second while a real network runs. "torch's
own" is what a process has after importing what a miner imports, before it holds a model.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psutil

from benchmarks.machine import machine_facts
from boltzmann.local.child import PRELOAD

MB = 1e6
_TITLE = re.compile(r"python3 (?:miner|validator)\.py \((\w+)\)")


@dataclass(frozen=True)
class Row:
    """One node's memory in MB: peak resident; unshared early on and at the end."""

    node: str
    peak_mb: float
    early_uss_mb: float
    late_uss_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--validators", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory.json"))
    options = parser.parse_args()
    own = imports_only()
    with tempfile.TemporaryDirectory() as folder:
        samples, seconds = observe(Path(folder) / "network", options.windows, options.validators)
    rows = [row(name, values) for name, values in sorted(samples.items())]
    print(f"{options.windows} windows in {seconds:.0f} s; after imports alone: {own / MB:.0f} MB")
    print(f"{'node':<12} {'peak MB':>8} {'above imports':>14} {'early MB':>9} {'late MB':>8}")
    for item in rows:
        above = item.peak_mb - own / MB
        print(
            f"{item.node:<12} {item.peak_mb:>8.0f} {above:>14.0f} "
            f"{item.early_uss_mb:>9.1f} {item.late_uss_mb:>8.1f}"
        )
    result = {
        "machine": machine_facts(("torch", "transformers", "numpy")),
        "windows": options.windows,
        "validators": options.validators,
        "imports_mb": own / MB,
        "nodes": [asdict(item) for item in rows],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def imports_only() -> int:
    """Resident bytes of a process that imported what a miner does."""
    code = f"import {', '.join(PRELOAD)}; import psutil; print(psutil.Process().memory_info().rss)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout)


def observe(
    folder: Path, windows: int, validators: int
) -> tuple[dict[str, list[tuple[int, int]]], float]:
    """Per node the (resident, unshared) bytes of each second while the network runs."""
    started = time.monotonic()
    command = [sys.executable, "-m", "boltzmann", "local", "--windows", str(windows)]
    command += ["--validators", str(validators)]
    command += ["--train-blocks", "3", "--exchange-blocks", "7", "--block-time", "0.5"]
    process = subprocess.Popen([*command, "--workdir", str(folder)], stdout=subprocess.DEVNULL)
    samples: dict[str, list[tuple[int, int]]] = defaultdict(list)
    while process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                named = _TITLE.search(" ".join(child.cmdline()))
                if named:
                    memory = child.memory_full_info()
                    samples[named[1]].append((memory.rss, memory.uss))
            except psutil.NoSuchProcess:
                continue
        time.sleep(1.0)
    if process.returncode != 0:
        raise SystemExit(f"the network ended with exit code {process.returncode}")
    return samples, time.monotonic() - started


def row(name: str, values: list[tuple[int, int]]) -> Row:
    """Peak, and medians of the second and of the last tenth: growth shows between those."""
    tenth = max(1, len(values) // 10)
    early, late = values[tenth : 2 * tenth] or values, values[-tenth:]
    return Row(
        node=name,
        peak_mb=max(rss for rss, _ in values) / MB,
        early_uss_mb=median(uss for _, uss in early) / MB,
        late_uss_mb=median(uss for _, uss in late) / MB,
    )


if __name__ == "__main__":
    main()
