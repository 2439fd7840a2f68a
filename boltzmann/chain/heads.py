"""The block stream: every finalized block once and in order, whatever the subscription does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

from boltzmann.errors import ChainUnavailable
from boltzmann.protocol.chainview import Head

Subscribe = Callable[[], AsyncIterator[int]]
BlockHash = Callable[[int], Awaitable[bytes]]
Sleep = Callable[[float], Awaitable[None]]

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0


async def consecutive_heads(
    subscribe: Subscribe,
    block_hash: BlockHash,
    *,
    silence_s: float,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[Head]:
    """Heads from a subscription of finalized heights that may drop, stall, repeat or skip.

    When it ends, raises ChainUnavailable or stays silent for `silence_s` seconds it is opened anew,
    after a pause with jitter that doubles up to ten seconds while nothing new arrives. Heights that
    were missed are filled in from `block_hash`; heights seen before are dropped.
    """
    following, pause = -1, _FIRST_PAUSE_S
    while True:
        try:
            async for number in _until_silent(subscribe(), silence_s):
                first = number if following < 0 else following
                for missed in range(first, number + 1):
                    yield Head(missed, await block_hash(missed))
                    following, pause = missed + 1, _FIRST_PAUSE_S
        except ChainUnavailable:
            pass  # the pause below, then anew: `Blocks` tells the operator what is awaited
        # Jitter keeps a subnet's nodes from coming back in the same instant.
        await sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, _LONGEST_PAUSE_S)


async def _until_silent(heights: AsyncIterator[int], silence_s: float) -> AsyncIterator[int]:
    """The heights until the stream ends or says nothing for `silence_s` seconds."""
    iterator = heights.__aiter__()
    while True:
        try:
            yield await asyncio.wait_for(iterator.__anext__(), silence_s)
        except (StopAsyncIteration, asyncio.TimeoutError):
            return
