"""Block arithmetic of windows."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.protocol.clock import WindowClock


def clock_of(
    train: int, commit: int, upload: int, receipt: int, turn: int, order: int, spare: int
) -> WindowClock:
    """The legal clock with these steps and `spare` blocks for proposal and vote."""
    exchange = commit + upload + receipt + order + spare
    return WindowClock(train, exchange, commit, upload, receipt, turn, order)


ABOVE_0, FROM_0 = st.integers(1, 50), st.integers(0, 50)
CLOCKS = st.builds(clock_of, ABOVE_0, ABOVE_0, ABOVE_0, FROM_0, ABOVE_0, FROM_0, ABOVE_0)
SHORTEST = WindowClock(train_blocks=1, exchange_blocks=3, receipt_blocks=0, order_blocks=0)
CLOCK = WindowClock(
    train_blocks=4,
    exchange_blocks=12,
    commit_blocks=1,
    upload_blocks=2,
    receipt_blocks=3,
    turn_blocks=2,
    order_blocks=1,
)


def test_the_blocks_of_one_window() -> None:
    assert CLOCK.length == 16
    assert [CLOCK.window(block) for block in (0, 15, 16, 47, 48)] == [0, 0, 1, 2, 3]
    steps = (CLOCK.open(3), CLOCK.close(3), CLOCK.commit_by(3), CLOCK.upload_by(3))
    assert steps == (48, 52, 53, 55)
    assert (CLOCK.receipts_by(3), CLOCK.decide(3), CLOCK.open(4)) == (58, 63, 64)
    assert CLOCK.audit_by(3) == 57
    assert [CLOCK.turn(3, place) for place in range(4)] == [58, 60, 62, 64]


def test_a_window_of_four_blocks_is_legal_and_none_shorter() -> None:
    assert SHORTEST.length == 4
    steps = (SHORTEST.close(2), SHORTEST.commit_by(2), SHORTEST.upload_by(2))
    assert steps == (9, 10, 11)
    assert (SHORTEST.audit_by(2), SHORTEST.receipts_by(2), SHORTEST.decide(2)) == (11, 11, 12)
    for shorter in ({"train_blocks": 0}, {"exchange_blocks": 2}):
        with pytest.raises(ValueError, match=next(iter(shorter))):
            replace(SHORTEST, **shorter)


def test_the_defaults_fit_into_five_blocks_of_exchange() -> None:
    defaults = WindowClock(1, 5)
    assert (defaults.commit_blocks, defaults.upload_blocks, defaults.receipt_blocks) == (1, 1, 1)
    assert (defaults.turn_blocks, defaults.order_blocks) == (2, 1)
    with pytest.raises(ValueError, match="exchange_blocks = 4"):
        WindowClock(1, 4)


@given(clock=CLOCKS, block=st.integers(0, 10**12))
def test_every_block_lies_in_exactly_one_window(clock: WindowClock, block: int) -> None:
    window = clock.window(block)
    assert clock.open(window) <= block < clock.open(window + 1)


@given(clock=CLOCKS, window=st.integers(0, 10**9))
def test_the_steps_of_a_window_come_in_order(clock: WindowClock, window: int) -> None:
    strictly = [clock.open(window), clock.close(window), clock.commit_by(window)]
    strictly.append(clock.upload_by(window))
    assert strictly == sorted(set(strictly))
    assert clock.upload_by(window) <= clock.audit_by(window) <= clock.receipts_by(window)
    assert clock.receipts_by(window) < clock.decide(window)
    if clock.receipt_blocks > 0:
        assert clock.upload_by(window) < clock.audit_by(window)
    assert clock.decide(window) <= clock.open(window + 1)
    within = [*strictly, clock.receipts_by(window), clock.decide(window) - 1]
    assert {clock.window(step) for step in within} == {window}


@given(clock=CLOCKS, window=st.integers(0, 10**9), place=st.integers(0, 200))
def test_leaders_take_turns_one_after_another(clock: WindowClock, window: int, place: int) -> None:
    assert clock.turn(window, 0) == clock.receipts_by(window)
    assert clock.turn(window, place + 1) - clock.turn(window, place) == clock.turn_blocks
    assert clock.turn(window, place) < clock.turn(window, place + 1)


@given(clock=CLOCKS, window=st.integers(0, 10**9))
def test_each_step_takes_the_blocks_of_its_field(clock: WindowClock, window: int) -> None:
    assert clock.close(window) - clock.open(window) == clock.train_blocks
    assert clock.open(window + 1) - clock.close(window) == clock.exchange_blocks
    assert clock.commit_by(window) - clock.close(window) == clock.commit_blocks
    assert clock.upload_by(window) - clock.commit_by(window) == clock.upload_blocks
    assert clock.receipts_by(window) - clock.upload_by(window) == clock.receipt_blocks
    assert clock.open(window + 1) - clock.decide(window) == clock.order_blocks


def test_every_step_gets_a_block_of_its_own_from_the_shortest_exchange_up() -> None:
    """Each field but `turn_blocks` takes its block out of `exchange_blocks`."""
    tight = clock_of(3, 2, 2, 2, 2, 2, 1)
    assert tight.decide(0) - tight.receipts_by(0) == 1
    for name in ("commit_blocks", "upload_blocks", "receipt_blocks", "order_blocks"):
        with pytest.raises(ValueError, match="exchange_blocks = 9 leaves no block") as caught:
            replace(tight, **{name: 3})
        assert f"{name} (3)" in str(caught.value)
    assert replace(tight, turn_blocks=1000).turn(0, 1) == tight.receipts_by(0) + 1000


@pytest.mark.parametrize("number", [0, -1, -(2**62)])
@pytest.mark.parametrize("name", [field.name for field in fields(WindowClock)])
def test_a_field_out_of_range_is_named(name: str, number: int) -> None:
    if number == 0 and name in ("receipt_blocks", "order_blocks"):
        assert getattr(replace(CLOCK, **{name: 0}), name) == 0
        return
    with pytest.raises(ValueError, match=name):
        replace(CLOCK, **{name: number})


@given(numbers=st.lists(st.integers(-2, 6), min_size=7, max_size=7))
def test_a_clock_is_legal_exactly_if_its_deadlines_are_in_order(numbers: list[int]) -> None:
    train, exchange, commit, upload, receipt, turn, order = numbers
    deadlines = [train, train + commit, train + commit + upload]
    decide = train + exchange - order
    legal = 0 < deadlines[0] < deadlines[1] < deadlines[2] and turn > 0 and order >= 0
    legal = legal and deadlines[2] <= deadlines[2] + receipt < decide
    try:
        clock = WindowClock(*numbers)
    except ValueError:
        assert not legal
    else:
        assert legal
        assert clock.decide(0) == decide


@given(clock=CLOCKS, window=st.integers(0, 10**6))
def test_no_delta_is_shown_before_the_digests_are_due(clock: WindowClock, window: int) -> None:
    assert clock.commit_by(window) <= clock.reveal_at(window) < clock.upload_by(window)
    if clock.upload_blocks > 1:
        assert clock.reveal_at(window) > clock.commit_by(window)
