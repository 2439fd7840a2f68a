"""A node's own copy of its state: whole, or refused with the file and the mend."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_kit import Picture, Shapes, new_state, picture, update

from boltzmann.errors import CorruptState
from boltzmann.train import snapshot
from boltzmann.train.state import ModelState

SHAPES: Shapes = {"a": (3,), "b.weight": (5, 7), "c": (4, 4)}
FILES = ("meta.json", "theta", "m", "v", "counts")


def state_after(folder: Path, windows: int, shapes: Shapes = SHAPES) -> ModelState:
    state = new_state(folder, shapes)
    for window in range(1, windows + 1):
        update(state.layout, window).apply_to(state)
    return state


def empty(folder: Path, shapes: Shapes = SHAPES) -> ModelState:
    """A state that has seen another update, so that nothing of it is right by chance."""
    state = new_state(folder / "another", shapes)
    update(state.layout, 9, "elsewhere").apply_to(state)
    return state


def loaded(folder: Path) -> Picture:
    state = empty(folder)
    assert snapshot.load(state, folder / "state")
    return picture(state)


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = state_after(tmp_path, 3)
    snapshot.save(state, tmp_path / "state")
    assert loaded(tmp_path) == picture(state)


def test_without_a_snapshot_nothing_is_loaded(tmp_path: Path) -> None:
    state = state_after(tmp_path, 1)
    before = picture(state)
    assert not snapshot.load(state, tmp_path / "state")
    assert picture(state) == before


def test_a_later_snapshot_replaces_the_earlier_one(tmp_path: Path) -> None:
    state = state_after(tmp_path, 1)
    snapshot.save(state, tmp_path / "state")
    update(state.layout, 2).apply_to(state)
    snapshot.save(state, tmp_path / "state")
    assert loaded(tmp_path) == picture(state)
    assert sorted(path.name for path in tmp_path.iterdir() if "state" in path.name) == ["state"]


def killed_while_writing(older: Path, newer: Path, folder: Path) -> None:
    shutil.copytree(older, folder)
    shutil.copytree(newer, folder.with_suffix(".new"))
    (folder.with_suffix(".new") / "meta.json").unlink()


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
def test_a_save_that_was_cut_short_leaves_a_whole_snapshot(
    tmp_path: Path, killed: Callable[[Path, Path, Path], None], survivor: int
) -> None:
    state = state_after(tmp_path, 1)
    snapshot.save(state, tmp_path / "older")
    pictures = [picture(state)]
    update(state.layout, 2).apply_to(state)
    snapshot.save(state, tmp_path / "newer")
    pictures.append(picture(state))
    killed(tmp_path / "older", tmp_path / "newer", tmp_path / "state")
    assert loaded(tmp_path) == pictures[survivor]
    update(state.layout, 3).apply_to(state)
    snapshot.save(state, tmp_path / "state")
    assert loaded(tmp_path) == picture(state)
    assert sorted(path.name for path in tmp_path.iterdir() if "state" in path.name) == ["state"]


def test_a_full_disk_leaves_the_earlier_snapshot(tmp_path: Path) -> None:
    state = state_after(tmp_path, 1)
    snapshot.save(state, tmp_path / "state")
    before = picture(state)
    update(state.layout, 2).apply_to(state)
    blocked = tmp_path / "state.new"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"state\.new"):
        snapshot.save(state, tmp_path / "state")
    assert loaded(tmp_path) == before


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelState]:
    folder = tmp_path_factory.mktemp("whole")
    state = state_after(folder, 2)
    snapshot.save(state, folder / "state")
    return folder, state


@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_taken_for_the_state(
    whole: tuple[Path, ModelState], name: str, place: float, bit: int
) -> None:
    folder, state = whole
    path = folder / "state" / name
    original = path.read_bytes()
    damaged = bytearray(original)
    damaged[int(place * len(damaged))] ^= 1 << bit
    path.write_bytes(damaged)
    try:
        # White space of meta.json may change without harm.
        assert loaded(folder) == picture(state)
    except CorruptState as error:
        assert str(folder / "state") in str(error)
        assert "delete it" in str(error)
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("key", ["head", "window", "genesis", "root", "layout"])
def test_a_changed_position_is_refused(tmp_path: Path, key: str) -> None:
    snapshot.save(state_after(tmp_path, 2), tmp_path / "state")
    path = tmp_path / "state" / "meta.json"
    stored = json.loads(path.read_text())
    value = stored["meta"][key]
    stored["meta"][key] = value + 1 if isinstance(value, int) else value[:-1] + "0"
    assert stored["meta"][key] != value
    path.write_text(json.dumps(stored))
    with pytest.raises(CorruptState, match=r"meta\.json has not the sha256 that it names"):
        loaded(tmp_path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "longer"])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, damage: str) -> None:
    snapshot.save(state_after(tmp_path, 2), tmp_path / "state")
    path = tmp_path / "state" / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-1], "empty": b"", "longer": data + b"more"}[damage])
    with pytest.raises(CorruptState, match=r"state snapshot in .*state cannot be used.*delete it"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    "shapes",
    [
        {**SHAPES, "c": (4, 5)},
        {"a": (3,), "b.weight": (5, 7), "renamed": (4, 4)},
        {"a": (3,), "b.weight": (7, 5), "c": (4, 4)},  # as many coordinates, as many chunks
        {"a": (1,)},
    ],
)
def test_another_models_snapshot_is_refused(tmp_path: Path, shapes: Shapes) -> None:
    snapshot.save(state_after(tmp_path, 2), tmp_path / "state")
    with pytest.raises(CorruptState, match="other tensors or chunks"):
        snapshot.load(empty(tmp_path, shapes), tmp_path / "state")


def test_a_snapshot_of_other_chunks_is_refused(tmp_path: Path) -> None:
    snapshot.save(new_state(tmp_path / "a", {"t": (16,)}, chunk_size=4), tmp_path / "state")
    other = new_state(tmp_path / "b", {"t": (16,)}, chunk_size=5)
    assert [len(counts) for counts in other.counts] == [4]
    with pytest.raises(CorruptState, match="other tensors or chunks"):
        snapshot.load(other, tmp_path / "state")
