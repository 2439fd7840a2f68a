"""The consensus state: what is applied can be taken back bit for bit, and roots name every bit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_kit import (
    GENESIS,
    OUTER,
    Picture,
    Shapes,
    chunk_numbers,
    new_state,
    parameters,
    picture,
    positions_of,
    update,
)

from boltzmann.errors import StateError
from boltzmann.protocol.outer import Powers, Step, learning_rate
from boltzmann.train import state as state_module
from boltzmann.train.state import ModelState

SHAPES: Shapes = {"b.weight": (5, 7), "a": (3,), "c": (4, 4), "d": (1,)}
SIZES = st.lists(st.integers(1, 70), min_size=1, max_size=4)
CHUNKS = st.integers(1, 20)
RATIOS = st.integers(1, 5)


def shapes_of(sizes: list[int]) -> Shapes:
    return {f"t{number}": (size,) for number, size in enumerate(sizes)}


@contextmanager
def fresh(sizes: list[int], chunk_size: int, slice_ratio: int) -> Iterator[ModelState]:
    """A state for one hypothesis example, which a fixture could not give."""
    with tempfile.TemporaryDirectory() as folder:
        yield new_state(
            Path(folder), shapes_of(sizes), chunk_size=chunk_size, slice_ratio=slice_ratio
        )


@given(sizes=SIZES, chunk_size=CHUNKS, slice_ratio=RATIOS, windows=st.integers(1, 5))
def test_undoing_restores_every_bit_of_each_window(
    sizes: list[int], chunk_size: int, slice_ratio: int, windows: int
) -> None:
    with fresh(sizes, chunk_size, slice_ratio) as state:
        before: list[Picture] = []
        for window in range(1, windows + 1):
            before.append(picture(state))
            update(state.layout, window).apply_to(state)
            assert picture(state) != before[-1]
        while before:
            state.undo()
            assert picture(state) == before.pop()


@given(sizes=SIZES, chunk_size=CHUNKS, slice_ratio=RATIOS)
def test_a_step_is_adamw_on_the_slice_and_nothing_elsewhere(
    sizes: list[int], chunk_size: int, slice_ratio: int
) -> None:
    with fresh(sizes, chunk_size, slice_ratio) as state:
        powers = Powers(OUTER.beta1), Powers(OUTER.beta2)
        chunk_of = chunk_numbers(state.layout)
        theta, m, v = (flat.copy() for flat in (state.theta, state.m, state.v))
        counts = np.zeros(chunk_of.max() + 1, np.int32)
        for window in (1, 2, 5):
            taken = update(state.layout, window)
            taken.apply_to(state)
            where = positions_of(taken.chosen)
            counts[np.unique(chunk_of[where])] += 1
            rows = [flat[where][:, None] for flat in (theta, m, v)]
            step = Step(learning_rate(OUTER.schedule, window), OUTER, *powers)
            step.apply(rows[0], rows[1], rows[2], taken.values[:, None], counts[chunk_of[where]])
            for flat, row in zip((theta, m, v), rows, strict=True):
                flat[where] = row[:, 0]
        assert np.array_equal(state.theta, theta)
        assert np.array_equal(state.m, m)
        assert np.array_equal(state.v, v)
        assert np.array_equal(np.concatenate(state.counts), counts)


def test_roots_depend_on_what_was_agreed_and_not_on_how_a_node_came_there(tmp_path: Path) -> None:
    straight = new_state(tmp_path / "straight", SHAPES)
    winding = new_state(tmp_path / "winding", SHAPES, history=2)
    roots = [update(straight.layout, window).apply_to(straight) for window in (1, 2, 4)]
    update(winding.layout, 1, "not agreed").apply_to(winding)
    update(winding.layout, 3, "nor this").apply_to(winding)
    winding.undo()
    winding.undo()
    found = [update(winding.layout, 1).apply_to(winding)]
    found.append(update(winding.layout, 2).apply_to(winding))
    update(winding.layout, 3, "never ordered").apply_to(winding)
    winding.undo()
    found.append(update(winding.layout, 4).apply_to(winding))
    assert found == roots
    assert len(set(roots)) == 3
    assert picture(winding) == picture(straight)


@given(bit=st.integers(0, 8 * 4 * 35 - 1))
def test_any_bit_of_an_update_changes_the_root(bit: int) -> None:
    with fresh([35], 8, 1) as honest, fresh([35], 8, 1) as other:
        agreed = update(honest.layout, 1)
        bits = agreed.values.view(np.uint32).copy()
        bits[bit // 32] ^= np.uint32(1 << (bit % 32))
        with np.errstate(all="ignore"):  # an exponent's bit may make infinities and NaN
            flipped = replace(agreed, values=bits.view(np.float32)).apply_to(other)
        assert flipped != agreed.apply_to(honest)


@given(bit=st.integers(0, 8 * 4 * 55 - 1))
def test_any_bit_of_the_checkpoint_changes_the_root(bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = new_state(Path(folder), SHAPES)
        changed = parameters(SHAPES)
        flat = np.concatenate([changed[name].reshape(-1) for name in sorted(changed)])
        flat.view(np.uint32)[bit // 32] ^= np.uint32(1 << (bit % 32))
        start = 0
        for name in sorted(changed):
            size = changed[name].size
            changed[name] = flat[start : start + size].reshape(SHAPES[name])
            start += size
        before = state.position.root
        state.reset(changed, GENESIS, 0)
        assert state.position.root != before


@pytest.mark.parametrize("bit", [0, 7, 100, 255])
def test_any_bit_of_the_root_before_or_of_the_updates_name_changes_the_root(
    tmp_path: Path, bit: int
) -> None:
    agreed = update(new_state(tmp_path / "layout", SHAPES).layout, 1)
    roots = set()
    for case in ("agreed", "root", "name"):
        state, name = new_state(tmp_path / case, SHAPES), int(agreed.sha256, 16)
        if case == "root":
            root = int.from_bytes(state.position.root, "big") ^ 1 << bit
            state.position = replace(state.position, root=root.to_bytes(32, "big"))
        if case == "name":
            name ^= 1 << bit
        roots.add(state.apply(agreed.chosen, agreed.values.copy(), f"{name:064x}", 1))
    assert len(roots) == 3


def test_the_learning_rate_counts_windows_from_genesis(tmp_path: Path) -> None:
    early, late = (new_state(tmp_path / name, SHAPES) for name in ("early", "late"))
    late.reset(parameters(SHAPES), GENESIS, 100)
    first = update(early.layout, 2)
    assert first.apply_to(early) == replace(first, window=102).apply_to(late)


@pytest.mark.parametrize("leaves_by", ["end", "exception"])
def test_the_parameters_of_an_earlier_state_can_be_looked_at(
    tmp_path: Path, leaves_by: str
) -> None:
    state = new_state(tmp_path, SHAPES)
    update(state.layout, 1).apply_to(state)
    old, root = state.theta.copy(), state.position.root
    update(state.layout, 2).apply_to(state)
    new = picture(state)
    error = KeyError("inside")
    try:
        with state.parameters_at(root):
            assert np.array_equal(state.theta, old)
            flat = np.concatenate([state.parameters[name].reshape(-1) for name in sorted(SHAPES)])
            assert np.array_equal(flat, old)
            if leaves_by == "exception":
                raise error
    except KeyError as caught:
        assert caught is error
    assert picture(state) == new
    state.undo()
    assert np.array_equal(state.theta, old)


def test_whoever_holds_a_copy_sees_that_the_parameters_have_changed(tmp_path: Path) -> None:
    state = new_state(tmp_path, SHAPES)
    seen = [state.changes]

    def has_changed() -> bool:
        seen.append(state.changes)
        return seen[-1] != seen[-2]

    state.reset(parameters(SHAPES), GENESIS, 0)
    root = state.position.root
    assert has_changed()
    update(state.layout, 1).apply_to(state)
    assert has_changed()
    assert not has_changed()
    with state.parameters_at(root):
        assert has_changed()
    assert has_changed()
    state.undo()
    assert has_changed()


def test_the_present_parameters_are_at_hand_as_they_are(tmp_path: Path) -> None:
    state = new_state(tmp_path, SHAPES)
    update(state.layout, 1).apply_to(state)
    now = picture(state)
    with state.parameters_at(state.position.root):
        assert picture(state) == now
    assert picture(state) == now


def test_parameters_are_at_hand_as_far_back_as_the_log_leads(tmp_path: Path) -> None:
    state = new_state(tmp_path, SHAPES, history=3)
    thetas = {}
    for window in (1, 2, 4, 5):  # 3 was empty
        thetas[state.position.root] = state.theta.copy()
        update(state.layout, window).apply_to(state)
    now = picture(state)
    first, *within_reach = thetas
    for root in within_reach:
        assert state.reaches(root)
        with state.parameters_at(root):
            assert np.array_equal(state.theta, thetas[root])
        assert picture(state) == now
    assert not state.reaches(first)
    with pytest.raises(StateError, match=first.hex()[:12]), state.parameters_at(first):
        pytest.fail("the first parameters are four updates away")


def test_the_parameters_of_another_branch_are_not_taken_for_those_of_this_one(
    tmp_path: Path,
) -> None:
    state = new_state(tmp_path, SHAPES)
    update(state.layout, 1).apply_to(state)
    root = state.position.root
    state.undo()
    for window in (1, 2):
        update(state.layout, window, "as the chain has ordered it").apply_to(state)
    assert not state.reaches(root)
    with pytest.raises(StateError, match=root.hex()[:12]), state.parameters_at(root):
        pytest.fail("window 2 stands on another window 1 here")


def test_the_log_reaches_back_as_far_as_it_should_and_leaves_no_more_files(tmp_path: Path) -> None:
    state = new_state(tmp_path, SHAPES, history=3)
    heads = [GENESIS]
    for window in range(1, 6):
        update(state.layout, window).apply_to(state)
        heads.append(state.position.head)
    assert state.heads == tuple(reversed(heads[2:]))
    assert len(list((tmp_path / "undo").iterdir())) == 3
    for head in reversed(heads[2:5]):
        state.undo()
        assert state.position.head == head
    assert list((tmp_path / "undo").iterdir()) == []
    with pytest.raises(StateError, match="undo log is empty"):
        state.undo()


def test_an_update_without_a_manifest_yet_has_no_head(tmp_path: Path) -> None:
    state = new_state(tmp_path, SHAPES)
    taken = update(state.layout, 1)
    state.apply(taken.chosen, taken.values.copy(), taken.sha256, 1)
    assert state.position.head == ""
    assert list(state.heads) == [GENESIS]
    state.confirm("named")
    assert list(state.heads) == ["named", GENESIS]


@pytest.mark.parametrize(
    "shapes",
    [
        {**SHAPES, "e": (1,)},
        {name: shape for name, shape in SHAPES.items() if name != "d"},
        {**SHAPES, "c": (16,)},
        {**SHAPES, "b.weight": (7, 5)},
    ],
)
def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing(
    tmp_path: Path, shapes: Shapes
) -> None:
    state = new_state(tmp_path, SHAPES)
    update(state.layout, 1).apply_to(state)
    before = picture(state)
    with pytest.raises(StateError, match="not the ones of the run's model"):
        state.reset(parameters(shapes), "other", 7)
    assert picture(state) == before


def test_a_reset_forgets_everything_before(tmp_path: Path) -> None:
    state, untouched = new_state(tmp_path / "a", SHAPES), new_state(tmp_path / "b", SHAPES)
    for window in (1, 2):
        update(state.layout, window).apply_to(state)
    state.reset(parameters(SHAPES), GENESIS, 0)
    assert picture(state) == picture(untouched)
    assert state.heads == (GENESIS,)
    assert list((tmp_path / "a" / "undo").iterdir()) == []


def test_the_result_does_not_depend_on_the_size_of_the_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots, pictures = set(), set()
    for piece in (1, 9, 24, 1 << 18):
        monkeypatch.setattr(state_module, "_PIECE", piece)
        state = new_state(tmp_path / str(piece), {"long": (1003,), **SHAPES})
        for window in (1, 2, 3):
            roots.add((window, update(state.layout, window).apply_to(state)))
        state.undo()
        pictures.add(picture(state))
    assert len(roots) == 3
    assert len(pictures) == 1
