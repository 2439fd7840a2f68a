"""The coordinates on which each page of a delta can be audited alone.

A delta is the mean of its pages' gradients, so beside its slice a member sends every page's share
on a few thousand *audit points*: coordinates of all tensors, drawn from the hash of the window's
opening block, when the slice is not known yet. Shares must add up to the delta where points and
slice meet, and whoever audits recomputes one page only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boltzmann.protocol.seeds import derive, stream
from boltzmann.protocol.slices import Layout, Slice

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Points:
    """One window's audit points: for each tensor, sorted coordinate numbers `[k] int64`."""

    layout: Layout
    chosen: tuple[Indices, ...]

    @cached_property
    def bounds(self) -> tuple[int, ...]:
        """Tensor i's values are `[bounds[i], bounds[i + 1])` of the points' vector."""
        return tuple(np.cumsum([0, *map(len, self.chosen)]).tolist())

    @property
    def size(self) -> int:
        """How many points there are."""
        return self.bounds[-1]

    def gather(self, tensors: Sequence[Floats]) -> Floats:
        """The points' values `[size] float32` out of all tensors' 1-D views."""
        return np.concatenate(
            [flat[points] for flat, points in zip(tensors, self.chosen, strict=True)]
        )

    def meet(self, chosen: Slice) -> tuple[Indices, Indices]:
        """Where points and slice meet: places in the points' vector, and in the slice's."""
        size, ratio = self.layout.chunk_size, self.layout.slice_ratio
        mine, theirs = [], []
        for tensor, points in enumerate(self.chosen):
            chunks = points // size
            groups = chunks // ratio
            inside = np.flatnonzero(chosen.chosen[tensor][groups] == chunks)
            mine.append(self.bounds[tensor] + inside)
            theirs.append(chosen.bounds[tensor] + groups[inside] * size + points[inside] % size)
        return np.concatenate(mine), np.concatenate(theirs)


def count(layout: Layout, total: int) -> int:
    """How many points `draw` gives for about `total` of them: exact, the same for every node."""
    return sum(_counts(layout, total))


def draw(layout: Layout, open_hash: bytes, total: int) -> Points:
    """The points of the window that opens with `open_hash`.

    Half of them are shared out evenly among the tensors, half by size. Within a tensor one is drawn
    from each of as many equal stretches, by four big-endian bytes of the key stream of
    `derive(open_hash, "points")`, modulo the stretch's length.
    """
    counts = _counts(layout, total)
    data = stream(derive(open_hash, "points"), 4 * sum(counts))
    draws = np.frombuffer(data, ">u4").astype(np.int64)
    chosen, used = [], 0
    for size, points in zip(layout.sizes, counts, strict=True):
        edges = np.arange(points + 1, dtype=np.int64) * size // max(1, points)
        chosen.append(edges[:-1] + draws[used : used + points] % np.diff(edges))
        used += points
    return Points(layout, tuple(chosen))


def _counts(layout: Layout, total: int) -> list[int]:
    if total == 0:
        return [0] * len(layout.sizes)
    even = total // (2 * len(layout.sizes))
    return [min(size, max(1, even + total * size // (2 * layout.total))) for size in layout.sizes]
