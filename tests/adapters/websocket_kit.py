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
    node: RunningNode | Relay,
    keys: Keys | None = None,
    deadlines: Deadlines = SOON,
    name: str = "",
) -> AsyncIterator[SubtensorChain]:
    """`name`: what the node is to know this client by."""
    chain = SubtensorChain(bt.RpcSubstrate(f"{node.url}/{name}"), NETUID, keys, deadlines)
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


class Relay:
    """A TCP relay before a node that can cut what goes through it off without a word."""

    def __init__(self, node: RunningNode) -> None:
        self._port = int(node.url.rpartition(":")[2])
        self._open: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            self.swallow()
            for writer in self._writers:
                writer.close()
            server.close()

    def swallow(self) -> None:
        """The connections there are stay open, and nothing comes through them any more."""
        for task in self._open:
            task.cancel()
        self._open.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._open.add(asyncio.create_task(self._copy(source, sink)))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
        sink.close()
