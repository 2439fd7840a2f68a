"""What miner.py and validator.py share: settings in, exit code out."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from boltzmann.app.machine import assist_node
from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.app.settings import lend_to_libraries, read_settings
from boltzmann.app.setup import open_node
from boltzmann.errors import BoltzmannError
from boltzmann.node.node import Node
from boltzmann.privacy import keep_off_disk
from boltzmann.protocol.commitment import Role

if TYPE_CHECKING:
    from boltzmann.train.team import Team

EXIT_ERROR = 1
Work = Callable[[Node, NodeConfig], Awaitable[None]]


def run_node(role: Role, description: str, arguments: Sequence[str], work: Work) -> int:
    """Run a node until it is interrupted (exit code 0) or cannot go on (1, with the reason).

    Where torchrun started several of this process, the first is the node and the others compute
    for it until it ends.
    """
    keep_off_disk()
    try:
        lend_to_libraries()
        settings = read_settings(f"{role.name.lower()}.py", description, arguments)
        with _team(settings) as team:
            return _run(settings, role, work, team)
    except BoltzmannError as error:
        return _fail(role, error)


def _run(settings: NodeConfig, role: Role, work: Work, team: Team | None) -> int:
    """The exit code. An error ends here: on its way it would hold the models, which must be gone
    when their team is left."""
    try:
        if team is None or team.leads:
            asyncio.run(_until_stopped(settings, role, work, team))
        else:
            assist_node(team, settings.data_source)
    except BoltzmannError as error:
        return _fail(role, error)
    return 0


def _fail(role: Role, error: BoltzmannError) -> int:
    print(f"{role.name.lower()}: {error}", file=sys.stderr)  # noqa: T201
    return EXIT_ERROR


@contextlib.contextmanager
def _team(settings: NodeConfig) -> Iterator[Team | None]:
    """The others that torchrun has started, if it has."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:  # asked before torch is imported: it takes long
        yield None
        return
    from boltzmann.node.worker import pick_device
    from boltzmann.train.team import join_team

    team = join_team(pick_device(settings.device).type)
    try:
        yield team
    finally:
        team.leave()


async def _until_stopped(settings: NodeConfig, role: Role, work: Work, team: Team | None) -> None:
    task = asyncio.ensure_future(_work(settings, role, work, team))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    parent = multiprocessing.parent_process()
    if parent is not None:  # a node of the local network ends with its launcher
        loop.add_reader(parent.sentinel, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _work(settings: NodeConfig, role: Role, work: Work, team: Team | None) -> None:
    async with open_node(settings, role, team) as node:
        try:
            await work(node, settings)
        except asyncio.CancelledError:
            node.telemetry.event("stopped", reason="interrupted")
            raise
        except BoltzmannError as error:
            node.telemetry.event("stopped", reason=str(error))
            raise
