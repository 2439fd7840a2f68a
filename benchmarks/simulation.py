"""How long `boltzmann simulate` takes, start and imports included.

    python -m benchmarks.simulation [--peers 64] [--windows 200] [--rounds 1]
                                    [--out benchmarks/results/simulation.json]

The command as a user runs it, in a process of its own, with the default small model; the aim is
five minutes for 64 peers and 200 windows on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.adversary_tables import show_rows
from benchmarks.machine import machine_facts

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, default=64)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "simulation.json")
    options = parser.parse_args()
    runs = [_run(options.peers, options.windows) for _ in range(options.rounds)]
    row = {**runs[-1][1], "seconds": round(median(seconds for seconds, _ in runs), 1)}
    print(show_rows([row]))
    found = {"machine": machine_facts(("numpy", "torch")), "rounds": options.rounds, **row}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def _run(peers: int, windows: int) -> tuple[float, dict[str, Any]]:
    """Wall-clock seconds, and what came of it. Raises: CalledProcessError."""
    command = ["-m", "boltzmann", "simulate", "--json"]
    sizes = ["--peers", str(peers), "--windows", str(windows)]
    begun = time.monotonic()
    done = subprocess.run([sys.executable, *command, *sizes], check=True, stdout=subprocess.PIPE)
    seconds = time.monotonic() - begun
    result = json.loads(done.stdout)
    honest = result["kinds"][0]
    return seconds, {
        "peers": peers,
        "windows": windows,
        "updates": result["updates"],
        "accepted": honest["accepted"],
        "agreed": result["agreed"],
    }


if __name__ == "__main__":
    main()
