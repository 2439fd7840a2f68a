"""How long a node's steps take, for telemetry."""

from __future__ import annotations

import time


class Laps:
    """Seconds by phase: each phase lasts from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def end(self, phase: str) -> None:
        """`phase` is over; one that comes again adds up."""
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = now

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())
