"""Going on: after trouble that passes, a full disk say, and to the end of what must not stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from boltzmann.errors import DataUnavailable, NoRoom, StoreError
from boltzmann.node.node import Node


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Carry `work` out however often this is cancelled meanwhile. Raises: what `work` raises.

    For what a node does when it is ending already: who interrupts twice must not cost its state.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


async def forever(node: Node, one_window: Callable[[], Awaitable[None]]) -> None:
    """One window after another. What a window could not write, send or read costs that window.

    The state on disk is whole whatever happened; `follow` brings the one in memory back to what the
    chain has ordered. Raises: everything else, above all what only a person can mend.
    """
    since: float | None = None
    while True:
        try:
            await one_window()
            since = None
        except (NoRoom, StoreError, DataUnavailable) as error:
            since = since or time.monotonic()
            node.telemetry.event("waiting", what=str(error), seconds=time.monotonic() - since)
            await node.blocks.until(node.blocks.latest + 1)
