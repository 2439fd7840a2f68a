"""Accepted deltas to one update, bitwise the same on every machine.

Float32 in hotkey order, one rounding per operation: numpy's add, multiply and divide are correctly
rounded everywhere and are never fused. Sums of squares are float64 over a fixed tree, because the
order in which a library reduces is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Addend:
    """One delta of norm `length`, in blocks of BLOCK values: it is never needed as a whole.

    The blocks are gone through once; a generator of them holds nothing before and after that.
    """

    length: float
    blocks: Iterable[Floats]


def in_memory(values: Floats) -> Addend:
    """A delta `[n] float32` that is in memory already. Its values stay as they are."""
    return Addend(norm(values), _blocks(values))


def aggregate(size: int, deltas: Mapping[str, Addend], norm_limit: float) -> Floats:
    """The clipped mean of `{hotkey: delta}`, `[size] float32`; the order of arrival does not
    matter. Each delta is scaled down to the norm limit.

    Raises: ValueError without deltas, or if one has another size.
    """
    if not deltas:
        raise ValueError("the mean of no deltas")
    mean = np.zeros(size, np.float32)
    for hotkey in sorted(deltas):
        _add(mean, deltas[hotkey], norm_limit)
    np.divide(mean, np.float32(len(deltas)), out=mean)
    return mean


def _add(total: Floats, delta: Addend, norm_limit: float) -> None:
    factor, end = scale_to(delta.length, norm_limit), 0
    for block in delta.blocks:
        start, end = end, end + len(block)
        if end <= len(total):
            total[start:end] += block * factor
    if end != len(total):
        raise ValueError(f"a delta of {end} values in a mean of {len(total)}")


def _blocks(values: Floats) -> Iterator[Floats]:
    for start in range(0, len(values), BLOCK):
        yield values[start : start + BLOCK]
