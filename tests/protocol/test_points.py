"""Audit points: exact in number, spread over every tensor, and where they meet a slice."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import blake_key, chosen_coordinates

from boltzmann.protocol.points import count, draw
from boltzmann.protocol.slices import Layout, select

OPEN_HASH = bytes(range(32))
SHAPES = {"b.weight": (5, 7), "a.weight": (64,), "c.bias": (3,), "d": ()}
Shapes = Mapping[str, tuple[int, ...]]
Cut = tuple[Shapes, int, int]

GOLDEN = [
    [2, 9, 14, 23, 28, 37, 40, 45, 54, 62],
    [3, 6, 10, 17, 24, 29, 30],
    [0, 1, 2],
    [0],
]

HASHES = st.binary(min_size=32, max_size=32)
TOTALS = st.integers(0, 60) | st.integers(0, 5000)


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    """Shapes of up to 400 coordinates, a chunk size that rarely divides them, and a ratio."""
    shape = st.lists(st.integers(1, 20), max_size=2).map(tuple)
    shapes = draw(st.dictionaries(st.text(max_size=4), shape, min_size=1, max_size=5))
    return shapes, draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 3, 7]))


def share_out(sizes: tuple[int, ...], total: int) -> list[int]:
    """How many points each tensor gets, from the rule's own words."""
    if not total:
        return [0 for _ in sizes]
    halves = [(total // 2 // len(sizes), total * size // (2 * sum(sizes))) for size in sizes]
    return [max(1, min(size, sum(half))) for size, half in zip(sizes, halves, strict=True)]


def named(layout: Layout, open_hash: bytes, total: int) -> list[list[int]]:
    """The points of each tensor, by naming every coordinate of every stretch."""
    counts = share_out(layout.sizes, total)
    data = hashlib.shake_256(blake_key(open_hash, b"points")).digest(4 * sum(counts))
    draws = iter(struct.unpack(f">{sum(counts)}I", data))
    found = []
    for size, points in zip(layout.sizes, counts, strict=True):
        stretches = [
            [c for c in range(size) if i * size // points <= c < (i + 1) * size // points]
            for i in range(points)
        ]
        found.append([stretch[next(draws) % len(stretch)] for stretch in stretches])
    return found


def test_one_windows_points_are_pinned() -> None:
    points = draw(Layout.of(SHAPES, chunk_size=8, slice_ratio=2), OPEN_HASH, 24)
    assert [chosen.tolist() for chosen in points.chosen] == GOLDEN
    assert points.bounds == (0, 10, 17, 20, 21)


@given(cut=cuts(), open_hash=HASHES, total=TOTALS)
def test_points_are_those_the_rule_names(cut: Cut, open_hash: bytes, total: int) -> None:
    layout = Layout.of(*cut)
    points = draw(layout, open_hash, total)
    assert [chosen.tolist() for chosen in points.chosen] == named(layout, open_hash, total)
    assert all(chosen.dtype == np.int64 for chosen in points.chosen)


@given(cut=cuts(), open_hash=HASHES, total=TOTALS)
def test_every_node_knows_their_number_beforehand(cut: Cut, open_hash: bytes, total: int) -> None:
    layout = Layout.of(*cut)
    points = draw(layout, open_hash, total)
    assert points.size == count(layout, total) == sum(map(len, points.chosen))
    assert points.bounds[0] == 0
    assert [j - i for i, j in pairwise(points.bounds)] == [len(c) for c in points.chosen]
    assert points.size <= min(layout.total, total + len(layout.sizes))


@given(cut=cuts(), open_hash=HASHES, total=st.integers(1, 5000))
def test_each_tensor_has_some_sorted_distinct_and_its_own(
    cut: Cut, open_hash: bytes, total: int
) -> None:
    layout = Layout.of(*cut)
    points = draw(layout, open_hash, total)
    for size, chosen in zip(layout.sizes, points.chosen, strict=True):
        numbers = chosen.tolist()
        assert 1 <= len(numbers) <= size
        assert numbers == sorted(set(numbers))
        assert 0 <= numbers[0] <= numbers[-1] < size
        stretches = [-((c + 1) * -len(numbers) // size) - 1 for c in numbers]
        assert stretches == list(range(len(numbers))), "one of each equal stretch"


@given(cut=cuts(), open_hash=HASHES)
@pytest.mark.filterwarnings("error")
def test_no_points_are_none_everywhere(cut: Cut, open_hash: bytes) -> None:
    layout = Layout.of(*cut)
    points = draw(layout, open_hash, 0)
    assert (points.size, count(layout, 0)) == (0, 0)
    assert points.gather([np.ones(size, np.float32) for size in layout.sizes]).shape == (0,)
    mine, theirs = points.meet(select(layout, open_hash))
    assert (len(mine), len(theirs)) == (0, 0)


@given(cut=cuts(), open_hash=HASHES)
def test_more_than_there_are_is_all_of_them(cut: Cut, open_hash: bytes) -> None:
    layout = Layout.of(*cut)
    points = draw(layout, open_hash, 2 * layout.total * len(layout.sizes))
    assert [c.tolist() for c in points.chosen] == [list(range(size)) for size in layout.sizes]


def test_half_are_shared_out_evenly_and_half_by_size() -> None:
    layout = Layout.of({"bias": (1000,), "weight": (100, 990)}, chunk_size=256, slice_ratio=2)
    for total, numbers in ((4096, [1000, 1024 + 2027]), (1000, [250 + 5, 250 + 495])):
        points = draw(layout, OPEN_HASH, total)
        assert [len(chosen) for chosen in points.chosen] == numbers


def test_the_opening_hash_decides() -> None:
    layout = Layout.of({"w": (4096,)}, chunk_size=16, slice_ratio=4)
    drawn = [draw(layout, bytes([i]) * 32, 256).chosen[0] for i in range(50)]
    assert len({tuple(chosen.tolist()) for chosen in drawn}) == 50
    assert drawn[7].tolist() == draw(layout, bytes([7]) * 32, 256).chosen[0].tolist()
    within = np.bincount(np.concatenate(drawn) % 16, minlength=16)  # stretches of 16
    assert within.min() > 0.85 * within.mean()


@given(cut=cuts(), hashes=st.tuples(HASHES, HASHES), total=TOTALS)
def test_points_and_slice_meet_where_both_name_a_coordinate(
    cut: Cut, hashes: tuple[bytes, bytes], total: int
) -> None:
    layout = Layout.of(*cut)
    points, chosen = draw(layout, hashes[0], total), select(layout, hashes[1])
    chunks = chosen_coordinates(cut[0], cut[1], cut[2], hashes[1])
    on_slice = [
        (tensor, c)
        for tensor, name in enumerate(layout.names)
        for chunk in chunks[name]
        for c in chunk
    ]
    on_points = [(t, c) for t, mine in enumerate(named(layout, hashes[0], total)) for c in mine]
    places = {coordinate: place for place, coordinate in enumerate(on_slice)}
    expected = [(i, places[c]) for i, c in enumerate(on_points) if c in places]
    mine, theirs = points.meet(chosen)
    assert list(zip(mine.tolist(), theirs.tolist(), strict=True)) == expected
    if layout.slice_ratio == 1:
        assert mine.tolist() == list(range(points.size))


@given(cut=cuts(), hashes=st.tuples(HASHES, HASHES), total=TOTALS)
def test_both_gather_the_same_values_where_they_meet(
    cut: Cut, hashes: tuple[bytes, bytes], total: int
) -> None:
    layout = Layout.of(*cut)
    points, chosen = draw(layout, hashes[0], total), select(layout, hashes[1])
    tensors = [np.arange(size, dtype=np.float32) + 1000 * i for i, size in enumerate(layout.sizes)]
    values = points.gather(tensors)
    assert values.dtype == np.float32
    assert values.tolist() == [
        1000 * tensor + c for tensor, mine in enumerate(points.chosen) for c in mine.tolist()
    ]
    mine, theirs = points.meet(chosen)
    assert values[mine].tolist() == chosen.gather(tensors)[theirs].tolist()


def test_gather_refuses_tensors_of_another_model() -> None:
    points = draw(Layout.of(SHAPES, 8, 2), OPEN_HASH, 24)
    with pytest.raises(ValueError, match="argument"):
        points.gather([np.zeros(size, np.float32) for size in (64, 35, 3)])
