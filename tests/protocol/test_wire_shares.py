"""Sealed deltas with their pages' shares: pinned bytes, the exact size, and every share checked."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import HashKeys, array, flips, verify_hash

from boltzmann.protocol.codec import Codec
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.wire import Expected, Kind, Opened, open_object, seal

FINITE = st.floats(width=32, min_value=-100, max_value=100)
KEYS = HashKeys("5Hotkey")
BARE = Expected(Kind.DELTA, "run-1", "5Hotkey", 7, bytes(range(32)), 4, Codec.BF16, 10.0)
EXPECTED = replace(BARE, shares=(2, 3))
VALUES = [1.0, -2.5, 0.0, 3.140625]
SHARES = [[0.5, -1.0, 2.0], [0.25, -1.5, 0.0]]
BODY = bytes(Codec.BF16.encode(array(VALUES)) + Codec.BF16.encode(array(SHARES[0] + SHARES[1])))
BLOB = seal(EXPECTED, 1234, BODY, KEYS.sign)
GOLDEN = (
    "424c545a010100670572756e2d310735486f746b6579000000000000000700010203040506070809"
    "0a0b0c0d0e0f101112131415161718191a1b1c1d1e1f87f681d701bf87c5a99696bba81d51faf3ea"
    "5368c1a264be32d4a18b4e215b81000000000000001400000000000004d20268ba9b6a595a5f98a6"
    "9cc3e4f8e17a45cc587d7a3803d6c956443d2d1a5da5b99875876c0393f650e6504f6f16ea535ac2"
    "a792a22faee2c32e251bf02c7cb521803f20c000004940003f80bf0040803ec0bf0000"
)


def refusal(blob: bytes, expected: Expected = EXPECTED) -> Reason | None:
    opened = open_object(blob, expected, verify_hash)
    return opened.reason if isinstance(opened, Rejection) else None


def test_a_sealed_delta_with_shares_is_pinned() -> None:
    assert BLOB.hex() == GOLDEN
    assert BLOB[EXPECTED.body_start :].hex() == "803f20c000004940003f80bf0040803ec0bf0000"


def test_the_shares_come_after_the_slice_page_by_page() -> None:
    opened = open_object(BLOB, EXPECTED, verify_hash)
    assert isinstance(opened, Opened)
    assert opened.values.tolist() == VALUES
    assert opened.shares.tolist() == SHARES
    assert opened.shares.dtype == np.float32
    assert (EXPECTED.slice_end, EXPECTED.object_bytes) == (len(BLOB) - 12, len(BLOB))
    assert (EXPECTED.body_bytes, BARE.body_bytes) == (20, 8)
    assert EXPECTED.body_start == BARE.body_start == len(BLOB) - 20


@pytest.mark.parametrize("shares", [(0, 0), (3, 0), (0, 5)])
def test_a_delta_without_points_has_no_shares(shares: tuple[int, int]) -> None:
    expected = replace(BARE, shares=shares)
    blob = seal(BARE, 1234, BODY[:8], KEYS.sign)
    assert seal(expected, 1234, BODY[:8], KEYS.sign) == blob
    opened = open_object(blob, expected, verify_hash)
    assert isinstance(opened, Opened)
    assert opened.values.tolist() == VALUES
    assert opened.shares.shape == shares


@given(
    codec=st.sampled_from(Codec),
    values=st.lists(FINITE, max_size=20),
    pages=st.integers(0, 5),
    points=st.integers(0, 6),
    data=st.data(),
)
def test_what_is_sealed_opens_and_has_the_exact_size(
    codec: Codec, values: list[float], pages: int, points: int, data: st.DataObject
) -> None:
    size = pages * points
    shares = data.draw(st.lists(FINITE, min_size=size, max_size=size))
    expected = Expected(
        *(Kind.DELTA, "run-1", "5Hotkey", 7, bytes(32), len(values), codec, 100.0),
        shares=(pages, points),
    )
    blob = seal(expected, 9, codec.encode(array(values + shares)), KEYS.sign)
    assert len(blob) == expected.object_bytes
    opened = open_object(memoryview(blob), expected, verify_hash)
    assert isinstance(opened, Opened)
    assert opened.values.tobytes() == codec.roundtrip(array(values)).tobytes()
    assert opened.shares.shape == (pages, points)
    assert opened.shares.tobytes() == codec.roundtrip(array(shares)).tobytes()
    assert opened.header.body_bytes == expected.body_bytes
    assert opened.sha256 == hashlib.sha256(blob).hexdigest()


@pytest.mark.parametrize("size", [0, 8, 19, 21, 22])
def test_sealing_refuses_a_body_of_another_length(size: int) -> None:
    with pytest.raises(ValueError, match=f"a body of {size} bytes, not 20"):
        seal(EXPECTED, 0, bytes(size), KEYS.sign)


@pytest.mark.parametrize(
    "other",
    [
        *(replace(EXPECTED, shares=shares) for shares in ((0, 0), (1, 3), (3, 3), (2, 2), (2, 4))),
        *(replace(EXPECTED, values=values) for values in (3, 5)),
    ],
    ids=lambda other: f"{other.values} and {other.shares}",
)
def test_an_object_of_another_size_is_refused(other: Expected) -> None:
    assert refusal(BLOB, other) is Reason.WRONG_SIZE
    blob = seal(other, 1234, bytes(other.body_bytes), KEYS.sign)
    assert refusal(blob) is Reason.WRONG_SIZE
    # The size of the whole, but a header that was signed for another.
    padded = (blob + bytes(len(BLOB)))[: len(BLOB)]
    assert refusal(padded) is Reason.WRONG_SIZE


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("place", range(10))
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (float("nan"), Reason.NOT_FINITE),
        (float("-inf"), Reason.NOT_FINITE),
        (10.125, Reason.TOO_LARGE),
        (-10.125, Reason.TOO_LARGE),
        (10.0, None),
    ],
)
def test_shares_are_bounded_as_values_are(
    codec: Codec, place: int, bad: float, reason: Reason | None
) -> None:
    expected = replace(EXPECTED, codec=codec)
    body = array([*VALUES, *SHARES[0], *SHARES[1]])
    body[place] = bad
    assert refusal(seal(expected, 0, codec.encode(body), KEYS.sign), expected) is reason


def test_a_flipped_byte_of_a_share_breaks_the_digest() -> None:
    for bit in range(8):
        for changed in flips(BLOB, EXPECTED.slice_end, len(BLOB), 1 << bit):
            assert refusal(changed) is Reason.BAD_DIGEST


@pytest.mark.parametrize("missing", [1, 2, 6, 12, 20])
def test_a_cut_or_extended_object_has_the_wrong_size(missing: int) -> None:
    assert refusal(BLOB[:-missing]) is Reason.WRONG_SIZE
    assert refusal(BLOB + bytes(missing)) is Reason.WRONG_SIZE
