"""One client's open chain file: calls in order on a thread of its own, errors as the SDK's."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import bittensor as bt
from bittensor.result import ConnectionNotReady, RpcConnectionError

from boltzmann.chain.embedded.clock import Clock
from boltzmann.chain.embedded.ledger import Ledger, UnknownBlock
from boltzmann.chain.embedded.storage import View

T = TypeVar("T")
HELD_POLL_S = 0.1  # how often a waiting client looks whether the chain was released
MIN_WAIT_S = 0.001  # the clock's rounding may bring a client to a block a moment early


class Connection:
    """The ledger at `path` for one event loop.

    The file's calls run one after another on one thread, so neither the event loop waits for the
    disk or for another process's lock, nor does SQLite see two threads on one connection.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ledger: Ledger | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Does nothing when open.

        Raises: ConfigError when there is no embedded chain, RpcConnectionError when its file does
        not answer.
        """
        if self._ledger is not None:
            return
        thread = ThreadPoolExecutor(1, thread_name_prefix="embedded-chain")
        opened = asyncio.get_running_loop().run_in_executor(thread, Ledger, self._path)
        try:
            self._ledger = await opened
        except sqlite3.Error as error:
            raise self._silent(error) from error
        finally:
            if self._ledger is None:
                thread.shutdown(wait=False)
        self._thread = thread

    async def close(self) -> None:
        if self._ledger is None or self._thread is None:
            return
        ledger, thread = self._ledger, self._thread
        self._ledger = self._thread = None
        await asyncio.get_running_loop().run_in_executor(thread, ledger.close)
        thread.shutdown(wait=False)

    async def run(self, work: Callable[[Ledger], T]) -> T:
        """`work` on the ledger's thread.

        Raises: ConnectionNotReady, RpcConnectionError when the file does not answer, ChainError
        for a block the chain does not have; and what `work` raises itself.
        """
        if self._ledger is None:
            raise ConnectionNotReady("the embedded chain is not open; call connect() first")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work, self._ledger)
        except UnknownBlock as error:
            raise bt.ChainError(str(error)) from error
        except sqlite3.Error as error:
            raise self._silent(error) from error

    def _silent(self, error: sqlite3.Error) -> RpcConnectionError:
        return RpcConnectionError(
            f"the embedded chain's file {self._path} does not answer: {error}"
        )

    async def read(self, block_hash: str | None, look: Callable[[View, Clock], T]) -> T:
        """`look` at the state as of a block, the newest if None."""
        return await self.run(lambda ledger: ledger.read(block_hash, look))

    async def clock(self) -> Clock:
        return await self.run(lambda ledger: ledger.clock())

    async def head(self) -> tuple[int, Clock]:
        return await self.run(lambda ledger: (ledger.head(), ledger.clock()))

    async def reach(self, block: int) -> Clock:
        """Wait until the chain has come to `block`."""
        while True:
            head, clock = await self.head()
            if head >= block:
                return clock
            await pause(block, clock)


async def pause(block: int, clock: Clock) -> None:
    """Sleep until `block` may be there; while a release must come first, a little."""
    wait = max(MIN_WAIT_S, clock.begins(block) - time.time())
    await asyncio.sleep(wait if clock.comes_by_itself(block) else HELD_POLL_S)
