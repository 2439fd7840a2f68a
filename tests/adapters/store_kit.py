"""What the tests of the store share: how an object is read, and why it was refused."""

from __future__ import annotations

from boltzmann.ports import Store
from boltzmann.protocol.rejection import Reason, Rejection

MIB = 1 << 20


def read(store: Store, key: str, max_bytes: int = 8 * MIB) -> bytes | Rejection:
    return store.get(store.address, key, max_bytes=max_bytes, seconds=20)


def reason(answer: bytes | Rejection | None) -> Reason:
    assert isinstance(answer, Rejection), f"not refused: {str(answer)[:50]}"
    return answer.reason
