"""Going on after trouble that passes: a full disk, a bucket that refuses, data out of reach."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from boltzmann.errors import DataUnavailable, NoRoom, StoreError
from boltzmann.node.node import Node


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
