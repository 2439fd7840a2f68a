"""Deadlines that hold against work that does not let go, or that loses its cancellation."""

from __future__ import annotations

import asyncio

import pytest

from boltzmann.chain.deadline import insisting, within

NEVER_S = 0.05
LONG_S = 30.0


async def stubborn(losses: int) -> str:
    """Ends when it is cancelled for the `losses` + first time; returns like one that was done."""
    for _ in range(losses + 1):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    return "ended"


async def test_work_that_loses_a_cancellation_is_told_again() -> None:
    assert await asyncio.wait_for(insisting(stubborn(3), LONG_S, 0.01), LONG_S) == "ended"


async def test_work_that_never_ends_is_left_at_the_deadline() -> None:
    ended = asyncio.Event()

    async def deaf() -> None:
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError:
                continue

    for deadline in (insisting(deaf(), NEVER_S, 0.01), within(deaf(), NEVER_S)):
        with pytest.raises(asyncio.TimeoutError):
            await deadline
    ended.set()


async def test_work_that_takes_its_cancellation_is_a_deadline_too() -> None:
    with pytest.raises(asyncio.TimeoutError):
        await insisting(asyncio.Event().wait(), NEVER_S, 0.01)


async def test_results_and_errors_pass() -> None:
    async def fail() -> None:
        raise ValueError("no")

    assert await insisting(asyncio.sleep(0, "done"), LONG_S, LONG_S) == "done"
    with pytest.raises(ValueError, match="no"):
        await insisting(fail(), LONG_S, LONG_S)
