"""Deadlines that hold even when what they cut off does not let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def within(work: Awaitable[T], seconds: float) -> T:
    """The result of `work`. Raises: asyncio.TimeoutError after `seconds`, and what `work` raises.

    Unlike asyncio.wait_for it does not wait for `work` to take its cancellation in: the SDK
    unsubscribes then, which on a dead connection takes a minute.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_take_note)
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done():
        task.cancel()
        raise asyncio.TimeoutError(f"no answer in {seconds:g} seconds")
    return task.result()


async def abandon(task: asyncio.Task[Any], seconds: float) -> None:
    """Cancel `task` and give it `seconds` to end; how it ends does not matter any more."""
    task.add_done_callback(_take_note)
    task.cancel()
    await asyncio.wait({task}, timeout=seconds)


async def insisting(work: Awaitable[T], seconds: float, every: float) -> T:
    """As `within`, for work that waits for a cancellation that got lost: it is told again.

    Every `every` seconds until it ends, `work` is cancelled, which it must take for a reminder.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_take_note)
    ends = asyncio.get_running_loop().time() + seconds
    try:
        await asyncio.wait({task}, timeout=min(every, seconds))
        while not task.done() and asyncio.get_running_loop().time() < ends:
            task.cancel()
            await asyncio.wait({task}, timeout=every)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done() or task.cancelled():
        raise asyncio.TimeoutError(f"it did not end in {seconds:g} seconds")
    return task.result()


def _take_note(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # else asyncio reports it as never looked at
