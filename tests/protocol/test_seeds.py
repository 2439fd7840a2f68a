"""Derived keys and key streams: pinned, and checked against a second spelling of the rule."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import blake_key

from boltzmann.protocol.seeds import derive, stream

SEED = bytes(range(32))
FIELDS = st.lists(st.integers(0, 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=8))

GOLDEN = {
    (): "c53752bcfe63feeaa85461ef964264a2a0794ca1fba822ababab4f2e98fc2384",
    (0,): "54510d32ddec0e0d45d2ced273e5902c67bae8a02a02ced991ca1c654c0fdc87",
    (2**64 - 1,): "667259f6a1161cc8c33e1b458c0afe8e1228418e3f7f1fd94ee6e1dfac70d05c",
    ("5Grw", b"\x00\xff", 7): "cb6ad1ee30fa752e6ca30fdfdc48c935710f3da604b2140c9f9990894512c966",
    ("", b""): "b72bbdcf27b8ca03ce26ae51860276859c0ff897cc2ec4759a07e0cac99b2e25",
    ("Größe",): "0ca7459eee6139a2a3c3b3cea67d3e2a4973f2f6fe7adf5e468f786528d6e937",
}
GOLDEN_STREAM = (
    "162f245a44a7ad2ac682dd4e276156363dc29a5b52f164d8"
    "f3635e61cb76384d40cd0b6b2f1879bef84f3bcfbb7b6825"
)


@pytest.mark.parametrize(("fields", "pinned"), GOLDEN.items(), ids=map(repr, GOLDEN))
def test_derive_is_pinned(fields: tuple[bytes | int | str, ...], pinned: str) -> None:
    assert derive(SEED, "test", *fields).hex() == pinned


def test_stream_is_pinned() -> None:
    key = derive(SEED, "stream")
    assert stream(key, 48).hex() == GOLDEN_STREAM == hashlib.shake_256(key).hexdigest(48)


@given(purpose=st.text(max_size=8), fields=FIELDS)
def test_derive_is_keyed_blake2b_of_length_prefixed_fields(
    purpose: str, fields: list[int | str | bytes]
) -> None:
    parts = [_encoded(part) for part in (purpose, *fields)]
    assert derive(SEED, purpose, *fields) == blake_key(SEED, *parts)


@given(one=st.lists(st.binary(max_size=6), max_size=4), two=st.lists(st.binary(max_size=6)))
def test_fields_do_not_run_together(one: list[bytes], two: list[bytes]) -> None:
    assert (derive(SEED, "x", *one) == derive(SEED, "x", *two)) == (one == two)


def test_seed_and_purpose_both_matter() -> None:
    other = bytes([1, *SEED[1:]])
    keys = {derive(SEED, "a", 1), derive(SEED, "b", 1), derive(other, "a", 1), derive(SEED, "a")}
    assert len(keys) == 4


@given(short=st.integers(0, 100), more=st.integers(0, 100))
def test_a_longer_stream_continues_a_shorter_one(short: int, more: int) -> None:
    assert stream(SEED, short + more)[:short] == stream(SEED, short)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        derive(bytes(length), "test")


@pytest.mark.parametrize("number", [-1, 2**64])
def test_an_integer_beyond_eight_bytes_is_refused(number: int) -> None:
    with pytest.raises(OverflowError):
        derive(SEED, "test", number)


def _encoded(part: bytes | int | str) -> bytes:
    if isinstance(part, int):
        return struct.pack(">Q", part)
    return part.encode() if isinstance(part, str) else part
