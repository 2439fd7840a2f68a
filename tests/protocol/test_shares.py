"""Whether shares add up to their delta: rounding never breaks it, and nothing larger passes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import array

from boltzmann.protocol.codec import Codec
from boltzmann.protocol.rejection import Reason
from boltzmann.protocol.scoring import add_up

Floats = NDArray[np.float32]

TINY = 1e-36
CODECS = st.sampled_from(Codec)
# Of every size a gradient may have: denormal, zero, and so large that the small ones get lost.
MAGNITUDES = st.one_of(
    st.floats(-(2.0**100), 2.0**100, width=32),
    st.floats(-1.0, 1.0, width=32),
    st.floats(-(2.0**-125), 2.0**-125, width=32),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1e30, -1e30, 1.00390625, -1.0]),
)


def table(rows: Sequence[Sequence[float]]) -> Floats:
    return np.array(rows, np.float32)


@st.composite
def gradients(draw: st.DrawFn) -> Floats:
    """Pages' gradients `[pages, points]`, some of them cancelling others."""
    points = draw(st.integers(1, 6))
    row = st.lists(MAGNITUDES, min_size=points, max_size=points)
    rows = draw(st.lists(row, min_size=1, max_size=8))
    cancelled = [[-value for value in row] for row in rows if draw(st.booleans())]
    return table(draw(st.permutations([*rows, *cancelled])))


def honest(gradients: Floats, codec: Codec) -> tuple[Floats, Floats]:
    """Shares and delta as a miner has them: gradients accumulate in float32, page by page."""
    sums = np.cumsum(gradients, axis=0, dtype=np.float32)
    pages = np.float32(len(gradients))
    shares = np.diff(sums, axis=0, prepend=np.float32(0.0)) / pages
    return np.stack([codec.roundtrip(row) for row in shares]), codec.roundtrip(sums[-1] / pages)


def room(shares: Floats, values: Floats, codec: Codec) -> NDArray[np.float64]:
    """What rounding may come to at each point."""
    sizes = np.abs(shares.astype(np.float64)).sum(axis=0) + np.abs(values.astype(np.float64))
    bound: NDArray[np.float64] = 1.05 * codec.rounding * sizes + TINY
    return bound


@given(gradients=gradients(), codec=CODECS)
def test_honest_shares_add_up_whatever_was_rounded(gradients: Floats, codec: Codec) -> None:
    assert add_up(*honest(gradients, codec), codec.rounding) is None


@pytest.mark.parametrize("codec", Codec)
def test_shares_whose_roundings_all_go_one_way_add_up(codec: Codec) -> None:
    """1 + 1/256 is halfway between two of bf16: the largest rounding there is."""
    ties = np.full((64, 3), 1.00390625, np.float32) * array([1.0, 3e-5, 2e20])
    shares, values = honest(ties, codec)
    assert add_up(shares, values, codec.rounding) is None
    opposed = np.concatenate([ties, -ties[:-1]])
    assert add_up(*honest(opposed, codec), codec.rounding) is None


@given(gradients=gradients(), codec=CODECS, data=st.data())
def test_one_value_changed_by_more_than_the_room_is_refused(
    gradients: Floats, codec: Codec, data: st.DataObject
) -> None:
    shares, values = honest(gradients, codec)
    place = data.draw(st.integers(0, len(values) - 1))
    step = data.draw(st.sampled_from([-1.0, 1.0])) * data.draw(st.floats(4.0, 1e6))
    change = step * room(shares, values, codec)[place]
    row = data.draw(st.integers(-1, len(shares) - 1))
    target = values if row < 0 else shares[row]
    # Float32 holds no more than this, nor does the wire let more in.
    assume(abs(target[place] + change) < 1e38)
    target[place] += change
    refused = add_up(shares, values, codec.rounding)
    assert refused is not None
    assert refused.reason is Reason.SHARES
    assert refused.detail.startswith(f"at 1 of {len(values)} points")


@pytest.mark.parametrize("codec", Codec)
def test_a_page_left_out_or_sent_twice_is_refused(codec: Codec) -> None:
    shares, values = honest(table([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]), codec)
    for changed in (shares[1:], shares[:0], np.concatenate([shares, shares[1:2]])):
        refused = add_up(changed, values, codec.rounding)
        assert refused is not None
        assert refused.reason is Reason.SHARES
    assert add_up(shares[[2, 0, 1]], values, codec.rounding) is None, "no order is asked for"


def test_how_many_and_the_first_are_named() -> None:
    shares = table([[1.0] * 4, [2.0] * 4])
    refused = add_up(shares, array([3.0, 3.5, 3.0, -9.0]), Codec.FP32.rounding)
    assert refused is not None
    assert refused.detail == "at 2 of 4 points, first 3, not 3.5"


def test_bf16_has_the_room_that_its_rounding_needs_and_fp32_has_less() -> None:
    shares = table([[1.0], [1.0]])
    for off, bf16, fp32 in ((0.0, True, True), (1e-5, True, True), (0.015, True, False)):
        assert (add_up(shares, array([2.0 + off]), Codec.BF16.rounding) is None) is bf16
        assert (add_up(shares, array([2.0 + off]), Codec.FP32.rounding) is None) is fp32
    for codec in Codec:
        assert add_up(shares, array([2.04]), codec.rounding) is not None


def test_nan_adds_up_to_nothing() -> None:
    """It never gets so far: the wire lets no value in that is not finite."""
    shares, values = table([[1.0], [1.0]]), array([2.0])
    assert add_up(shares, array([math.nan]), 0.01) is not None
    shares[1, 0] = math.nan
    assert add_up(shares, values, 0.01) is not None


@pytest.mark.parametrize("pages", [0, 1, 5])
@pytest.mark.parametrize("codec", Codec)
def test_no_points_add_up(codec: Codec, pages: int) -> None:
    nothing = np.empty((pages, 0), np.float32)
    assert add_up(nothing, np.empty(0, np.float32), codec.rounding) is None
