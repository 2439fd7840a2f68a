"""Values to bytes and back: pure, stateless, so a validator passes its own values through the same.

`fp32`: IEEE single precision, little-endian. `bf16`: its upper 16 bits, rounded to nearest, ties to
even. Both keep NaN and infinity out: the caller checks `np.isfinite` first on what it encodes, and
`wire` checks what it decodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_BLOCK = 1 << 16  # values per step: the temporaries stay in the processor's cache


class Codec(Enum):
    """How values are written: `width` is bytes per value, `code` its number on the wire."""

    FP32 = "fp32"
    BF16 = "bf16"

    @property
    def width(self) -> int:
        return 4 if self is Codec.FP32 else 2

    @property
    def code(self) -> int:
        return 1 if self is Codec.FP32 else 2

    @property
    def rounding(self) -> float:
        """By which part of itself a value may change in `roundtrip`; fp32 leaves room for sums."""
        return 1.0 / (262144 if self is Codec.FP32 else 256)

    def encode(self, values: Floats) -> bytearray:
        """Bytes of `[n] float32`, `n * width` long.

        bf16 rounds by adding 0x7fff plus the lowest kept bit before the cut, which is
        round-to-nearest-even for every finite value.
        """
        # Filled in place: `tobytes` would hold the body twice for a moment.
        body = bytearray(len(values) * self.width)
        if self is Codec.FP32:
            np.frombuffer(body, "<f4")[:] = values
            return body
        out = np.frombuffer(body, "<u2")
        for start in range(0, len(values), _BLOCK):
            bits = np.ascontiguousarray(values[start : start + _BLOCK]).view(np.uint32)
            odd = (bits >> np.uint32(16)) & np.uint32(1)
            out[start : start + _BLOCK] = (bits + (odd + np.uint32(0x7FFF))) >> np.uint32(16)
        return body

    def decode(self, body: bytes | bytearray | memoryview) -> Floats:
        """`[n] float32` of a body. Raises: ValueError if its length is no multiple of `width`."""
        if self is Codec.FP32:
            return np.frombuffer(body, "<f4").astype(np.float32)
        upper = np.frombuffer(body, "<u2").astype(np.uint32)
        upper <<= np.uint32(16)
        return upper.view(np.float32)

    def take(self, body: memoryview, places: NDArray[np.int64]) -> Floats:
        """The decoded values at some places of a body, without decoding the others."""
        cells = np.frombuffer(body, "<u4" if self is Codec.FP32 else "<u2")
        return self.decode(cells[places].tobytes())

    def pieces(self, body: memoryview, values: int) -> Iterator[Floats]:
        """As `decode`, `values` at a time: for what need not be in memory as a whole."""
        for start in range(0, len(body), values * self.width):
            yield self.decode(body[start : start + values * self.width])

    def roundtrip(self, values: Floats) -> Floats:
        """What a reader of the encoded values would see."""
        return self.decode(self.encode(values))
