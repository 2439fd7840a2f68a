"""The block stream: every finalized block once and in order, whatever the subscription does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from boltzmann.chain.deadline import abandon, within
from boltzmann.errors import ChainUnavailable
from boltzmann.protocol.chainview import Head

Subscribe = Callable[[], AsyncIterator[int]]
BlockHash = Callable[[int], Awaitable[bytes]]
Sleep = Callable[[float], Awaitable[None]]

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
_UNSUBSCRIBE_S = 2.0  # a dead connection does not answer that either


async def consecutive_heads(
    subscribe: Subscribe,
    block_hash: BlockHash,
    *,
    silence_s: float,
    sleep: Sleep = asyncio.sleep,
) -> AsyncGenerator[Head, None]:
    """Heads from subscriptions to finalized heights, each of which may drop, stall, repeat or skip.

    When one ends, raises ChainUnavailable or is silent for `silence_s` seconds, another is opened,
    after a pause with jitter that doubles up to ten seconds as long as nothing new arrives. Missed
    heights are filled in through `block_hash`; those seen before are dropped. Close it with
    `aclose` to end the subscription.
    Raises: ChainRefused, and whatever else the two calls raise but ChainUnavailable.
    """
    following: int | None = None
    pause = FIRST_PAUSE_S
    while True:
        try:
            async with aclosing(_until_silent(subscribe, silence_s)) as heights:
                async for height in heights:
                    first = height if following is None else following
                    for number in range(first, height + 1):
                        head = Head(number, await block_hash(number))
                        following, pause = number + 1, FIRST_PAUSE_S
                        yield head
        except ChainUnavailable:
            pass  # not an end: waited out below, for as long as it takes, as the port promises
        # Jitter keeps a subnet's nodes from coming back in the same instant.
        await sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, LONGEST_PAUSE_S)


async def _until_silent(subscribe: Subscribe, silence_s: float) -> AsyncGenerator[int, None]:
    """One subscription's heights, until it ends or says nothing for `silence_s` seconds.

    A task of its own reads it, so that neither a slow consumer nor an unsubscription that the
    other side does not answer holds up anything.
    """
    arrived: asyncio.Queue[int | None] = asyncio.Queue()
    reader = asyncio.create_task(_read(subscribe, arrived))
    try:
        while True:
            try:
                height = await within(arrived.get(), silence_s)
            except asyncio.TimeoutError:
                return
            if height is None:
                await reader  # it has ended; this raises what ended it
                return
            yield height
    finally:
        await abandon(reader, _UNSUBSCRIBE_S)


async def _read(subscribe: Subscribe, arrived: asyncio.Queue[int | None]) -> None:
    try:
        async for height in subscribe():
            arrived.put_nowait(height)
    finally:
        arrived.put_nowait(None)
