"""What the tests over a websocket share: a chain with a node before it, and the adapter on that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import bittensor as bt
import pytest
from embedded_chain_kit import NETUID, Keys, genesis
from rpc_kit import node_over
from rpc_running import RunningNode

from boltzmann.chain.embedded import create_chain
from boltzmann.chain.subtensor import Deadlines, SubtensorChain
from boltzmann.errors import ChainUnavailable

T = TypeVar("T")
HANG_S = 90.0
LAG = 3
POLL_S = 0.02
# Long enough for a loaded machine to answer, short enough for tests that wait them out.
SOON = Deadlines(read_s=5.0, probe_s=2.0, write_blocks=10, silence_blocks=1, silence_s=2.0)


@contextmanager
def node_before_a_chain(
    folder: Path, *, lag: int = LAG, newer_items: bool = False, **changes: Any
) -> Iterator[RunningNode]:
    """A node over a new chain with these changes to the kit's genesis."""
    path = folder / "chain"
    with pytest.MonkeyPatch.context() as environment:
        create_chain(path, genesis=genesis(**{"tempo": 5000, **changes}))
        with node_over(path, environment, lag=lag, newer_items=newer_items) as node:
            yield node


@asynccontextmanager
async def adapter(
    node: RunningNode, keys: Keys | None = None, deadlines: Deadlines = SOON
) -> AsyncIterator[SubtensorChain]:
    chain = SubtensorChain(bt.RpcSubstrate(node.url), NETUID, keys, deadlines)
    await chain.open()
    try:
        yield chain
    finally:
        await chain.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does."""

    async def look() -> None:
        while not holds():  # noqa: ASYNC110 - no event crosses the threads
            await asyncio.sleep(POLL_S)

    await asyncio.wait_for(look(), HANG_S)


async def once_it_answers(ask: Callable[[], Awaitable[T]]) -> T:
    """`ask` as often as it takes until the chain is available."""

    async def again() -> T:
        while True:
            try:
                return await ask()
            except ChainUnavailable:
                await asyncio.sleep(POLL_S)

    return await asyncio.wait_for(again(), HANG_S)
