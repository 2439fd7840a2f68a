"""A second implementation of the protocol's arithmetic, from docs/protocol.md, for the tests only.

Plain Python numbers and lists, one value at a time. Float32 is reached by rounding through
`struct`: sums, products, quotients and roots of float32 numbers are correctly rounded in float32
when they are computed in float64 and rounded once more (Figueroa 1995).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def f32(value: float) -> float:
    """The float32 nearest to a finite value, as a Python float."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def pack(values: Sequence[float]) -> bytes:
    """Little-endian float32 bytes."""
    return struct.pack(f"<{len(values)}f", *values)


def hexes(values: Floats) -> str:
    """The little-endian bytes of an array, in hexadecimal, for comparison with pinned text."""
    return values.astype("<f4").tobytes().hex()


def sample(label: str, count: int, scale: int = 4096) -> list[float]:
    """`count` float32 numbers in ±32768/scale, the same on every machine."""
    data = hashlib.shake_256(label.encode()).digest(2 * count)
    return [number / scale for number in struct.unpack(f"<{count}h", data)]


def rough(label: str, count: int) -> list[float]:
    """As `sample`, but with all 24 bits in use, so that sums of squares cannot be exact."""
    return [f32(number / 3.0) for number in sample(label, count)]


def array(values: Sequence[float]) -> Floats:
    return np.array(values, np.float32)


@dataclass(frozen=True)
class HashKeys:
    """A keyed hash in place of sr25519: deterministic, so that sealed bytes can be pinned."""

    hotkey: str

    def sign(self, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=self.hotkey.encode(), digest_size=64).digest()


def verify_hash(hotkey: str, message: bytes, signature: bytes) -> bool:
    return HashKeys(hotkey).sign(message) == signature


def blake_key(seed: bytes, *parts: bytes) -> bytes:
    """Keyed BLAKE2b-256 over parts that each carry their length in four bytes."""
    message = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return hashlib.blake2b(message, key=seed, digest_size=32).digest()


def permuted(key: bytes, size: int, index: int) -> int:
    """Six Feistel rounds over the smallest even number of bits, walked until inside."""
    bits = 2
    while 1 << bits < size:
        bits += 2
    half = bits // 2
    while True:
        left, right = divmod(index, 1 << half)
        for number in range(6):
            fields = (b"feistel", struct.pack(">Q", number), struct.pack(">Q", right))
            noise = int.from_bytes(blake_key(key, *fields)[:8], "big")
            left, right = right, left ^ noise % (1 << half)
        index = left * (1 << half) + right
        if index < size:
            return index


def chosen_coordinates(
    shapes: Mapping[str, Sequence[int]], chunk_size: int, ratio: int, close_hash: bytes
) -> dict[str, list[list[int]]]:
    """For each tensor the coordinates of each chosen chunk, by naming them all."""
    cut = {}
    for name in sorted(shapes):
        coordinates = list(range(math.prod(shapes[name])))
        chunks = [
            coordinates[at : at + chunk_size] for at in range(0, len(coordinates), chunk_size)
        ]
        cut[name] = [chunks[at : at + ratio] for at in range(0, len(chunks), ratio)]
    key = blake_key(close_hash, b"slice")
    total = sum(len(groups) for groups in cut.values())
    draws = iter(struct.unpack(f">{total}I", hashlib.shake_256(key).digest(4 * total)))
    return {
        name: [group[next(draws) % len(group)] for group in groups] for name, groups in cut.items()
    }


def bf16_bits(value: float) -> int:
    """The bfloat16 nearest to a finite float32, ties to even, by exact comparison."""
    bits = int.from_bytes(struct.pack("<f", value), "little")
    lower = bits >> 16
    distances = [abs(Fraction(value) - _bf16_value(code)) for code in (lower, lower + 1)]
    if distances[0] == distances[1]:
        return lower + lower % 2
    return lower + (distances[1] < distances[0])


def _bf16_value(code: int) -> Fraction:
    """The exact value; the code of infinity counts as 2^128, as IEEE 754 rounds."""
    sign = -1 if code >> 15 else 1
    exponent, mantissa = code >> 7 & 0xFF, code & 0x7F
    if exponent == 0:
        return sign * Fraction(mantissa, 2 ** (126 + 7))
    return sign * Fraction(128 + mantissa, 128) * Fraction(2) ** (exponent - 127)


def tree_norm(values: Sequence[float]) -> float:
    """Blocks of 65,536 squares, each folded upper half on lower half; blocks added in order."""
    total = 0.0
    for start in range(0, len(values), 65536):
        squares = [value * value for value in values[start : start + 65536]]
        squares += [0.0] * (65536 - len(squares))
        while len(squares) > 1:
            half = len(squares) // 2
            squares = [low + high for low, high in zip(squares[:half], squares[half:], strict=True)]
        total += squares[0]
    return math.sqrt(total)


def clipped_mean(deltas: Mapping[str, Sequence[float]], norm_limit: float) -> list[float]:
    """In hotkey order: scale down to the limit, add up, divide by their number."""
    size = len(next(iter(deltas.values())))
    sums = [0.0] * size
    for hotkey in sorted(deltas):
        length = tree_norm(deltas[hotkey])
        factor = f32(norm_limit / length) if length > norm_limit else 1.0
        sums = [
            f32(total + f32(value * factor))
            for total, value in zip(sums, deltas[hotkey], strict=True)
        ]
    return [f32(total / len(deltas)) for total in sums]


@dataclass(frozen=True)
class AdamW:
    """The outer step on one coordinate, each operation rounded to float32."""

    rate: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float

    def step(
        self, theta: float, m: float, v: float, g: float, count: int
    ) -> tuple[float, float, float]:
        beta1, beta2 = f32(self.beta1), f32(self.beta2)
        m = f32(f32(m * beta1) + f32(g * f32(1 - beta1)))
        v = f32(f32(v * beta2) + f32(f32(g * f32(1 - beta2)) * g))
        root = f32(f32(math.sqrt(f32(v / correction(self.beta2, count)))) + f32(self.eps))
        change = f32(f32(m / correction(self.beta1, count)) / root)
        change = f32(change + f32(theta * f32(self.weight_decay)))
        return f32(theta - f32(change * f32(self.rate))), m, v


def correction(beta: float, count: int) -> float:
    """1 - β^count by repeated multiplication in float64, rounded to float32 once."""
    power = 1.0
    for _ in range(count):
        power *= beta
    return f32(1.0 - power)


def exact_rate(schedule: Sequence[tuple[int, float]], age: int) -> Fraction:
    """The piecewise linear schedule without any rounding."""
    points = [(window, Fraction(rate)) for window, rate in schedule]
    before = [point for point in points if point[0] <= age]
    after = [point for point in points if point[0] >= age]
    if not before or not after or before[-1] == after[0]:
        return (before[-1:] or after[:1])[0][1]
    (left, low), (right, high) = before[-1], after[0]
    return low + (high - low) * Fraction(age - left, right - left)


def flips(data: bytes, start: int, end: int, mask: int) -> list[bytes]:
    """Copies of `data`, each with one byte of [start, end) changed by `mask`."""
    return [data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :] for at in range(start, end)]
