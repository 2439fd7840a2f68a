"""Which coordinates of the model a window exchanges.

Each tensor, in sorted name order, is cut into chunks of `chunk_size` coordinates; every
`slice_ratio` consecutive chunks of a tensor form a group, and the closing block's hash chooses one
chunk of each group. Nobody knows the slice before that block, no index travels, and the memory
touched is contiguous.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boltzmann.protocol.seeds import derive, stream

Floats = NDArray[np.float32]

_PIECE = 1 << 16  # coordinates copied at a time: the copy stays in the processor's cache


@dataclass(frozen=True)
class Layout:
    """The model's tensors in sorted name order, and how they are cut.

    `sizes[i]` is the number of coordinates of tensor `names[i]`.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    chunk_size: int
    slice_ratio: int

    @staticmethod
    def of(shapes: Mapping[str, Sequence[int]], chunk_size: int, slice_ratio: int) -> Layout:
        """The layout of named shapes. Raises: ValueError for an empty tensor or a bad setting."""
        if chunk_size < 1 or slice_ratio < 1:
            raise ValueError(
                f"chunk_size ({chunk_size}) and slice_ratio ({slice_ratio}) must be at least 1"
            )
        names = tuple(sorted(shapes))
        sizes = tuple(int(np.prod(shapes[name], dtype=np.int64)) for name in names)
        for name, size in zip(names, sizes, strict=True):
            if size < 1:
                raise ValueError(f"tensor {name} has no coordinates")
        return Layout(names, sizes, chunk_size, slice_ratio)

    @property
    def total(self) -> int:
        """Coordinates of the whole model."""
        return sum(self.sizes)

    def chunks(self, tensor: int) -> int:
        """Chunks of a tensor, a shorter last one included."""
        return -(-self.sizes[tensor] // self.chunk_size)

    def groups(self, tensor: int) -> int:
        """Groups of a tensor, a smaller last one included."""
        return -(-self.chunks(tensor) // self.slice_ratio)

    @property
    def max_slice(self) -> int:
        """An upper bound on the coordinates of any slice."""
        return sum(min(self.groups(i) * self.chunk_size, size) for i, size in enumerate(self.sizes))


@dataclass(frozen=True, eq=False)
class Slice:
    """The chunks one window exchanges: for each tensor, sorted chunk numbers `[groups] int64`."""

    layout: Layout
    chosen: tuple[NDArray[np.int64], ...]

    @cached_property
    def bounds(self) -> tuple[int, ...]:
        """Tensor i's values are `[bounds[i], bounds[i + 1])` of the slice's vector."""
        bounds = [0]
        for tensor, chunks in enumerate(self.chosen):
            bounds.append(bounds[-1] + self._length(tensor, chunks))
        return tuple(bounds)

    @property
    def size(self) -> int:
        """Coordinates in the slice: exact, the same for every node."""
        return self.bounds[-1]

    def pieces(self, tensor: int, max_chunks: int) -> Iterator[NDArray[np.int64]]:
        """A tensor's chosen chunks, at most `max_chunks` at a time, a short last chunk alone."""
        chunks = self.chosen[tensor]
        whole = chunks[: len(chunks) - self._has_tail(tensor)]
        for first in range(0, len(whole), max_chunks):
            yield whole[first : first + max_chunks]
        if self._has_tail(tensor):
            yield chunks[-1:]

    def rows(self, flat: Floats, tensor: int, chunks: NDArray[np.int64]) -> Floats:
        """Copies of one piece's chunks, `[len(chunks), chunk length]`, from a tensor's 1-D view."""
        size = self.layout.chunk_size
        if self._is_tail(tensor, chunks):
            return flat[int(chunks[0]) * size :].reshape(1, -1).copy()
        return flat[: len(flat) // size * size].reshape(-1, size)[chunks]

    def set_rows(
        self, flat: Floats, tensor: int, chunks: NDArray[np.int64], values: Floats
    ) -> None:
        """Write one piece's chunks back into a tensor's 1-D view, in place."""
        size = self.layout.chunk_size
        if self._is_tail(tensor, chunks):
            flat[int(chunks[0]) * size :] = values.reshape(-1)
        else:
            flat[: len(flat) // size * size].reshape(-1, size)[chunks] = values

    def places(self, tensor: int) -> NDArray[np.int64]:
        """Where a tensor's values of the slice lie in the tensor's 1-D view, in order."""
        size = self.layout.chunk_size
        inside = self.chosen[tensor][:, None] * size + np.arange(size, dtype=np.int64)
        places: NDArray[np.int64] = inside.reshape(-1)[: self._length(tensor, self.chosen[tensor])]
        return places

    def gather(self, tensors: Sequence[Floats]) -> Floats:
        """The slice's values `[size] float32` out of all tensors' 1-D views.

        Raises: ValueError if the tensors are not as many and as long as the layout's.
        """
        if tuple(len(flat) for flat in tensors) != self.layout.sizes:
            raise ValueError("the tensors' sizes are not the layout's")
        out = np.empty(self.size, np.float32)
        per_piece = max(1, _PIECE // self.layout.chunk_size)
        for tensor, flat in enumerate(tensors):
            start = self.bounds[tensor]
            for chunks in self.pieces(tensor, per_piece):
                rows = self.rows(flat, tensor, chunks)
                out[start : start + rows.size] = rows.reshape(-1)
                start += rows.size
        return out

    def _length(self, tensor: int, chunks: NDArray[np.int64]) -> int:
        length = len(chunks) * self.layout.chunk_size
        if self._has_tail(tensor):
            length -= self.layout.chunk_size - self.layout.sizes[tensor] % self.layout.chunk_size
        return length

    def _has_tail(self, tensor: int) -> bool:
        return self._is_tail(tensor, self.chosen[tensor][-1:])

    def _is_tail(self, tensor: int, chunks: NDArray[np.int64]) -> bool:
        short = self.layout.sizes[tensor] % self.layout.chunk_size != 0
        return short and int(chunks[0]) == self.layout.chunks(tensor) - 1


def select(layout: Layout, close_hash: bytes) -> Slice:
    """The slice that a window's closing hash names.

    Four big-endian bytes of the key stream of `derive(close_hash, "slice")` per group, modulo the
    group's number of chunks, choose its chunk.
    """
    groups = [layout.groups(i) for i in range(len(layout.sizes))]
    data = stream(derive(close_hash, "slice"), 4 * sum(groups))
    draws = np.frombuffer(data, ">u4").astype(np.int64)
    chosen, used = [], 0
    for tensor, count in enumerate(groups):
        first = np.arange(count, dtype=np.int64) * layout.slice_ratio
        members = np.minimum(layout.slice_ratio, layout.chunks(tensor) - first)
        chosen.append(first + draws[used : used + count] % members)
        used += count
    return Slice(layout, tuple(chosen))
