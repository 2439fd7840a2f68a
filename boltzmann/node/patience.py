"""A chain whose reads wait for as long as it takes: a node outlives its chain's bad hours."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TypeVar

from boltzmann.errors import ChainUnavailable
from boltzmann.ports import Chain, Telemetry
from boltzmann.protocol.chainview import CommitSpace, Head, Neuron, SubnetRules

T = TypeVar("T")
Pause = Callable[[float], Awaitable[None]]

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
TELL_S = 15.0  # between two words of the same waiting
_RANDOM = random.SystemRandom()  # nothing that nodes agree on depends on it


class Patient:
    """Implements `boltzmann.ports.Chain` around another chain that may be unavailable.

    Reads are tried again until they succeed. A read that can never succeed, of a block that the
    endpoint has thrown away say, waits for ever, and says so. Writes go straight through: only
    their caller knows whether they are still wanted.
    """

    def __init__(
        self,
        chain: Chain,
        telemetry: Telemetry,
        *,
        pause: Pause = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pause` sleeps so many seconds, `clock` tells seconds that never go back."""
        self._chain = chain
        self._telemetry = telemetry
        self._pause = pause
        self._clock = clock

    async def head(self) -> Head:
        return await self._insist(self._chain.head)

    async def heads(self) -> AsyncIterator[Head]:
        """Every finalized block once and in order, over as many streams as that takes."""
        waiting = self._waiting()
        following: int | None = None
        while True:
            why = "its stream of blocks ended"
            try:
                async with aclosing(self._chain.heads()) as stream:  # type: ignore[type-var]
                    async for newest in stream:
                        following = newest.number if following is None else following
                        while following <= newest.number:
                            head = newest
                            if following < newest.number:
                                head = Head(following, await self.block_hash(following))
                            following += 1
                            yield head
                            waiting = self._waiting()  # the time that the reader took is not in it
            except ChainUnavailable as error:
                why = str(error)
            await waiting.after(why)

    async def block_hash(self, number: int) -> bytes:
        return await self._insist(lambda: self._chain.block_hash(number))

    async def block_time(self) -> float:
        return await self._insist(self._chain.block_time)

    async def neurons(self, block: int) -> tuple[Neuron, ...]:
        return await self._insist(lambda: self._chain.neurons(block))

    async def rules(self, block: int) -> SubnetRules:
        return await self._insist(lambda: self._chain.rules(block))

    async def commitments(self, block: int) -> Mapping[str, tuple[bytes, ...]]:
        return await self._insist(lambda: self._chain.commitments(block))

    async def commit_space(self, block: int) -> CommitSpace:
        return await self._insist(lambda: self._chain.commit_space(block))

    async def weights(self, block: int) -> Mapping[int, Mapping[int, int]]:
        return await self._insist(lambda: self._chain.weights(block))

    async def commit(self, fields: Sequence[bytes]) -> int:
        return await self._chain.commit(fields)

    async def set_weights(self, weights: Mapping[int, float], version_key: int) -> int:
        return await self._chain.set_weights(weights, version_key)

    async def close(self) -> None:
        await self._chain.close()

    async def _insist(self, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives in the end. Raises: ChainRefused."""
        waiting = self._waiting()
        while True:
            try:
                return await read()
            except ChainUnavailable as error:
                why = str(error)
            await waiting.after(why)

    def _waiting(self) -> _Waiting:
        return _Waiting(self._telemetry, self._pause, self._clock)


class _Waiting:
    """One wait, from now on: the pauses of it, and what is said about it."""

    def __init__(self, telemetry: Telemetry, pause: Pause, clock: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self._pause = pause
        self._clock = clock
        self._began = clock()
        self._told: float | None = None
        self._next_s = FIRST_PAUSE_S

    async def after(self, why: str) -> None:
        """Pause after one more failure."""
        now = self._clock()
        if self._told is None or now - self._told >= TELL_S:
            self._told = now
            self._telemetry.event("waiting", what=f"the chain: {why}", seconds=now - self._began)
        # Jitter keeps a subnet's nodes from coming back in the same instant.
        await self._pause(self._next_s * _RANDOM.uniform(0.5, 1.0))
        self._next_s = min(2 * self._next_s, LONGEST_PAUSE_S)
