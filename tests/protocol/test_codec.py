"""Codecs: exact rounding, checked against exact fractions and against torch."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import array, bf16_bits

from boltzmann.protocol.codec import Codec

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
GOLDEN = (
    (1.0, "803f"),
    (-0.0, "0080"),
    (1.00390625, "803f"),  # a tie, to the even neighbour below
    (1.01171875, "823f"),  # a tie, to the even neighbour above
    (1.0039063692092896, "813f"),  # one unit above a tie
    (0.1, "cd3d"),
    (1e-45, "0000"),
    (-3.0, "40c0"),
    (3.3961775292304957e38, "807f"),  # a tie with 2^128 rounds to infinity
    (3.3961773266353554e38, "7f7f"),  # the largest float32 that does not
)


@pytest.mark.parametrize(("value", "pinned"), GOLDEN)
def test_bf16_is_pinned(value: float, pinned: str) -> None:
    assert Codec.BF16.encode(array([value])).hex() == pinned
    assert struct.pack("<H", bf16_bits(float(np.float32(value)))).hex() == pinned


def test_fp32_is_pinned() -> None:
    assert Codec.FP32.encode(array([1.0, -0.1])).hex() == "0000803fcdccccbd"


@given(values=st.lists(FINITE, max_size=40))
def test_bf16_is_the_nearest_with_ties_to_even(values: list[float]) -> None:
    expected = b"".join(struct.pack("<H", bf16_bits(value)) for value in values)
    assert Codec.BF16.encode(array(values)) == expected


@settings(max_examples=200)
@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=64))
def test_bf16_is_torchs_rounding_bit_for_bit(bits: list[int]) -> None:
    torch = pytest.importorskip("torch")
    values = np.array(bits, np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    theirs = torch.from_numpy(values.copy()).to(torch.bfloat16).view(torch.int16).numpy()
    assert Codec.BF16.encode(values) == theirs.astype("<i2").tobytes()


def test_bf16_is_torchs_rounding_for_every_upper_half_and_tie() -> None:
    torch = pytest.importorskip("torch")
    upper = np.arange(2**16, dtype=np.uint32) << np.uint32(16)
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    values = (upper[:, None] | lower).reshape(-1).view(np.float32)
    values = values[np.isfinite(values)]
    theirs = torch.from_numpy(values.copy()).to(torch.bfloat16).view(torch.int16).numpy()
    assert len(values) > 2**18, "spans more than one of the encoder's blocks"
    assert Codec.BF16.encode(values) == theirs.astype("<i2").tobytes()


@given(values=st.lists(FINITE, max_size=40))
def test_fp32_is_lossless(values: list[float]) -> None:
    original = array(values)
    assert Codec.FP32.roundtrip(original).tobytes() == original.tobytes()


@pytest.mark.parametrize("codec", Codec)
@given(values=st.lists(FINITE, max_size=40))
def test_a_second_round_trip_changes_nothing(codec: Codec, values: list[float]) -> None:
    once = codec.roundtrip(array(values))
    assert once.dtype == np.float32
    assert codec.roundtrip(once).tobytes() == once.tobytes()
    assert len(codec.encode(once)) == codec.width * len(values)


@given(body=st.binary(max_size=64))
def test_decode_reads_any_even_body_and_no_odd_one(body: bytes) -> None:
    if len(body) % 2:
        with pytest.raises(ValueError, match="multiple"):
            Codec.BF16.decode(body)
        return
    values = Codec.BF16.decode(memoryview(body))
    assert values.view(np.uint32).tolist() == [
        code << 16 for (code,) in struct.iter_unpack("<H", body)
    ]


@pytest.mark.parametrize("codec", Codec)
def test_decoded_values_are_the_readers_own(codec: Codec) -> None:
    body = bytearray(codec.encode(array([1.0, 2.0])))
    values = codec.decode(bytes(body))
    values += 1.0
    assert values.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("codec", Codec)
@given(values=st.lists(FINITE, min_size=1, max_size=40), data=st.data())
def test_take_is_decode_at_some_places(
    codec: Codec, values: list[float], data: st.DataObject
) -> None:
    body = codec.encode(array(values))
    places = np.array(data.draw(st.lists(st.integers(0, len(values) - 1))), np.int64)
    taken = codec.take(memoryview(body), places)
    assert taken.dtype == np.float32
    assert taken.tobytes() == codec.decode(body)[places].tobytes()
    shifted = memoryview(b"\x00" + body)[1:]  # as in the middle of an object
    assert codec.take(shifted, places).tobytes() == taken.tobytes()


@pytest.mark.parametrize("codec", Codec)
@given(values=st.lists(st.floats(-(2.0**126), 2.0**126, width=32), max_size=40))
def test_rounding_is_what_a_value_may_change_by(codec: Codec, values: list[float]) -> None:
    before = array(values).astype(np.float64)
    after = codec.roundtrip(array(values)).astype(np.float64)
    underflow = 2.0**-134  # half of bf16's smallest step
    assert np.all(np.abs(after - before) <= codec.rounding * np.abs(after) + underflow)


def test_bf16_rounds_by_no_less_than_it_says() -> None:
    tie = array([1.00390625])
    assert np.abs(Codec.BF16.roundtrip(tie) - tie).tolist() == [Codec.BF16.rounding]


def test_strided_values_encode_as_their_copy() -> None:
    values = np.arange(64, dtype=np.float32)[::3]
    for codec in Codec:
        assert codec.encode(values) == codec.encode(values.copy())


def test_codes_differ_and_are_pinned() -> None:
    assert {codec.value: (codec.code, codec.width) for codec in Codec} == {
        "fp32": (1, 4),
        "bf16": (2, 2),
    }
