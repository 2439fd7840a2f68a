"""The page schedule of a simulation: all nodes ask the same, so it is worked out once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from boltzmann.protocol.pages import PageSchedule

_KEPT = 8
Assignment = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class KeptSchedule(PageSchedule):
    """A page schedule that remembers its last answers."""

    _blocks: OrderedDict[int, tuple[int, ...]] = field(
        default_factory=OrderedDict, compare=False, repr=False
    )
    _assigned: OrderedDict[tuple[int, bytes, tuple[str, ...]], Assignment] = field(
        default_factory=OrderedDict, compare=False, repr=False
    )

    def window_pages(self, window: int) -> tuple[int, ...]:
        """See `PageSchedule.window_pages`."""
        if window not in self._blocks:
            self._blocks[window] = super().window_pages(window)
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        return self._blocks[window]

    def assign(self, window: int, open_hash: bytes, members: Sequence[str]) -> Assignment:
        """See `PageSchedule.assign`."""
        key = (window, open_hash, tuple(members))
        if key not in self._assigned:
            self._assigned[key] = super().assign(window, open_hash, members)
            while len(self._assigned) > _KEPT:
                self._assigned.popitem(last=False)
        return self._assigned[key]
