"""A disk that takes no more: the state says so, and is never mistaken for a whole one."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from train_kit import Shapes, new_state, parameters, update

from boltzmann.errors import StateError

SHAPES: Shapes = {"b.weight": (50, 70), "a": (3,)}
DIGEST = "ab" * 32


@contextmanager
def no_file_may_grow() -> Iterator[None]:
    """Writes to files fail with EFBIG, as they do with ENOSPC on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
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
    state.reset(parameters(SHAPES), "genesis", 0)
    assert state.position.root == new_state(tmp_path / "other", SHAPES).position.root
