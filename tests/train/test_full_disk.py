"""A disk that takes no more: the state says so, and is never mistaken for a whole one."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from train_kit import GENESIS, RUN, Shapes, new_state, parameters, picture, update

from boltzmann.errors import StateError
from boltzmann.train import checkpoint

SHAPES: Shapes = {"b.weight": (50, 70), "a": (3,)}
DIGEST = "ab" * 32


@contextmanager
def no_file_may_grow(beyond: int = 0) -> Iterator[None]:
    """Writes to files beyond so many bytes fail with EFBIG, as with ENOSPC on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (beyond, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_unwritable_log_leaves_no_state_to_save_or_to_go_back_to(tmp_path: Path) -> None:
    state = new_state(tmp_path, SHAPES)
    first, second = update(state.layout, 1), update(state.layout, 2)
    state.apply(first.chosen, first.values, DIGEST, 1)
    state.confirm("first")
    with no_file_may_grow(), pytest.raises(StateError, match="make room there"):
        state.apply(second.chosen, second.values, DIGEST, 2)
    assert state.heads == ()
    state.reset(parameters(SHAPES), GENESIS, 0)
    assert state.position.root == new_state(tmp_path / "other", SHAPES).position.root


@pytest.mark.parametrize("room", [0, 200, 20_000])
def test_a_checkpoint_that_does_not_fit_leaves_the_earlier_one(tmp_path: Path, room: int) -> None:
    state = new_state(tmp_path, SHAPES)
    checkpoint.write(state, RUN, tmp_path / "state")
    before = picture(state)
    update(state.layout, 1).apply_to(state)
    with no_file_may_grow(room), pytest.raises(OSError, match="too large"):
        checkpoint.write(state, RUN, tmp_path / "state")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state", "undo"]
    checkpoint.read(state, tmp_path / "state", RUN)
    assert picture(state) == before
