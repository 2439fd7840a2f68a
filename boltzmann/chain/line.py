"""The connection to a node: given up and made anew when a question on it stays unanswered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

import bittensor as bt
from bittensor.result import ConnectionNotReady

from boltzmann.chain.deadline import insisting, within
from boltzmann.chain.sdk_errors import Names, translated
from boltzmann.errors import ChainUnavailable

T = TypeVar("T")
# For letting go of the old connection, which waits ten seconds for the other side, and again for
# making the new one.
RENEWAL_S = 12.0
# The SDK closes by cancelling its reader. Before Python 3.12 `asyncio.wait_for`, in which that one
# sits, loses the cancellation if a message comes in the same moment (about one time in ten while
# heads come fast), and the SDK waits for ever.
REMINDER_S = 1.0


class Line:
    """Asks questions over `substrate`'s one connection.

    The SDK itself notices a socket that has gone silent only after one or two minutes.
    """

    def __init__(self, substrate: bt.Substrate) -> None:
        self._substrate = substrate
        self._is_open = False
        self._renewing = asyncio.Lock()
        self._renewals = 0

    async def open(self, seconds: float) -> None:
        """Raises: ChainError, and ConfigError of an embedded chain without a file."""
        await self.ask(self._substrate.connect(), seconds)
        self._is_open = True

    async def close(self, seconds: float) -> None:
        """Raises: ChainUnavailable if the connection does not let go."""
        self._is_open = False
        with translated():
            await self._let_go(seconds)

    async def ask(self, work: Awaitable[T], seconds: float, names: Names | None = None) -> T:
        """The result of `work`; `names` as in `translated`.

        Raises: ChainRefused; ChainUnavailable, also after `seconds` and what the new connection
        took then, and when the connection was given up over another question.
        """
        renewals = self._renewals
        with translated(names):
            try:
                return await within(work, seconds)
            except (asyncio.TimeoutError, ConnectionNotReady):
                await self._renew(renewals)
                raise

    async def _let_go(self, seconds: float) -> None:
        if isinstance(self._substrate, bt.RpcSubstrate):
            await insisting(self._substrate.close(), seconds, REMINDER_S)
        else:
            await within(self._substrate.close(), seconds)

    async def _renew(self, renewals: int) -> None:
        """A new connection, unless there is one since there had been that many renewals.

        If none can be made now, the next question finds none, and leads here again.
        """
        if not isinstance(self._substrate, bt.RpcSubstrate):
            return  # a file: there is nothing to connect to
        async with self._renewing:
            if not self._is_open or self._renewals != renewals:
                return
            self._renewals += 1
            with suppress(ChainUnavailable), translated():
                await self._let_go(RENEWAL_S)
            with suppress(ChainUnavailable), translated():
                await within(self._substrate.connect(), RENEWAL_S)
