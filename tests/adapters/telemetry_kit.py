"""What the tests of the telemetry sinks share: the event of one window, a sink, its listener."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boltzmann.telemetry.wandb_sink import WandbSink

WINDOW: dict[str, Any] = {
    "window": 12,
    "root": b"\xab\xcd\xef\x01\x02",
    "loss": 2.43219,
    "tokens": 24_576,
    "seconds": {"train": 3.2, "upload": 0.125},
    "bytes_up": 1_300_000,
    "bytes_down": 950,
    "accepted": ["5Fa", "5Fb"],
}


class Heard:
    """Keeps the events it gets."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def close(self) -> None:
        pass


def sink(folder: Path, trouble: Heard, **options: Any) -> WandbSink:
    """A run of miner 3's, offline unless `options` say otherwise."""
    arguments: dict[str, Any] = {
        "group": "run-abc",
        "run_id": "abc-m3",
        "mode": "offline",
        "folder": folder,
        "config": {"lr": 0.5, "source": Path("a/b")},
        "trouble": trouble,
        "close_seconds": 120.0,
    }
    return WandbSink("boltzmann", "M3", **arguments | options)
