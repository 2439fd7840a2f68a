"""The state root: one hash that names the whole consensus state and how it came about."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def genesis_root(names: Sequence[str], tensors: Sequence[Floats]) -> bytes:
    """The root of a state with the given θ, and m, v and counts zero.

    sha256 over each tensor's length-prefixed name, coordinate count and little-endian values.
    """
    digest = hashlib.sha256(b"boltzmann genesis\x00")
    for name, values in zip(names, tensors, strict=True):
        text = name.encode()
        digest.update(len(text).to_bytes(4, "big") + text + len(values).to_bytes(8, "big"))
        digest.update(np.ascontiguousarray(values, "<f4").data)
    return digest.digest()


class RootHasher:
    """root_w = H(root_{w-1}, sha256 of the update, new θ, m, v at the touched coordinates).

    The three streams are hashed apart, so the result does not depend on how the slice is cut into
    pieces while it is applied.
    """

    def __init__(self, previous: bytes, update_sha256: str) -> None:
        self._prefix = previous + bytes.fromhex(update_sha256)
        self._streams = (hashlib.sha256(), hashlib.sha256(), hashlib.sha256())

    def add(self, theta: Floats, m: Floats, v: Floats) -> None:
        """New values of the next piece of the slice, C-contiguous."""
        for stream, values in zip(self._streams, (theta, m, v), strict=True):
            stream.update(values.astype("<f4", copy=False).data)

    def root(self) -> bytes:
        """The new root, 32 bytes."""
        digest = hashlib.sha256(b"boltzmann root\x00" + self._prefix)
        for stream in self._streams:
            digest.update(stream.digest())
        return digest.digest()
