"""The row groups that were read last, each of them once however many threads want it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

HELD_BYTES = 256 << 20  # of decoded text; the newest group is held whatever its size


@dataclass(eq=False)
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    values: Any = None


class HeldGroups:
    """Decoded columns (`pyarrow.ChunkedArray`) by row group. Calls may come from several threads.

    Those that nobody has asked for longest go first, as soon as all together take more than
    HELD_BYTES; what a thread still reads from stays in memory until it is done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: OrderedDict[int, _Slot] = OrderedDict()

    def get(self, group: int, read: Callable[[], Any]) -> Any:
        """The column of `group`, by `read` if it is not held. Raises: what `read` does."""
        with self._lock:
            slot = self._slots.setdefault(group, _Slot())
            self._slots.move_to_end(group)
        with slot.lock:
            values = slot.values
            if values is not None:
                return values
            values = slot.values = read()
        with self._lock:
            self._shrink()
        return values

    def _shrink(self) -> None:
        sizes = {
            group: slot.values.nbytes
            for group, slot in self._slots.items()
            if slot.values is not None
        }
        excess = sum(sizes.values()) - HELD_BYTES
        for group, size in list(sizes.items())[:-1]:
            if excess <= 0:
                return
            del self._slots[group]
            excess -= size
