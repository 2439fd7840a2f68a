"""A checkpoint on disk: whole, the same everywhere, or refused with the file and the mend."""

from __future__ import annotations

import shutil
import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from train_kit import (
    GENESIS,
    RUN,
    SHAPES,
    Picture,
    another,
    new_state,
    numbers,
    picture,
    state_after,
    update,
)

from boltzmann.errors import StateError
from boltzmann.train import checkpoint
from boltzmann.train.state import ModelState, Position

SMALL = 500  # bytes of a shard: several of them, and tensors in pieces
# sha256 of the descriptor of `pinned`: what every machine and library version must arrive at.
PINNED = "82b9f2de60a69fe7f4b48426ce2f01a723d44805273e113c86a1572addada62a"
PINNED_SHARDS = 5


def write(state: ModelState, folder: Path) -> checkpoint.Descriptor:
    return checkpoint.write(state, RUN, folder, shard_bytes=SMALL)


def loaded(folder: Path) -> Picture:
    state = another(folder)
    assert checkpoint.read(state, folder / "state", RUN) is not None
    return picture(state)


def names_beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "state" in path.name)


def paths_of(descriptor: checkpoint.Descriptor, folder: Path) -> list[Path]:
    return [folder / checkpoint.shard_name(shard) for shard in descriptor.shards]


@pytest.mark.parametrize("windows", [0, 1, 3])
def test_a_state_comes_back_bit_for_bit(tmp_path: Path, windows: int) -> None:
    state = state_after(tmp_path, windows)
    written = write(state, tmp_path / "state")
    assert len(written.shards) > 1
    assert loaded(tmp_path) == picture(state)
    assert checkpoint.read(another(tmp_path), tmp_path / "state", RUN) == written


@given(
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    chunk_size=st.integers(1, 20),
    shard_bytes=st.integers(170, 1500),
    windows=st.integers(0, 2),
    odd=st.sampled_from([0.0, -0.0, float("nan"), float("inf"), 1e-45]),
)
def test_any_state_fits_shards_of_any_size(
    sizes: list[int], chunk_size: int, shard_bytes: int, windows: int, odd: float
) -> None:
    shapes = {f"t{number}": (size,) for number, size in enumerate(sizes)}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        state = new_state(folder, shapes, chunk_size=chunk_size)
        for window in range(1, windows + 1):
            update(state.layout, window).apply_to(state)
        if windows:
            state.m[0] = odd
        written = checkpoint.write(state, RUN, folder / "state", shard_bytes=shard_bytes)
        files = [path.stat().st_size for path in paths_of(written, folder / "state")]
        assert files == [shard.size for shard in written.shards]
        assert max(files) <= shard_bytes
        assert written.size == sum(files)
        other = new_state(folder / "other", shapes, chunk_size=chunk_size)
        checkpoint.load(other, written, paths_of(written, folder / "state"))
        assert picture(other) == picture(state)
        opened = checkpoint.open_descriptor(written.encode(), RUN, windows)
        assert opened == written


def test_equal_states_give_equal_bytes_however_they_came_about(tmp_path: Path) -> None:
    straight = state_after(tmp_path / "straight", 2)
    turned = {name: SHAPES[name] for name in sorted(SHAPES, reverse=True)}
    winding = state_after(tmp_path / "winding", 1, turned)
    update(winding.layout, 2, "not agreed").apply_to(winding)
    winding.undo()
    update(winding.layout, 2).apply_to(winding)
    first, second = tmp_path / "first", tmp_path / "second"
    assert write(straight, first) == write(winding, second)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }


def pinned(folder: Path) -> ModelState:
    """A state with values of every kind, made without any arithmetic."""
    state = new_state(folder, SHAPES)
    state.m[:] = numbers("m", len(state.m))
    state.m[:3] = 0.0  # a tensor that is left out
    state.v[:] = numbers("v", len(state.v))
    for number, counts in enumerate(state.counts):
        counts[:] = number
    state.position = Position(GENESIS, 7, 2, bytes(range(32)))
    return state


def test_the_bytes_are_pinned(tmp_path: Path) -> None:
    written = write(pinned(tmp_path), tmp_path / "state")
    assert len(written.shards) == PINNED_SHARDS
    assert written.digest == PINNED


def test_any_reader_of_safetensors_reads_the_shards(tmp_path: Path) -> None:
    state = pinned(tmp_path)
    written = write(state, tmp_path / "state")
    found: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
    for path in paths_of(written, tmp_path / "state"):
        found.update(load_file(path))
    whole = ["theta.a", "theta.c", "v.a", "v.c", "counts.b.weight", "counts.c"]
    assert set(whole) <= set(found)
    assert {"m.a", "counts.a"}.isdisjoint(found)  # zero
    assert np.array_equal(found["theta.c"], state.parameters["c"].reshape(-1))
    assert np.array_equal(found["counts.c"], state.counts[2])
    assert found["counts.c"].dtype == np.int32


def test_a_long_tensor_comes_in_pieces(tmp_path: Path) -> None:
    state = new_state(tmp_path, {"long": (300,)})
    written = write(state, tmp_path / "state")
    pieces = [load_file(path) for path in paths_of(written, tmp_path / "state")]
    assert [list(piece) for piece in pieces] == [
        [f"theta.long#{number}"] for number in range(len(pieces))
    ]
    joined = np.concatenate([piece[f"theta.long#{n}"] for n, piece in enumerate(pieces)])
    assert np.array_equal(joined, state.theta)


def test_a_genesis_weighs_its_parameters_only(tmp_path: Path) -> None:
    state = new_state(tmp_path, {"t": (10_000,)})
    genesis = checkpoint.write(state, RUN, tmp_path / "genesis")
    assert 40_000 < genesis.size < 40_300
    update(state.layout, 1).apply_to(state)
    assert checkpoint.write(state, RUN, tmp_path / "later").size > 3 * 40_000


def test_a_tensor_of_negative_zeros_is_not_taken_for_zero(tmp_path: Path) -> None:
    state = state_after(tmp_path, 1)
    state.m[:] = -0.0
    write(state, tmp_path / "state")
    assert loaded(tmp_path) == picture(state)


def test_a_genesis_without_a_head_yet_can_be_written_and_loaded(tmp_path: Path) -> None:
    state = new_state(tmp_path, SHAPES)
    state.position = replace(state.position, head="")
    write(state, tmp_path / "state")
    assert loaded(tmp_path) == picture(state)


def test_nothing_that_was_before_can_be_undone_after_loading(tmp_path: Path) -> None:
    write(state_after(tmp_path, 2), tmp_path / "state")
    state = another(tmp_path)
    assert state.can_undo
    checkpoint.read(state, tmp_path / "state", RUN)
    assert not state.can_undo
    assert state.heads == (state.position.head,)
    taken = update(state.layout, 3)
    before = picture(state)
    taken.apply_to(state)
    state.undo()
    assert picture(state) == before


@pytest.mark.parametrize("shard_bytes", [0, 160, checkpoint.SHARD_BYTES + 1])
def test_shards_too_small_or_too_large_are_refused(tmp_path: Path, shard_bytes: int) -> None:
    state = new_state(tmp_path, SHAPES)
    with pytest.raises(ValueError, match=f"shards of {shard_bytes} bytes"):
        checkpoint.write(state, RUN, tmp_path / "state", shard_bytes=shard_bytes)
    assert names_beside(tmp_path) == []


def test_no_state_is_not_saved(tmp_path: Path) -> None:
    state = new_state(tmp_path, SHAPES)
    state.vacate()
    with pytest.raises(StateError, match="no state to save"):
        write(state, tmp_path / "state")


def test_neither_writing_nor_loading_needs_a_second_copy_in_memory(tmp_path: Path) -> None:
    shapes = {"a": (1 << 20,), "b": (1 << 20,)}
    state = new_state(tmp_path, shapes, chunk_size=256)
    update(state.layout, 1).apply_to(state)
    other = new_state(tmp_path / "other", shapes, chunk_size=256)
    shard_bytes = 5 << 20  # of 24 MiB of state
    tracemalloc.start()
    try:
        written = checkpoint.write(state, RUN, tmp_path / "state", shard_bytes=shard_bytes)
        _, writing = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        checkpoint.load(other, written, paths_of(written, tmp_path / "state"))
        _, loading = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert picture(other) == picture(state)
    assert writing < 1 << 20
    assert loading < 2 << 20  # one block of bytes to hash at a time


def test_without_a_checkpoint_nothing_is_loaded(tmp_path: Path) -> None:
    state = state_after(tmp_path, 1)
    before = picture(state)
    assert checkpoint.read(state, tmp_path / "state", RUN) is None
    assert picture(state) == before


def test_a_later_checkpoint_replaces_the_earlier_one(tmp_path: Path) -> None:
    state = state_after(tmp_path, 1)
    write(state, tmp_path / "state")
    update(state.layout, 2).apply_to(state)
    written = write(state, tmp_path / "state")
    assert loaded(tmp_path) == picture(state)
    assert names_beside(tmp_path) == ["state"]
    expected = [
        checkpoint.DESCRIPTOR,
        checkpoint.CHECKSUM,
        *map(checkpoint.shard_name, written.shards),
    ]
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == sorted(expected)


def killed_while_writing(older: Path, newer: Path, folder: Path) -> None:
    shutil.copytree(older, folder)
    shutil.copytree(newer, folder.with_suffix(".new"))
    (folder.with_suffix(".new") / checkpoint.DESCRIPTOR).unlink()


def killed_between_the_renames(older: Path, newer: Path, folder: Path) -> None:
    shutil.copytree(older, folder.with_suffix(".old"))
    shutil.copytree(newer, folder.with_suffix(".new"))


def killed_before_clearing_up(older: Path, newer: Path, folder: Path) -> None:
    shutil.copytree(older, folder.with_suffix(".old"))
    shutil.copytree(newer, folder)


@pytest.mark.parametrize(
    ("killed", "survivor"),
    [
        (killed_while_writing, 0),
        (killed_between_the_renames, 0),
        (killed_before_clearing_up, 1),
    ],
)
def test_a_write_that_was_cut_short_leaves_a_whole_checkpoint(
    tmp_path: Path, killed: Callable[[Path, Path, Path], None], survivor: int
) -> None:
    state = state_after(tmp_path, 1)
    write(state, tmp_path / "older")
    pictures = [picture(state)]
    update(state.layout, 2).apply_to(state)
    write(state, tmp_path / "newer")
    pictures.append(picture(state))
    killed(tmp_path / "older", tmp_path / "newer", tmp_path / "state")
    assert loaded(tmp_path) == pictures[survivor]
    update(state.layout, 3).apply_to(state)
    write(state, tmp_path / "state")
    assert loaded(tmp_path) == picture(state)
    assert names_beside(tmp_path) == ["state"]


def test_a_folder_that_cannot_be_written_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    state = state_after(tmp_path, 1)
    write(state, tmp_path / "state")
    before = picture(state)
    update(state.layout, 2).apply_to(state)
    blocked = tmp_path / "state.new"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"state\.new"):
        write(state, tmp_path / "state")
    assert loaded(tmp_path) == before
