"""What a measured node reports: seconds by phase from its own telemetry, memory from the kernel."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Figures:
    """What one process measured, a value per window.

    `seconds`: by phase; `total`: seconds of the node's own work; `peak`: by step, bytes resident at
    the most above `ready`, the bytes resident once state and gradient were in place.
    """

    ready: int
    slice_values: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    total: list[float] = field(default_factory=list)
    peak: dict[str, list[int]] = field(default_factory=dict)
    roots: list[str] = field(default_factory=list)

    def add(self, seconds: Mapping[str, float], total: float, root: bytes) -> None:
        """One window's; what no phase claims is `other`."""
        known = {**seconds, "other": total - sum(seconds.values())}
        for phase, spent in known.items():
            self.seconds.setdefault(phase, []).append(spent)
        self.total.append(total)
        self.roots.append(root.hex())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Notes the high-water mark of what is done inside, as the Linux kernel counts it."""
        Path("/proc/self/clear_refs").write_text("5")
        yield
        self.peak.setdefault(name, []).append(_status("VmHWM") - self.ready)


class Events:
    """Implements `boltzmann.ports.Telemetry`: keeps each window's phase timings."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def event(self, name: str, **fields: object) -> None:
        if name in ("error", "waiting", "rejected"):
            raise RuntimeError(f"{name}: {fields}")
        spent = fields.get("seconds")
        if isinstance(spent, dict):
            self.seconds.update({f"{name}.{phase}": float(s) for phase, s in spent.items()})

    def close(self) -> None:
        """Nothing is open."""


def resident() -> int:
    """Bytes resident now, after what earlier work freed went back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


def _status(field_name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field_name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field_name}: memory is measured on Linux only")
