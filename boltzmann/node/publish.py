"""Putting this node's objects into its own bucket."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from boltzmann.errors import StoreConflict, StoreUnavailable
from boltzmann.node.node import Node

_RETRY_SECONDS = 0.2


async def publish(node: Node, key: str, body: bytes | Path, *, before: int) -> bool:
    """Put an object, again and again before block `before` if the bucket does not answer.

    Whether it is there. Other bytes that are there already stay, and are judged as they are: the
    journal was lost after an upload.
    """
    while node.blocks.latest < before:
        try:
            if isinstance(body, Path):
                put = partial(node.store.put_file, key, body)
            else:
                put = partial(node.store.put, key, body)
            await asyncio.get_running_loop().run_in_executor(node.writers, put)
        except StoreUnavailable as error:
            node.telemetry.event("waiting", what=f"the own bucket: {error}", seconds=0.0)
            await asyncio.sleep(_RETRY_SECONDS)
        except StoreConflict as error:
            node.telemetry.event("error", what=f"upload of {key}", detail=str(error))
            return False
        else:
            return True
    node.telemetry.event(
        "error", what=f"upload of {key}", detail=f"too late: block {before} is here"
    )
    return False
