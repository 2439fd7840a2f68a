"""What miner.py and validator.py share: settings in, exit code out."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence

from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.app.settings import read_settings
from boltzmann.app.setup import open_node
from boltzmann.errors import BoltzmannError
from boltzmann.node.node import Node
from boltzmann.protocol.commitment import Role

EXIT_ERROR = 1
Work = Callable[[Node, NodeConfig], Awaitable[None]]


def run_node(role: Role, description: str, arguments: Sequence[str], work: Work) -> int:
    """Run a node until it is interrupted (exit code 0) or cannot go on (1, with the reason)."""
    try:
        settings = read_settings(f"{role.name.lower()}.py", description, arguments)
        asyncio.run(_until_stopped(settings, role, work))
    except BoltzmannError as error:
        print(f"{role.name.lower()}: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_ERROR
    return 0


async def _until_stopped(settings: NodeConfig, role: Role, work: Work) -> None:
    task = asyncio.ensure_future(_work(settings, role, work))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    parent = multiprocessing.parent_process()
    if parent is not None:  # a node of the local network ends with its launcher
        loop.add_reader(parent.sentinel, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _work(settings: NodeConfig, role: Role, work: Work) -> None:
    async with open_node(settings, role) as node:
        try:
            await work(node, settings)
        except asyncio.CancelledError:
            node.telemetry.event("stopped", reason="interrupted")
            raise
        except BoltzmannError as error:
            node.telemetry.event("stopped", reason=str(error))
            raise
