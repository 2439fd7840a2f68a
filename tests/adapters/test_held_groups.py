"""Row groups in memory: each read once while it is held, and never more than the bound."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.data.held_groups import HELD_BYTES, HeldGroups
from boltzmann.errors import DataError


@dataclass(frozen=True)
class Column:
    """Stands for decoded text of some size."""

    nbytes: int


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1, 2, 3, 9])), max_size=30))
def test_what_was_asked_for_last_stays_within_the_bound(asked: list[tuple[int, int]]) -> None:
    held, third = HeldGroups(), HELD_BYTES // 3
    sizes: dict[int, int] = {}
    kept: list[int] = []  # as it must be, the newest last
    for group, thirds in asked:
        size = sizes.setdefault(group, thirds * third)
        read: list[int] = []

        def column(group: int = group, size: int = size, read: list[int] = read) -> Column:
            read.append(group)
            return Column(size)

        assert held.get(group, column).nbytes == size
        assert read == ([] if group in kept else [group])
        kept = [*(other for other in kept if other != group), group]
        while sum(sizes[other] for other in kept) > HELD_BYTES and len(kept) > 1:
            kept.pop(0)


def test_a_failed_read_is_told_and_tried_again() -> None:
    held = HeldGroups()

    def fail() -> Column:
        raise DataError("no answer")

    for _ in range(2):
        with pytest.raises(DataError, match="no answer"):
            held.get(1, fail)
    assert held.get(1, lambda: Column(5)).nbytes == 5


def test_groups_are_read_at_once_and_each_once() -> None:
    held, meeting = HeldGroups(), threading.Barrier(3)
    read: list[int] = []

    def column(group: int) -> Column:
        read.append(group)
        meeting.wait(30)  # all three are under way, or this breaks
        return Column(group)

    with ThreadPoolExecutor(9) as threads:
        found = threads.map(lambda n: held.get(n % 3, lambda: column(n % 3)).nbytes, range(9))
        assert list(found) == [0, 1, 2] * 3
    assert sorted(read) == [0, 1, 2]
