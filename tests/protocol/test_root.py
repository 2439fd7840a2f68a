"""State roots: pinned, rebuilt by hand, and independent of how a slice is cut into pieces."""

from __future__ import annotations

import hashlib
import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import array, pack, sample

from boltzmann.protocol.root import RootHasher, genesis_root

Floats = NDArray[np.float32]

NAMES = ("a.weight", "b.weight")
TENSORS = (sample("a", 5), sample("b", 3))
UPDATE = "c3" * 32
GOLDEN_GENESIS = "0dfbc9cf12b581a6d4bd8ef25efb5f2fc03115138e0c917229ea774b8adff519"
GOLDEN_NEXT = "67ef276199d5b09d0784e8196da512c09aca61a0673c4ab61f4231981e4445aa"


def state_part(name: str, count: int = 4) -> list[float]:
    return sample(f"root {name}", count)


def root_by_hand(previous: bytes, update: str, *parts: list[float]) -> bytes:
    streams = b"".join(hashlib.sha256(pack(part)).digest() for part in parts)
    start = b"boltzmann root\x00" + previous + bytes.fromhex(update)
    return hashlib.sha256(start + streams).digest()


def test_the_genesis_root_is_pinned() -> None:
    message = b"boltzmann genesis\x00"
    for name, values in zip(NAMES, TENSORS, strict=True):
        message += struct.pack(">I", len(name)) + name.encode()
        message += struct.pack(">Q", len(values)) + pack(values)
    found = genesis_root(NAMES, [array(values) for values in TENSORS])
    assert found.hex() == GOLDEN_GENESIS == hashlib.sha256(message).hexdigest()


def test_the_next_root_is_pinned() -> None:
    theta, m, v = (state_part(name) for name in ("θ", "m", "v"))
    hasher = RootHasher(bytes.fromhex(GOLDEN_GENESIS), UPDATE)
    hasher.add(array(theta), array(m), array(v))
    by_hand = root_by_hand(bytes.fromhex(GOLDEN_GENESIS), UPDATE, theta, m, v)
    assert hasher.root().hex() == GOLDEN_NEXT == by_hand.hex()


@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_pieces_do_not_change_the_root(cuts: list[int]) -> None:
    parts = [state_part(name, 200) for name in ("θ", "m", "v")]
    theta, m, v = (array(part) for part in parts)
    hasher = RootHasher(bytes(32), UPDATE)
    edges = [0, *sorted(cuts), 200]
    for start, end in pairwise(edges):
        hasher.add(theta[start:end], m[start:end], v[start:end])
    assert hasher.root() == root_by_hand(bytes(32), UPDATE, *parts)


def test_two_dimensional_pieces_hash_as_their_values_in_order() -> None:
    parts = [state_part(name, 12) for name in ("θ", "m", "v")]
    hasher = RootHasher(bytes(32), UPDATE)
    hasher.add(*(array(part).reshape(3, 4) for part in parts))
    assert hasher.root() == root_by_hand(bytes(32), UPDATE, *parts)


def test_everything_that_is_named_changes_the_root() -> None:
    theta, m, v = (array(state_part(name)) for name in ("θ", "m", "v"))
    changed = theta.copy()
    changed.view(np.uint32)[2] ^= np.uint32(1)

    def root(previous: bytes, update: str, *parts: Floats) -> bytes:
        hasher = RootHasher(previous, update)
        hasher.add(*parts)
        return hasher.root()

    roots = {
        root(bytes(32), UPDATE, theta, m, v),
        root(bytes([1]) * 32, UPDATE, theta, m, v),
        root(bytes(32), "d4" * 32, theta, m, v),
        root(bytes(32), UPDATE, changed, m, v),
        root(bytes(32), UPDATE, m, theta, v),
        root(bytes(32), UPDATE, theta, v, m),
        RootHasher(bytes(32), UPDATE).root(),
        genesis_root(NAMES[:1], [theta]),
    }
    assert len(roots) == 8


def test_a_root_can_be_asked_for_on_the_way() -> None:
    theta, m, v = (array(state_part(name)) for name in ("θ", "m", "v"))
    hasher = RootHasher(bytes(32), UPDATE)
    before = hasher.root()
    assert hasher.root() == before
    hasher.add(theta, m, v)
    assert hasher.root() != before


def test_the_genesis_root_tells_tensors_apart() -> None:
    whole = array(sample("x", 8))
    roots = {
        genesis_root(("a",), [whole]),
        genesis_root(("b",), [whole]),
        genesis_root(("a", "b"), [whole[:4], whole[4:]]),
        genesis_root(("a", "b"), [whole[:5], whole[5:]]),
        genesis_root(("b", "a"), [whole[:4], whole[4:]]),
        genesis_root((), []),
    }
    assert len(roots) == 6


def test_the_sign_of_zero_is_part_of_the_state() -> None:
    assert genesis_root(("a",), [array([0.0])]) != genesis_root(("a",), [array([-0.0])])


def test_a_strided_view_hashes_as_its_copy() -> None:
    values = array(sample("x", 20))[::2]
    assert genesis_root(("a",), [values]) == genesis_root(("a",), [values.copy()])


def test_names_and_tensors_must_pair_up() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        genesis_root(("a", "b"), [array([1.0])])
