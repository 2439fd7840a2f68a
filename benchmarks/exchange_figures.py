"""What a measured node reports: seconds by phase from its own telemetry, memory from the kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.nodes import forget_peak, peak
from boltzmann.node.stages import Stage


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
        forget_peak()
        yield
        self.peak.setdefault(name, []).append(peak() - self.ready)


class StageTimes:
    """A node's trip wire that harms nobody: seconds of each stage of the newest window."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}
        self._began: dict[Stage, float] = {}
        self._over: set[tuple[Stage, int]] = set()
        self._moved = asyncio.Event()

    def __call__(self, stage: Stage, moment: str, window: int) -> None:
        now = time.monotonic()
        if moment == "before":
            self._began[stage] = now
            return
        self.seconds[stage] = now - self._began[stage]
        self._over.add((stage, window))
        self._moved.set()

    async def over(self, stage: Stage, window: int) -> None:
        """Wait until the node is done with a stage."""
        while (stage, window) not in self._over:
            self._moved.clear()
            await self._moved.wait()
