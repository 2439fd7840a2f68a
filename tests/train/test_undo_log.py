"""An undo log that is damaged or gone: said so, and no mixture is ever taken for a state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_kit import GENESIS, Shapes, new_state, parameters, picture, state_after, update

from boltzmann.errors import StateError
from boltzmann.train.state import ModelState

SHAPES: Shapes = {"b.weight": (5, 7), "a": (3,), "c": (4, 4)}
MEND = "start again, and the node loads its saved state or the run's checkpoint"


def cut(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-1])


def lengthen(log: Path) -> None:
    log.write_bytes(log.read_bytes() + b"more")


def empty(log: Path) -> None:
    log.write_bytes(b"")


def replace_by_folder(log: Path) -> None:
    log.unlink()
    log.mkdir()


VISIBLE = pytest.mark.parametrize("damage", [cut, lengthen, empty, Path.unlink, replace_by_folder])


def two_windows(folder: Path) -> tuple[ModelState, Path]:
    state = new_state(folder, SHAPES)
    for window in (1, 2):
        update(state.layout, window).apply_to(state)
    return state, folder / "undo" / "2.undo"


def flip(log: Path, bit: int) -> None:
    data = bytearray(log.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    log.write_bytes(data)


@VISIBLE
def test_damage_that_shows_at_once_leaves_the_state_as_it_is(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    state, log = two_windows(tmp_path)
    now = picture(state)
    damage(log)
    with pytest.raises(StateError, match=rf"2\.undo.*{MEND}"):
        state.undo()
    assert picture(state) == now
    assert state.heads == (state.position.head,)
    assert not state.can_undo


@VISIBLE
def test_a_look_back_through_a_damaged_log_changes_nothing(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    state, log = two_windows(tmp_path)
    before = state_after(tmp_path / "aside", 1, SHAPES).position.root
    now = picture(state)
    damage(log)
    with pytest.raises(StateError, match=rf"2\.undo.*{MEND}"), state.parameters_at(before):
        pytest.fail("these parameters were never the state's")
    assert picture(state) == now


@given(bit=st.integers(0, 8 * 12 * 32))
def test_a_flipped_bit_of_the_log_is_seen(
    tmp_path_factory: pytest.TempPathFactory, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    state, log = two_windows(folder)
    before = state_after(folder / "aside", 1, SHAPES).position.root
    now = picture(state)
    flip(log, bit)
    with pytest.raises(StateError, match="not hold what was written"), state.parameters_at(before):
        pytest.fail("these parameters were never the state's")
    assert picture(state) == now
    assert not state.can_undo


def test_a_state_that_was_half_undone_has_no_head(tmp_path: Path) -> None:
    state, log = two_windows(tmp_path)
    now = picture(state)
    flip(log, 100)
    with pytest.raises(StateError, match=rf"not hold what was written.*{MEND}"):
        state.undo()
    assert picture(state).theta != now.theta
    assert state.heads == ()
    assert not state.can_undo
    state.reset(parameters(SHAPES), GENESIS, 0)
    assert picture(state) == picture(new_state(tmp_path / "other", SHAPES))


def test_what_can_be_undone_is_told(tmp_path: Path) -> None:
    state = new_state(tmp_path, SHAPES)
    assert not state.can_undo
    update(state.layout, 1).apply_to(state)
    assert state.can_undo
    state.undo()
    assert not state.can_undo


def test_a_log_that_cannot_be_deleted_costs_nothing_but_its_room(tmp_path: Path) -> None:
    state = new_state(tmp_path, SHAPES, history=1)
    before = state.theta.copy()
    update(state.layout, 1).apply_to(state)
    replace_by_folder(tmp_path / "undo" / "1.undo")
    update(state.layout, 2).apply_to(state)
    after = state.theta.copy()
    update(state.layout, 3).apply_to(state)
    state.undo()
    assert np.array_equal(state.theta, after)
    assert not np.array_equal(state.theta, before)
