"""Slices: exact size, full cover, and the same coordinates as naming them one by one."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import chosen_coordinates

from boltzmann.protocol.slices import Layout, Slice, select

CLOSE_HASH = bytes(range(200, 232))
SHAPES = {"b.weight": (5, 7), "a.weight": (64,), "c.bias": (3,), "d": ()}
GOLDEN_CHOICE = [[0, 2, 5, 7], [0, 3, 4], [0], [0]]

HASHES = st.binary(min_size=32, max_size=32)
Shapes = Mapping[str, tuple[int, ...]]


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Shapes, int, int]:
    """Shapes of up to 400 coordinates, a chunk size and a ratio."""
    shape = st.lists(st.integers(1, 20), max_size=2).map(tuple)
    shapes = draw(st.dictionaries(st.text(max_size=4), shape, min_size=1, max_size=5))
    return shapes, draw(st.integers(1, 40)), draw(st.integers(1, 9))


def test_one_slice_is_pinned() -> None:
    chosen = select(Layout.of(SHAPES, chunk_size=8, slice_ratio=2), CLOSE_HASH)
    assert [chunks.tolist() for chunks in chosen.chosen] == GOLDEN_CHOICE
    assert chosen.layout.names == ("a.weight", "b.weight", "c.bias", "d")
    named = chosen_coordinates(SHAPES, 8, 2, CLOSE_HASH)
    starts = [[chunk[0] // 8 for chunk in named[name]] for name in sorted(SHAPES)]
    assert starts == GOLDEN_CHOICE


@given(cut=cuts(), close_hash=HASHES)
def test_a_slice_holds_the_coordinates_the_rule_names(
    cut: tuple[Shapes, int, int], close_hash: bytes
) -> None:
    shapes, chunk_size, ratio = cut
    layout = Layout.of(shapes, chunk_size, ratio)
    tensors = [np.arange(size, dtype=np.float32) + 1000 * i for i, size in enumerate(layout.sizes)]
    named = chosen_coordinates(shapes, chunk_size, ratio, close_hash)
    expected = [
        1000 * i + coordinate
        for i, name in enumerate(sorted(shapes))
        for chunk in named[name]
        for coordinate in chunk
    ]
    chosen = select(layout, close_hash)
    assert chosen.gather(tensors).tolist() == expected
    assert chosen.size == len(expected) <= layout.max_slice <= layout.total


@given(cut=cuts(), close_hash=HASHES)
def test_each_group_of_each_tensor_gives_one_chunk(
    cut: tuple[Shapes, int, int], close_hash: bytes
) -> None:
    layout = Layout.of(*cut)
    chosen = select(layout, close_hash)
    assert len(chosen.chosen) == len(layout.names) == len(chosen.bounds) - 1
    for tensor, chunks in enumerate(chosen.chosen):
        numbers = chunks.tolist()
        assert numbers == sorted(set(numbers))
        assert [number // layout.slice_ratio for number in numbers] == list(
            range(layout.groups(tensor))
        )
        assert numbers[-1] < layout.chunks(tensor)
        assert chosen.bounds[tensor] < chosen.bounds[tensor + 1]


@given(cut=cuts(), close_hash=HASHES, max_chunks=st.integers(1, 30))
def test_pieces_cover_the_slice_in_order(
    cut: tuple[Shapes, int, int], close_hash: bytes, max_chunks: int
) -> None:
    layout = Layout.of(*cut)
    chosen = select(layout, close_hash)
    tensors = [np.arange(size, dtype=np.float32) for size in layout.sizes]
    whole = chosen.gather(tensors)
    for tensor, flat in enumerate(tensors):
        rows = []
        for chunks in chosen.pieces(tensor, max_chunks):
            assert 1 <= len(chunks) <= max_chunks
            piece = chosen.rows(flat, tensor, chunks)
            assert piece.shape[0] == len(chunks)
            rows.append(piece.reshape(-1))
        start, end = chosen.bounds[tensor], chosen.bounds[tensor + 1]
        assert np.concatenate(rows).tolist() == whole[start:end].tolist()


@given(cut=cuts(), close_hash=HASHES, max_chunks=st.integers(1, 30))
def test_set_rows_writes_the_slice_and_nothing_else(
    cut: tuple[Shapes, int, int], close_hash: bytes, max_chunks: int
) -> None:
    layout = Layout.of(*cut)
    chosen = select(layout, close_hash)
    tensors = [np.zeros(size, np.float32) for size in layout.sizes]
    for tensor, flat in enumerate(tensors):
        for chunks in chosen.pieces(tensor, max_chunks):
            chosen.set_rows(flat, tensor, chunks, chosen.rows(flat, tensor, chunks) + 1.0)
    named = chosen_coordinates(dict(cut[0]), cut[1], cut[2], close_hash)
    for name, flat in zip(layout.names, tensors, strict=True):
        touched = {coordinate for chunk in named[name] for coordinate in chunk}
        assert set(np.flatnonzero(flat).tolist()) == touched
        assert set(flat.tolist()) <= {0.0, 1.0}


@given(cut=cuts(), close_hash=HASHES)
def test_rows_are_copies(cut: tuple[Shapes, int, int], close_hash: bytes) -> None:
    chosen = select(Layout.of(*cut), close_hash)
    flat = np.zeros(chosen.layout.sizes[0], np.float32)
    for chunks in chosen.pieces(0, 3):
        chosen.rows(flat, 0, chunks)[:] = 1.0
    assert not flat.any()


@settings(max_examples=15)
@given(cut=cuts(), seed=st.integers(0, 2**32))
def test_every_coordinate_has_its_turn(cut: tuple[Shapes, int, int], seed: int) -> None:
    layout = Layout.of(*cut)
    seen = [np.zeros(size, bool) for size in layout.sizes]
    for window in range(40 * layout.slice_ratio):
        chosen = select(layout, (seed + window).to_bytes(32, "big"))
        for tensor, chunks in enumerate(chosen.chosen):
            for chunk in chunks.tolist():
                start = chunk * layout.chunk_size
                seen[tensor][start : start + layout.chunk_size] = True
    assert all(bool(tensor.all()) for tensor in seen)


@given(cut=cuts())
def test_ratio_one_is_the_whole_model(cut: tuple[Shapes, int, int]) -> None:
    layout = Layout.of(cut[0], cut[1], slice_ratio=1)
    chosen = select(layout, CLOSE_HASH)
    assert chosen.size == layout.max_slice == layout.total == sum(map(prod, cut[0].values()))


def test_the_closing_hash_decides() -> None:
    layout = Layout.of({"w": (4096,)}, chunk_size=16, slice_ratio=4)
    slices = [select(layout, bytes([i]) * 32).chosen[0].tolist() for i in range(50)]
    assert len({tuple(chunks) for chunks in slices}) == 50
    counts = np.bincount(np.concatenate(slices) % 4, minlength=4)
    assert counts.min() > 0.9 * counts.mean()


@pytest.mark.parametrize(("chunk_size", "ratio"), [(0, 1), (1, 0), (-1, 2)])
def test_a_cut_of_nothing_is_refused(chunk_size: int, ratio: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Layout.of(SHAPES, chunk_size, ratio)


def test_an_empty_tensor_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"tensor b\.weight has no coordinates"):
        Layout.of({"a": (3,), "b.weight": (4, 0)}, 8, 2)


@pytest.mark.parametrize("sizes", [(64,), (64, 35, 3, 1, 1), (64, 35, 3, 2), (64, 34, 3, 1)])
def test_gather_refuses_tensors_of_another_model(sizes: tuple[int, ...]) -> None:
    chosen: Slice = select(Layout.of(SHAPES, 8, 2), CLOSE_HASH)
    with pytest.raises(ValueError, match="not the layout's"):
        chosen.gather([np.zeros(size, np.float32) for size in sizes])
