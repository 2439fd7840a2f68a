"""Derived keys and key streams: the only source of randomness the protocol has.

Library generators (numpy, torch, random) are stable per build only, so none of them is ever
consensus-relevant. Golden vectors in tests/protocol pin every byte made here.
"""

from __future__ import annotations

import hashlib

SEED_BYTES = 32


def derive(seed: bytes, purpose: str, *fields: bytes | int | str) -> bytes:
    """A 32-byte key: BLAKE2b-256 keyed with `seed` over length-prefixed purpose and fields.

    Integers are 8 bytes big-endian (0 <= n < 2**64), text is UTF-8. Every part carries its length
    in 4 bytes big-endian, so no two different lists of fields collide.

    Raises: ValueError if `seed` is not 32 bytes.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    digest = hashlib.blake2b(key=seed, digest_size=SEED_BYTES)
    for part in (purpose, *fields):
        data = _encode(part)
        digest.update(len(data).to_bytes(4, "big"))
        digest.update(data)
    return digest.digest()


def stream(key: bytes, length: int) -> bytes:
    """The first `length` bytes of the SHAKE-256 key stream of a derived key."""
    return hashlib.shake_256(key).digest(length)


def _encode(part: bytes | int | str) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, str):
        return part.encode()
    return part.to_bytes(8, "big")
