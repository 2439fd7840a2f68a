"""A node in a thread of its own, for tests.

with running(path) as node:
    chain = await connect(node.url, netuid, wallet)
    node.faults.silent = True
    node.do(RpcNode.drop_connections)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rpc_faults import Faults
from rpc_metadata import runtime_metadata
from rpc_server import RpcNode

START_S = 30.0


class RunningNode:
    """A node's controls, to be used from any thread."""

    def __init__(self, node: RpcNode, loop: asyncio.AbstractEventLoop) -> None:
        self._node = node
        self._loop = loop
        self.url = node.url

    @property
    def faults(self) -> Faults:
        return self._node.faults

    @property
    def connections(self) -> int:
        """How many were ever made."""
        return len(self._node.joined)

    def joins(self, name: str) -> int:
        """How many the client of this name has made."""
        return [one for _, one in list(self._node.joined)].count(name)

    @property
    def asked(self) -> list[str]:
        """The methods of all requests, in order."""
        return list(self._node.asked)

    def do(self, work: Callable[[RpcNode], Any]) -> Any:
        """`work` on the node, in its own thread; its result."""

        async def carry_out() -> Any:
            result = work(self._node)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(carry_out(), self._loop).result(START_S)


@contextmanager
def running(path: Path, *, lag: int = 0, newer_items: bool = False) -> Iterator[RunningNode]:
    """A node over the chain's file; its finalized head is `lag` blocks behind the best one.

    `newer_items`: with the storage item that the SDK's SetWeights reads and its metadata lacks.
    Raises: NoSdkSource when there is no metadata to be had.
    """
    runtime_metadata()
    started = threading.Event()
    controls: list[Any] = []

    async def main() -> None:
        node = RpcNode(path, lag=lag, newer_items=newer_items)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ready() -> None:
            controls.extend((RunningNode(node, loop), loop, stop))
            started.set()

        await node.run(ready, stop)

    failures: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(main())
        except Exception as error:  # noqa: BLE001 - raised below, in the test's thread
            failures.append(error)
            started.set()

    thread = threading.Thread(target=body, name="rpc-node", daemon=True)
    thread.start()
    if not started.wait(START_S) or not controls:
        raise RuntimeError("the node did not start") from (failures[0] if failures else None)
    node, loop, stop = controls
    try:
        yield node
    finally:
        if not failures:
            loop.call_soon_threadsafe(stop.set)
        thread.join(START_S)
    if failures:
        raise RuntimeError("the node broke down") from failures[0]
