"""What the scenarios share: a network by the command a user types, and what its nodes reported."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 150.0
SMALL = ["--train-blocks", "3", "--exchange-blocks", "6", "--block-time", "0.7"]


def start_network(folder: Path, *options: str) -> subprocess.Popen[str]:
    """`boltzmann local` in a process of its own, its output to a file beside the folder."""
    output = folder.with_suffix(".out").open("w")
    command = [sys.executable, "-m", "boltzmann", "local", "--workdir", str(folder), *SMALL]
    with output:
        return subprocess.Popen(
            [*command, *options], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True
        )


def output_of(folder: Path) -> str:
    """What the launcher printed so far."""
    return folder.with_suffix(".out").read_text()


def events(folder: Path, node: str, name: str) -> list[dict[str, Any]]:
    """The events of one name that a node wrote, in order; every line must be valid JSON."""
    found = []
    for path in (folder / "nodes" / node).glob("*/*/events.jsonl"):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if event["event"] == name:
                found.append(event)
    return found


def roots(folder: Path, node: str) -> dict[int, str]:
    """window -> root, of the windows a node applied from others."""
    return {event["window"]: event["root"] for event in events(folder, node, "applied")}


def until(condition: Callable[[], object], what: str, process: subprocess.Popen[str]) -> None:
    """Wait for a condition while the network lives."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, f"the network ended before {what}"
        assert time.monotonic() < deadline, f"no {what} within {DEADLINE_S:.0f} s"
        time.sleep(0.1)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Every process the launcher started, directly or not."""
    return list(psutil.Process(process.pid).children(recursive=True))
