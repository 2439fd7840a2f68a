"""Accepted deltas to one update, bitwise the same on every machine.

Float32 in hotkey order, one rounding per operation: numpy's add, multiply and divide are correctly
rounded everywhere and are never fused. Sums of squares are float64 over a fixed tree, because the
order in which a library reduces is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCK = 1 << 16  # part of the rule: leaves of one reduction tree


def norm(values: Floats) -> float:
    """The Euclidean norm of `[n] float32`, in float64; see `norm_of_blocks`."""
    return norm_of_blocks(_blocks(values))


def norm_of_blocks(blocks: Iterable[Floats]) -> float:
    """The Euclidean norm, in float64, of a vector that comes in blocks of BLOCK values.

    A block's squares (exact in float64) are halved by adding the upper half to the lower until one
    is left, zero-padded to a power of two; the blocks' sums are added in order. Only the last block
    may be shorter.
    """
    total = 0.0
    tree = np.empty(BLOCK, np.float64)
    for block in blocks:
        width = 1 << (len(block) - 1).bit_length()
        np.multiply(block, block, out=tree[: len(block)], dtype=np.float64)
        tree[len(block) : width] = 0.0
        while width > 1:
            width //= 2
            tree[:width] += tree[width : 2 * width]
        total += float(tree[0])
    return float(np.sqrt(np.float64(total)))


def scale_to(length: float, limit: float) -> np.float32:
    """The factor that brings a norm of `length` down to `limit`; 1 if it is not above it."""
    return np.float32(limit / length) if length > limit else np.float32(1.0)


class Mean:
    """The clipped mean of deltas, one added at a time so that only one need be in memory.

    Raises: ValueError if hotkeys do not come in increasing order or sizes differ.
    """

    def __init__(self, size: int, norm_limit: float) -> None:
        self._sum = np.zeros(size, np.float32)
        self._limit = norm_limit
        self._last = ""
        self._count = 0

    def add(self, hotkey: str, values: Floats) -> None:
        """Add one delta `[size] float32`, scaled down to the norm limit. Clobbers nothing."""
        if values.shape != self._sum.shape:
            raise ValueError(f"a delta of shape {values.shape} in a mean of {self._sum.shape}")
        self.add_blocks(hotkey, norm(values), _blocks(values))

    def add_blocks(self, hotkey: str, length: float, blocks: Iterable[Floats]) -> None:
        """As `add`, for a delta of norm `length` that is not in memory as a whole."""
        if hotkey <= self._last:
            raise ValueError(f"hotkey {hotkey} comes after {self._last}: add in increasing order")
        factor, end = scale_to(length, self._limit), 0
        for block in blocks:
            start, end = end, end + len(block)
            self._sum[start:end] += block * factor
        if end != len(self._sum):
            raise ValueError(f"a delta of {end} values in a mean of {len(self._sum)}")
        self._last = hotkey
        self._count += 1

    def result(self) -> Floats:
        """The mean; ends the accumulation. Raises: ValueError if nothing was added."""
        if self._count == 0:
            raise ValueError("the mean of no deltas")
        np.divide(self._sum, np.float32(self._count), out=self._sum)
        return self._sum


def aggregate(deltas: Mapping[str, Floats], norm_limit: float) -> Floats:
    """The clipped mean of `{hotkey: [n] float32}`; the order of arrival does not matter.

    Raises: ValueError without deltas, or if their sizes differ.
    """
    mean = Mean(max(map(len, deltas.values()), default=0), norm_limit)
    for hotkey in sorted(deltas):
        mean.add(hotkey, deltas[hotkey])
    return mean.result()


def _blocks(values: Floats) -> Iterator[Floats]:
    for start in range(0, len(values), BLOCK):
        yield values[start : start + BLOCK]
