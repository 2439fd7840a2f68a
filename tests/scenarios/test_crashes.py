"""Nodes that are killed come back and go on as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from network_kit import DEADLINE_S, events, roots

from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import release_chain
from boltzmann.chain.keys import EMBEDDED
from boltzmann.local.network import Network, prepared, publish
from boltzmann.local.plan import NETUID, Plan
from boltzmann.local.run import until_ready

pytestmark = pytest.mark.scenario


@dataclass(frozen=True)
class Running:
    """A network whose chain runs, with the means to kill its nodes and bring them back."""

    network: Network

    @property
    def folder(self) -> Path:
        return self.network.folder

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {DEADLINE_S:.0f} s"
            time.sleep(0.05)

    def kill(self, node: str) -> None:
        """kill -9."""
        (item,) = [p for p in self.network.processes if p.member.name == node]
        assert item.process.pid is not None
        os.kill(item.process.pid, signal.SIGKILL)
        item.process.join(DEADLINE_S)
        assert item.process.exitcode == -signal.SIGKILL

    def restart(self, node: str) -> None:
        (member,) = [m for m in self.network.plan.members if m.name == node]
        self.network.spawn(member)

    def accepted(self, node: str) -> list[int]:
        """The windows whose update holds a delta of this miner."""
        hotkey = self.network.hotkeys[node]
        windows = events(self.folder, "validator0", "window")
        return [event["window"] for event in windows if hotkey in event["accepted"]]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    plan = Plan(
        miners=2,
        adversaries={},
        windows=0,
        train_blocks=4,
        exchange_blocks=5,
        block_time=0.7,
        workdir=tmp_path / "network",
    )
    with prepared(plan) as network:
        asyncio.run(_release(network))
        yield Running(network)


async def _release(network: Network) -> None:
    await publish(network)
    network.spawn_all()
    chain = await connect(f"{EMBEDDED}{network.chain}", NETUID)
    try:
        await until_ready(network, chain)
    finally:
        await chain.close()
    release_chain(network.chain)


def test_a_miner_killed_after_its_upload_sends_no_second_one(running: Running) -> None:
    folder = running.folder
    running.until(lambda: events(folder, "miner0", "window"), "first upload")
    first = events(folder, "miner0", "window")[0]["window"]
    running.kill("miner0")
    running.restart("miner0")
    running.until(lambda: len(running.accepted("miner0")) >= 2, "deltas accepted again")
    assert running.accepted("miner0")[0] == first
    assert not events(folder, "miner0", "error")
    assert not events(folder, "validator0", "rejected")
    running.until(
        lambda: roots(folder, "miner0").items() >= roots(folder, "miner1").items(), "sync"
    )


def test_a_validator_killed_twice_keeps_scores_and_model(running: Running) -> None:
    folder = running.folder
    running.until(lambda: len(running.accepted("miner0")) >= 1, "first update")
    running.kill("validator0")
    running.restart("validator0")
    running.until(lambda: len(events(folder, "validator0", "started")) == 2, "return")
    before = len(running.accepted("miner0"))
    running.until(lambda: len(running.accepted("miner0")) > before, "leading again")
    # Right after its manifest went out: what it wrote down is what it stands by.
    running.kill("validator0")
    running.restart("validator0")
    before = len(running.accepted("miner0"))
    running.until(lambda: len(running.accepted("miner0")) > before, "leading a third time")
    last = running.accepted("miner0")[-1]
    running.until(lambda: last in roots(folder, "miner0"), "the miner's update")
    running.until(lambda: last in roots(folder, "miner1"), "the other miner's update")
    led = {e["window"]: e["root"] for e in events(folder, "validator0", "window") if e["accepted"]}
    for miner in ("miner0", "miner1"):
        assert not events(folder, miner, "rejected")
        for window, root in roots(folder, miner).items():
            assert led.get(window, root) == root
    moving = [e["moving"] for e in events(folder, "validator0", "peer")]
    assert moving == sorted(moving), "a restart lost standings"
