"""The byte budget of commitments, and the shortest window it bears."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.protocol.budget import (
    MIN_CHARGE_BYTES,
    charge,
    commits_per_epoch,
    shortest_window,
)
from boltzmann.protocol.chainview import CommitSpace, epoch_index

charges = st.integers(MIN_CHARGE_BYTES, 384)
tempos = st.integers(1, 500)


def most_commits_of_one(window: int, validators: int, tempo: int) -> int:
    """The most commits that one of `validators` in turn has to make in any one epoch, counted."""
    between = window * validators
    most = 0
    for offset in range(min(between, tempo + 1)):
        commits = range(offset, 3 * (tempo + 1) + between, between)
        epochs = [epoch_index(block, 0, tempo) for block in commits]
        most = max(most, max(map(epochs.count, set(epochs))))
    return most


def test_the_shortest_windows_of_a_usual_subnet() -> None:
    assert [shortest_window(3100, 360, 100, v) for v in (1, 2, 3, 12, 500)] == [12, 6, 4, 1, 1]
    assert shortest_window(3100, 360, 155, 1) == 19  # 20 commits in 361 blocks
    assert commits_per_epoch(3100, 100) == 31


@given(st.integers(100, 3100), tempos, charges, st.integers(1, 8))
def test_the_window_fits_the_budget_and_a_shorter_one_does_not(
    limit: int, tempo: int, taken: int, validators: int
) -> None:
    fit = commits_per_epoch(limit, taken)
    if fit == 0:
        with pytest.raises(ValueError, match=f"{taken} bytes does not fit .* {limit} bytes"):
            shortest_window(limit, tempo, taken, validators)
        return
    window = shortest_window(limit, tempo, taken, validators)
    assert window >= 1
    assert most_commits_of_one(window, validators, tempo) <= fit
    if window > 1:
        assert most_commits_of_one(window - 1, validators, tempo) > fit


@given(st.lists(st.binary(min_size=1, max_size=128), min_size=1, max_size=3))
def test_a_commitment_is_charged_its_bytes_and_never_less_than_the_least(
    fields: list[bytes],
) -> None:
    size = len(b"".join(fields))
    assert charge(fields) == (size if size >= 100 else 100)


@given(st.integers(-10, 10_000), charges)
def test_as_many_commits_fit_as_can_be_charged(limit: int, taken: int) -> None:
    fit = commits_per_epoch(limit, taken)
    assert fit >= 0
    assert fit * taken <= max(0, limit) < (fit + 1) * taken


@pytest.mark.parametrize(
    ("tempo", "taken", "validators", "fact"),
    [
        (360, 100, 0, "not 0 validators"),
        (0, 100, 3, "a tempo of 0"),
        (360, 99, 3, "at least 100 bytes of the budget, not 99"),
    ],
)
def test_what_makes_no_sense_is_named(tempo: int, taken: int, validators: int, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        shortest_window(3100, tempo, taken, validators)


def test_room_is_what_is_left_and_never_negative() -> None:
    space = CommitSpace(3100, {"some": 2900, "all": 3100, "more": 3500})
    rooms = [space.room(hotkey) for hotkey in ("nobody", "some", "all", "more")]
    assert rooms == [3100, 200, 0, 0]


@given(st.integers(0, 10**7), st.integers(0, 65535), tempos)
def test_epochs_follow_each_other_and_are_a_block_longer_than_the_tempo(
    block: int, netuid: int, tempo: int
) -> None:
    index = epoch_index(block, netuid, tempo)
    assert epoch_index(block + 1, netuid, tempo) in (index, index + 1)
    assert epoch_index(block + tempo + 1, netuid, tempo) == index + 1
