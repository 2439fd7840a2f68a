"""A process's threads, Python's and all others, by the names that Linux knows."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def threads() -> list[str]:
    """Empty where there is no /proc."""
    found = []
    for name in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            found.append(name.read_text().strip())
    return found
