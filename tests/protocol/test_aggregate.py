"""Aggregation: the same bits as float32 arithmetic by hand, in whatever order deltas arrive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import array, clipped_mean, hexes, pack, rough, sample, tree_norm

from boltzmann.protocol.aggregate import Addend, Floats, aggregate, in_memory, norm, scale_to

FINITE = st.floats(width=32, min_value=-(2.0**60), max_value=2.0**60)
HOTKEYS = st.text(st.characters(codec="ascii"), min_size=1, max_size=6)
LIMITS = st.floats(2.0**-60, 2.0**90) | st.just(float("inf"))
DELTAS = {name: sample(name, 6) for name in ("5Alice", "5Bob", "5Carol")}
GOLDEN_MEAN = "548a7dbfff3f8e40a3ff2c40374a0ac0b5ca94bf48801540"
GOLDEN_NORM = "0x1.2a47a2f642970p+9"


def mean_of(deltas: Mapping[str, Sequence[float]], limit: float) -> Floats:
    """What nodes make of these deltas, as many values as the longest has."""
    arrays = {name: array(delta) for name, delta in deltas.items()}
    size = max(map(len, arrays.values()), default=0)
    return aggregate(size, {name: in_memory(delta) for name, delta in arrays.items()}, limit)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, list[float]]:
    """Up to six deltas of one size."""
    size = draw(st.integers(1, 30))
    delta = st.lists(FINITE, min_size=size, max_size=size)
    return draw(st.dictionaries(HOTKEYS, delta, min_size=1, max_size=6))


def test_one_aggregation_is_pinned() -> None:
    """The limit lies between the norms, so that some deltas are scaled and some are not."""
    norms = sorted(tree_norm(delta) for delta in DELTAS.values())
    assert norms[0] < 9.5 < norms[-1]
    assert hexes(mean_of(DELTAS, 9.5)) == GOLDEN_MEAN
    assert pack(clipped_mean(DELTAS, 9.5)).hex() == GOLDEN_MEAN


def test_a_norm_over_several_blocks_is_pinned() -> None:
    """Chosen so that other blocks, another tree or an exact sum give another last bit."""
    values = rough("norm 26", 150_001)
    assert norm(array(values)).hex() == GOLDEN_NORM == tree_norm(values).hex()
    assert norm(array(values)) != math.sqrt(math.fsum(value * value for value in values))


@settings(max_examples=100)
@given(deltas=windows(), limit=LIMITS)
def test_the_mean_is_float32_arithmetic_bit_for_bit(
    deltas: dict[str, list[float]], limit: float
) -> None:
    assert mean_of(deltas, limit).tobytes() == pack(clipped_mean(deltas, limit))


@given(deltas=windows(), limit=LIMITS, shuffle=st.randoms())
def test_the_order_of_arrival_changes_no_bit(
    deltas: dict[str, list[float]], limit: float, shuffle: Random
) -> None:
    arrived = list(deltas)
    shuffle.shuffle(arrived)
    one = mean_of(deltas, limit)
    two = mean_of({name: deltas[name] for name in arrived}, limit)
    assert one.tobytes() == two.tobytes()


def test_order_would_matter_if_it_were_not_fixed() -> None:
    """The property above can fail: these numbers sum otherwise in another order."""
    values = {"a": [2.0**60], "b": [1.0], "c": [-(2.0**60)]}
    other = {"a": [2.0**60], "b": [-(2.0**60)], "c": [1.0]}
    one, two = (mean_of(deltas, float("inf")) for deltas in (values, other))
    assert one.tobytes() != two.tobytes()


@given(values=st.lists(FINITE, min_size=1, max_size=50), limit=st.floats(2.0**-40, 2.0**40))
def test_clipping_never_leaves_a_norm_above_the_limit(values: list[float], limit: float) -> None:
    clipped = norm(mean_of({"5A": values}, limit))
    before = norm(array(values))
    if before <= limit:
        assert clipped == before
    else:
        subnormal_steps = math.sqrt(len(values)) * 2.0**-149
        assert clipped <= limit * (1 + 2.0**-22) + subnormal_steps


@given(values=st.lists(FINITE, max_size=300))
def test_the_norm_is_exact_to_rounding(values: list[float]) -> None:
    exact = math.sqrt(math.fsum(value * value for value in values))
    assert norm(array(values)) == pytest.approx(exact, rel=1e-12, abs=0.0)
    assert norm(array(values)) == tree_norm(values)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 65_535, 65_536, 65_537, 131_073])
def test_norms_at_block_edges(size: int) -> None:
    values = rough(f"edge{size}", size)
    exact = math.sqrt(math.fsum(value * value for value in values))
    assert norm(array(values)) == tree_norm(values) == pytest.approx(exact, rel=1e-12)


def test_norms_at_the_ends_of_float32() -> None:
    largest, smallest = float(np.finfo(np.float32).max), 2.0**-149
    assert norm(array([largest] * 4)) == 2 * largest
    assert norm(array([smallest] * 4)) == 2 * smallest


def test_a_delta_longer_than_a_block_is_scaled_in_every_block() -> None:
    deltas = {name: rough(name, 70_000) for name in ("a", "b")}
    assert mean_of(deltas, 5.0).tobytes() == pack(clipped_mean(deltas, 5.0))


def test_scale_reaches_down_only() -> None:
    assert scale_to(2.0, 4.0) == scale_to(4.0, 4.0) == scale_to(0.0, 0.5) == 1.0
    assert scale_to(4.0, 2.0) == 0.5
    assert scale_to(4.0, float("inf")) == 1.0
    assert scale_to(3.0, 1.0) == np.float32(1.0 / 3.0)
    assert scale_to(1.00001, 1.0) == np.float32(1.0 / 1.00001) < 1.0
    assert scale_to(3.0, 1.0).dtype == np.float32


def test_adding_clobbers_nothing() -> None:
    delta = array(sample("x", 100))
    before = delta.tobytes()
    aggregate(100, {"a": in_memory(delta), "b": in_memory(delta)}, 0.5)
    assert delta.tobytes() == before


def test_deltas_are_gone_through_one_after_the_other_in_hotkey_order() -> None:
    """Nodes read them from disk: no more than one block may be needed at a time."""
    begun: list[str] = []

    def blocks(name: str) -> Iterator[Floats]:
        for _ in range(2):
            begun.append(name)
            yield array([1.0])

    deltas = {name: Addend(1.0, blocks(name)) for name in ("b", "a", "Z")}
    assert begun == []
    aggregate(2, deltas, 1.0)
    assert begun == ["Z", "Z", "a", "a", "b", "b"]


@pytest.mark.parametrize("size", [1, 3])
def test_sizes_that_differ_are_an_error(size: int) -> None:
    deltas = {"a": in_memory(array([1.0] * size)), "b": in_memory(array([1.0, 2.0]))}
    with pytest.raises(ValueError, match=f"a delta of 2 values in a mean of {size}"):
        aggregate(size, deltas, 1.0)


def test_the_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no deltas"):
        aggregate(1, {}, 1.0)
