"""Waiting for blocks: one task follows the chain's heads, everybody else waits for a height."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from boltzmann.errors import ChainUnavailable
from boltzmann.ports import Chain, Telemetry

T = TypeVar("T")
_SILENCE_S = 15.0  # after this long without the awaited block the node says what it waits for


class Blocks:
    """The newest finalized height, and a way to wait for one."""

    def __init__(self, chain: Chain, telemetry: Telemetry) -> None:
        self._chain = chain
        self._telemetry = telemetry
        self._changed = asyncio.Condition()
        self._latest = -1
        self._watch: asyncio.Task[None] | None = None

    @property
    def latest(self) -> int:
        """The newest finalized height seen."""
        return self._latest

    async def start(self) -> None:
        """Follow the chain until `close`. Raises: ChainError if it cannot be reached now."""
        self._latest = (await self._chain.head()).number
        self._watch = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def until(self, number: int) -> int:
        """Wait until block `number` is finalized; the newest height then.

        Raises: what ended the block stream, if it ended.
        """
        waited = 0.0
        while self._latest < number:
            self._require_stream()
            if not await self._next(None):
                waited += _SILENCE_S
                self._telemetry.event(
                    "waiting",
                    what=f"block {number}, now {self._latest}",
                    seconds=waited,
                )
        return self._latest

    async def hash(self, number: int) -> bytes:
        """The hash of a block, as soon as it is finalized."""
        await self.until(number)
        return await self._chain.block_hash(number)

    async def before(self, number: int, work: Awaitable[T]) -> T:
        """The result of `work` on the chain, given up once block `number` is finalized.

        Of a call whose block is not told of a node hears nothing, for longer than a window may
        last. Raises: ChainUnavailable then, and what `work` raises.
        """
        working = asyncio.ensure_future(work)
        try:
            while not working.done():
                if self._latest >= number:
                    raise ChainUnavailable(f"no answer before block {self._latest}")
                self._require_stream()
                await self._next(working)
            return working.result()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _next(self, other: asyncio.Future[T] | None) -> bool:
        """Wait for the next block, or for `other`; False after a long silence.

        By asyncio.wait, because before Python 3.12 asyncio.wait_for forgets a cancellation that
        comes together with what it waits for.
        """
        block = asyncio.ensure_future(self._after(self._latest))
        waited_for: set[asyncio.Future[Any]] = {block} if other is None else {block, other}
        try:
            done, _ = await asyncio.wait(
                waited_for, timeout=_SILENCE_S, return_when=asyncio.FIRST_COMPLETED
            )
            return bool(done)
        finally:
            block.cancel()
            await asyncio.gather(block, return_exceptions=True)

    async def _after(self, seen: int) -> None:
        """Until there is a block after `seen`, or never will be one."""
        async with self._changed:
            # A head may have come since `seen` was read: only what is looked at under the lock
            # cannot be missed.
            await self._changed.wait_for(lambda: self._latest > seen or self._has_ended())

    def _require_stream(self) -> None:
        """Raises: what ended the block stream, if it ended."""
        if self._watch is not None and self._has_ended():
            self._watch.result()
            raise ChainUnavailable(
                f"the stream of blocks ended at block {self._latest}: start the node again"
            )

    def _has_ended(self) -> bool:
        return self._watch is not None and self._watch.done()

    async def _follow(self) -> None:
        try:
            async for head in self._chain.heads():
                async with self._changed:
                    self._latest = max(self._latest, head.number)
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self._changed.notify_all()
