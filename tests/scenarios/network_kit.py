"""What the scenarios share: networks of real processes, what they told, and how to hurt them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from rpc_kit import node_over
from rpc_running import RunningNode

from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import release_chain
from boltzmann.chain.embedded.ledger import Ledger
from boltzmann.chain.keys import EMBEDDED
from boltzmann.local.network import Network, Process, prepared, publish, stop
from boltzmann.local.plan import NETUID, Member, Plan
from boltzmann.local.run import until_ready

ROOT = Path(__file__).resolve().parents[2]
ROGUES = Path(__file__).parent / "rogues"
DEADLINE_S = 240.0
SMALL = ["--train-blocks", "3", "--exchange-blocks", "9", "--block-time", "0.6"]


def start_network(folder: Path, *options: str) -> subprocess.Popen[str]:
    """`boltzmann local` in a process of its own, its output to a file beside the folder."""
    output = folder.with_suffix(".out").open("w")
    command = [sys.executable, "-m", "boltzmann", "local", "--workdir", str(folder), *SMALL]
    with output:
        return subprocess.Popen(
            [*command, *options], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True
        )


def small_plan(
    folder: Path,
    *,
    miners: int,
    validators: int,
    block_time: float,
    balances_rao: Mapping[str, int] | None = None,
) -> Plan:
    """Honest nodes only, in windows of twelve blocks, until they are ended."""
    return Plan(
        miners=miners,
        validators=validators,
        adversaries={},
        windows=0,
        train_blocks=3,
        exchange_blocks=9,
        block_time=block_time,
        workdir=folder,
        balances_rao=balances_rao or {},
    )


def output_of(folder: Path) -> str:
    """What the launcher printed so far."""
    return folder.with_suffix(".out").read_text()


def events(folder: Path, node: str, name: str) -> list[dict[str, Any]]:
    """The events of one name that a node wrote, in order; every line must be valid JSON."""
    found = []
    for path in (folder / "nodes" / node).glob("*/*/events.jsonl"):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if event["event"] == name:
                found.append(event)
    return found


def roots(folder: Path, node: str) -> dict[int, str]:
    """window -> root, of the agreed windows as this node last stood at them."""
    return {event["window"]: event["root"] for event in events(folder, node, "applied")}


def until(condition: Callable[[], object], what: str, process: subprocess.Popen[str]) -> None:
    """Wait for a condition while the network lives."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, f"the network ended before {what}"
        assert time.monotonic() < deadline, f"no {what} within {DEADLINE_S:.0f} s"
        time.sleep(0.1)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Every process the launcher started, directly or not."""
    return list(psutil.Process(process.pid).children(recursive=True))


@dataclass(frozen=True)
class Rogue:
    """What a node runs in place of the real program."""

    program: str
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Running:
    """A network whose chain runs, with the means to kill its nodes and bring them back.

    `endpoint`: of the websocket node through which its nodes reach the chain, each by its own name;
    empty: they open the chain's file.
    """

    network: Network
    endpoint: str = ""

    @property
    def folder(self) -> Path:
        return self.network.folder

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.network.plan.members]

    @property
    def validators(self) -> list[str]:
        return [name for name in self.names if name.startswith("validator")]

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {DEADLINE_S:.0f} s"
            time.sleep(0.03)

    def process(self, node: str) -> Process:
        (item,) = [p for p in self.network.processes if p.member.name == node]
        return item

    def kill(self, *nodes: str) -> None:
        """kill -9, all at once."""
        for node in nodes:
            pid = self.process(node).process.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        for node in nodes:
            self.process(node).process.join(DEADLINE_S)
            assert self.process(node).process.exitcode == -signal.SIGKILL

    def restart(self, *nodes: str) -> None:
        for node in nodes:
            (member,) = [m for m in self.network.plan.members if m.name == node]
            self.spawn(member)

    def spawn(self, member: Member, rogue: Rogue | None = None) -> None:
        settings = dict(rogue.settings) if rogue else {}
        if self.endpoint:
            settings["SUBTENSOR_NETWORK"] = f"{self.endpoint}/{member.name}"
        self.network.spawn(member, settings, ROGUES / rogue.program if rogue else None)

    def hold(self) -> None:
        """Let the chain stand at its present block."""
        release_chain(self.network.chain, until=0)

    def release(self) -> None:
        release_chain(self.network.chain)

    def head(self) -> int:
        """The chain's newest block."""
        with closing(Ledger(self.network.chain)) as ledger:
            return ledger.head()

    def events(self, node: str, name: str) -> list[dict[str, Any]]:
        return events(self.folder, node, name)

    def applied(self, node: str, window: int) -> bool:
        """Whether a node stands at an agreed update of this window."""
        return window in roots(self.folder, node)

    def leader_of(self, window: int) -> str | None:
        """Who has proposed in this window first."""
        proposals = [
            (event["t"], name)
            for name in self.validators
            for event in self.events(name, "proposed")
            if event["window"] == window
        ]
        return min(proposals)[1] if proposals else None

    def accepted(self, node: str) -> list[int]:
        """The windows whose update holds a delta of this miner."""
        hotkey = self.network.hotkeys[node]
        windows = {
            event["window"]
            for name in self.names
            for event in self.events(name, "applied")
            if hotkey in event["accepted"]
        }
        return sorted(windows)

    def together_after(self, window: int, *nodes: str) -> dict[int, str]:
        """Wait until these nodes (all, if none is named) hold an update of `window` or later.

        Their histories, which must be one: the roots by window.
        """
        wanted = nodes or tuple(self.names)
        self.until(
            lambda: all(max(roots(self.folder, n), default=0) >= window for n in wanted),
            f"update of window {window} everywhere",
        )
        histories = [roots(self.folder, name) for name in wanted]
        shared = set.intersection(*(set(history) for history in histories))
        for history in histories:
            assert {w: history[w] for w in shared} == {w: histories[0][w] for w in shared}
        return histories[0]


@contextmanager
def running_network(plan: Plan, rogues: Mapping[str, Rogue] | None = None) -> Iterator[Running]:
    """A network of this plan, its chain released; `rogues` by member name."""
    with prepared(plan) as network:
        running = Running(network)
        release(running, rogues or {})
        yield running


@contextmanager
def network_on_a_websocket(plan: Plan, *, lag: int) -> Iterator[tuple[Running, RunningNode]]:
    """The same, but no node sees the chain's file: each speaks to a websocket node before it.

    That node calls a block final when `lag` more have come.
    """
    with pytest.MonkeyPatch.context() as environment, prepared(plan) as network:
        path = network.chain
        with node_over(path, environment, lag=lag, newer_items=True) as node:
            running = Running(network, node.url)
            try:
                release(running, {})
                yield running, node
            finally:
                stop(network.processes)  # they wait for the chain if it goes first


def release(
    running: Running, rogues: Mapping[str, Rogue], beside: Callable[[], None] | None = None
) -> None:
    """Publish the run, start every node, and let the chain go once all are there.

    `beside` starts what is not of the network; that is not waited for.
    """
    asyncio.run(_release(running, rogues, beside))


async def _release(
    running: Running, rogues: Mapping[str, Rogue], beside: Callable[[], None] | None
) -> None:
    network = running.network
    await publish(network)
    for member in network.plan.members:
        running.spawn(member, rogues.get(member.name))
    if beside is not None:
        beside()
    chain = await connect(f"{EMBEDDED}{network.chain}", NETUID)
    try:
        await until_ready(network, chain)
    finally:
        await chain.close()
    release_chain(network.chain)
