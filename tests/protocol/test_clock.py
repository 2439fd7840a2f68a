"""Block arithmetic of windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.protocol.clock import WindowClock

CLOCKS = st.builds(
    lambda train, upload, order, spare: WindowClock(train, upload + order + spare, upload, order),
    *[st.integers(1, 50)] * 4,
)


def test_the_blocks_of_one_window() -> None:
    clock = WindowClock(train_blocks=4, exchange_blocks=5, upload_blocks=2, order_blocks=1)
    assert clock.length == 9
    assert [clock.window(block) for block in (0, 8, 9, 26, 27)] == [0, 0, 1, 2, 3]
    times = (clock.open(3), clock.close(3), clock.upload_by(3), clock.decide(3), clock.open(4))
    assert times == (27, 31, 33, 35, 36)


@given(clock=CLOCKS, block=st.integers(0, 10**12))
def test_every_block_lies_in_exactly_one_window(clock: WindowClock, block: int) -> None:
    window = clock.window(block)
    assert clock.open(window) <= block < clock.open(window + 1)


@given(clock=CLOCKS, window=st.integers(0, 10**9))
def test_the_steps_of_a_window_come_in_order(clock: WindowClock, window: int) -> None:
    steps = [
        clock.open(window),
        clock.close(window),
        clock.upload_by(window),
        clock.decide(window),
        clock.open(window + 1),
    ]
    assert steps == sorted(set(steps))
    assert {clock.window(step) for step in steps[:-1]} == {window}


@pytest.mark.parametrize(
    ("blocks", "named"),
    [
        ((0, 5, 2, 1), "train_blocks"),
        ((4, 5, 0, 1), "upload_blocks"),
        ((4, 5, 2, 0), "order_blocks"),
        ((4, 3, 2, 1), "exchange_blocks"),
        ((-1, 5, 2, 1), "train_blocks"),
    ],
)
def test_a_clock_without_room_for_a_step_is_refused(
    blocks: tuple[int, int, int, int], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        WindowClock(*blocks)
