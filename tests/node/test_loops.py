"""The window loops of validator and miners together, block by block on a scripted chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from node_kit import CLOCK, CONFIG, RUN, Bucket, Running, announce, running, store_of
from scripted_chain import DEADLINE_S, Keys, Script
from scripted_leader import Leader

from boltzmann.config import RunConfig
from boltzmann.errors import StoreUnavailable
from boltzmann.node.book import Book
from boltzmann.node.conduct import Honest, conduct_named
from boltzmann.node.follow import follow
from boltzmann.node.keepsake import save_state
from boltzmann.node.miner import mine, mine_window
from boltzmann.node.objects import delta_key, manifest_key
from boltzmann.node.validator import validate, validate_window
from boltzmann.protocol.commitment import Role
from boltzmann.store.s3 import S3Store
from boltzmann.train import snapshot

VALIDATOR = "validator"
MINERS = {"anna": "", "bert": "", "cheat": "random"}


@dataclass
class Network:
    """A validator and miners, their loops running, and the chain that drives them."""

    script: Script
    nodes: dict[str, Running]
    loops: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def validator(self) -> Running:
        return self.nodes[VALIDATOR]

    @property
    def miners(self) -> list[Running]:
        return [node for name, node in self.nodes.items() if name != VALIDATOR]

    def start(self, loop: Coroutine[Any, Any, None]) -> None:
        self.loops.append(asyncio.create_task(loop))

    async def all(self, *waits: Coroutine[Any, Any, Any]) -> None:
        """All of these, unless a loop ends first, which none of them may."""
        done: asyncio.Future[Any] = asyncio.gather(*waits)
        both: set[asyncio.Future[Any]] = {done, *self.loops}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for loop in self.loops:
            if loop.done():
                done.cancel()
                loop.result()
        await done

    async def begin(self) -> None:
        """The genesis in window 0, and everybody at its end."""
        await self.all(self.validator.told.seen("genesis", window=0))
        await self.script.advance(CLOCK.decide(0))
        await self.all(*(node.chain.has_read(CLOCK.decide(0)) for node in self.nodes.values()))

    async def window(self, window: int, *, follows_a_round: bool = True) -> None:
        """One window, each of its blocks when the nodes are ready for it."""
        await self.script.advance(CLOCK.open(window))
        await self.all(*(miner.chain.has_read(CLOCK.open(window)) for miner in self.miners))
        if window > 1 and follows_a_round:
            await self.all(self.validator.told.seen("round", window=window - 1))
        await self.script.advance(CLOCK.close(window))
        await self.all(*(miner.told.seen("window", window=window) for miner in self.miners))
        await self.script.advance(CLOCK.upload_by(window))
        await self.all(self.validator.told.seen("window", window=window))
        await self.script.advance(CLOCK.decide(window))
        await self.all(*(miner.told.seen("applied", window=window) for miner in self.miners))


@asynccontextmanager
async def network(s3: str, folder: Path) -> AsyncIterator[Network]:
    script = Script(height=CLOCK.decide(0) - 2)
    async with AsyncExitStack() as stack:
        nodes = {}
        for name in (VALIDATOR, *MINERS):
            is_validator = name == VALIDATOR
            script.register(name, stake=5.0 if is_validator else 0.0)
            store = store_of(s3, name)
            announce(script, name, Role.VALIDATOR if is_validator else Role.MINER, store.address)
            nodes[name] = await stack.enter_async_context(
                running(script, name, store, folder / name)
            )
        net = Network(script, nodes)
        try:
            yield net
        finally:
            for loop in net.loops:
                loop.cancel()
            await asyncio.gather(*net.loops, return_exceptions=True)


async def theta(node: Running) -> bytes:
    """θ, looked at in the worker's thread: an audit puts older values there for a while."""
    return await node.node.worker.run(lambda: node.state.theta.tobytes())


async def test_a_network_trains_scores_and_pays(s3: str, tmp_path: Path) -> None:
    async with network(s3, tmp_path) as net:
        net.start(validate(net.validator.node))
        for miner, conduct in zip(net.miners, MINERS.values(), strict=True):
            net.start(mine(miner.node, conduct_named(conduct)))
        await net.begin()
        for window in (1, 2, 3):
            await net.window(window)
        await net.all(net.validator.told.seen("round", window=3))
        assert {node.state.position for node in net.miners} == {net.validator.state.position}
        assert len({await theta(node) for node in net.nodes.values()}) == 1
        honest = sorted(Keys(name).hotkey for name in ("anna", "bert"))
        accepted = [e["accepted"] for e in net.validator.told.of("window")]
        assert accepted == [honest, honest, honest]
        refused = {(e["hotkey"], e["reason"]) for e in net.validator.told.of("rejected")}
        assert refused == {(Keys("cheat").hotkey, "gate")}
        assert [e["loss"] is not None for e in net.validator.told.of("round")] == [True] * 3
        gates = {e["gate"] for e in net.validator.told.of("peer") if e["hotkey"] in honest}
        assert min(gates) >= CONFIG.gate.gate_min
        who, shares = net.script.weights[-1]
        assert who == Keys(VALIDATOR).hotkey
        assert set(shares) == {1, 2}  # the uids of the honest
        assert sum(shares.values()) == pytest.approx(1.0)
        # An epoch of two windows has ended, so everybody holds a copy on disk.
        assert all(node.node.snapshot.exists() for node in net.nodes.values())
        assert net.validator.node.outbox.find(2, "manifest") is None
        assert net.validator.node.outbox.find(3, "manifest") is not None


async def test_a_validator_goes_on_from_its_own_copy_and_journal(s3: str, tmp_path: Path) -> None:
    async with network(s3, tmp_path) as net:
        net.start(validate(net.validator.node))
        for miner in net.miners:
            net.start(mine(miner.node, Honest()))
        await net.begin()
        await net.window(1)
        await net.window(2)
        killed = net.loops.pop(0)
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        before, node = net.validator, net.validator.node
        await save_state(node)  # as every node does at its end
        async with running(net.script, VALIDATOR, node.store, node.folder) as again:
            assert snapshot.load(again.state, node.snapshot)
            assert again.state.position == before.state.position
            net.nodes[VALIDATOR] = again
            net.start(validate(again.node))
            await net.script.advance(CLOCK.open(3))
            await net.all(again.chain.has_read(CLOCK.decide(2)))
            # The round of window 2 was lost with the process; the standings were not.
            assert Book(node.folder / "standings.json").standings != {}
            await net.window(3, follows_a_round=False)
            assert {miner.state.position for miner in net.miners} == {again.state.position}
            assert again.told.of("undone") == []
            assert len(again.told.of("genesis")) == 0


async def test_a_killed_leader_offers_the_bytes_it_wrote_down(s3: str, tmp_path: Path) -> None:
    """Between writing a window's objects down and the deciding block, anything may be killed."""
    async with network(s3, tmp_path) as net:
        node = net.validator.node
        leader = Leader(net.script, VALIDATOR, node.store, tmp_path / "scripted")
        leader.publish(leader.genesis())
        await net.script.advance(CLOCK.decide(0))
        for miner in net.miners:
            await miner.node.blocks.until(CLOCK.decide(0))
            net.start(mine(miner.node, Honest()))
        await net.script.advance(CLOCK.open(1))
        await net.all(*(miner.chain.has_read(CLOCK.open(1)) for miner in net.miners))
        await net.script.advance(CLOCK.close(1))
        await net.all(*(miner.told.seen("window", window=1) for miner in net.miners))
        await net.script.advance(CLOCK.upload_by(1))
        await node.blocks.until(CLOCK.upload_by(1))
        assert await follow(node, 0) is None
        genesis = net.validator.state.position
        await validate_window(node, Book(tmp_path / "book.json"), 1)
        first = net.validator.state.position
        manifest = node.outbox.find(1, "manifest")
        async with running(net.script, VALIDATOR, node.store, node.folder) as again:
            assert await follow(again.node, 0) is None
            assert again.state.position == genesis
            await validate_window(again.node, Book(tmp_path / "book.json"), 1)
            assert again.told.of("error") == []  # nothing else was there to conflict with
            assert again.state.position == first
            assert again.node.outbox.find(1, "manifest") == manifest
        stored = node.store.get(
            node.store.address, manifest_key(RUN, 1), max_bytes=1 << 20, seconds=5.0
        )
        assert stored == manifest


class SilentStore(S3Store):
    """A bucket that does not answer."""

    def put(self, key: str, body: bytes) -> None:
        raise StoreUnavailable("the bucket does not answer")


async def test_a_killed_miner_sends_what_it_wrote_down_and_nothing_else(
    s3: str, tmp_path: Path
) -> None:
    script = Script()
    script.register("leader", stake=5.0)
    script.register("anna")
    store = store_of(s3, "anna")
    announce(script, "anna", Role.MINER, store.address)
    leader = Leader(script, "leader", Bucket(s3, "leader"), tmp_path / "leader")
    leader.publish(leader.genesis())
    await script.advance(CLOCK.close(1))
    silent = SilentStore(s3, store.address.rpartition("/")[2], "key", "secret")
    async with running(script, "anna", silent, tmp_path / "anna") as anna:
        assert await follow(anna.node, 0) is None
        mining = asyncio.create_task(mine_window(anna.node, Honest(), 1))
        await anna.told.seen("waiting")
        written = anna.node.outbox.find(1, "delta")
        assert written is not None
        mining.cancel()
        await asyncio.gather(mining, return_exceptions=True)
    async with running(script, "anna", store, tmp_path / "anna") as anna:
        assert await follow(anna.node, 0) is None
        mining = asyncio.create_task(mine_window(anna.node, Honest(), 1))
        window = await anna.told.seen("window", window=1)
        assert (window["loss"], window["bytes_up"]) == (None, len(written))
        await script.advance(CLOCK.upload_by(1))
        await asyncio.wait_for(mining, DEADLINE_S)
    sent = store.get(store.address, delta_key(RUN, 1), max_bytes=len(written), seconds=5.0)
    assert sent == written


async def test_an_upload_that_comes_too_late_is_told(s3: str, tmp_path: Path) -> None:
    script = Script()
    script.register("leader", stake=5.0)
    script.register("anna")
    silent = SilentStore(s3, store_of(s3, "anna").address.rpartition("/")[2], "key", "secret")
    announce(script, "anna", Role.MINER, silent.address)
    leader = Leader(script, "leader", Bucket(s3, "leader"), tmp_path / "leader")
    leader.publish(leader.genesis())
    await script.advance(CLOCK.close(1))
    async with running(script, "anna", silent, tmp_path / "anna") as anna:
        assert await follow(anna.node, 0) is None
        mining = asyncio.create_task(mine_window(anna.node, Honest(), 1))
        await anna.told.seen("waiting")
        await script.advance(CLOCK.upload_by(1))
        await asyncio.wait_for(mining, DEADLINE_S)
        (error,) = anna.told.of("error")
        assert error["what"] == "upload of window 1"
        assert error["detail"] == f"too late: block {CLOCK.upload_by(1)} is here"
        assert anna.told.of("window")[0]["bytes_up"] == 0


async def test_a_miner_without_pages_keeps_its_standing(s3: str, tmp_path: Path) -> None:
    """More miners than places: who is not drawn for a window has done nothing wrong."""
    data = replace(CONFIG.data, members_max=1)
    config: RunConfig = replace(CONFIG, data=data)
    script = Script()
    script.register("leader", stake=5.0)
    leader = Leader(script, "leader", Bucket(s3, "leader"), tmp_path / "leader")
    leader.publish(leader.genesis())
    hotkeys = [script.register(name) for name in ("anna", "bert")]
    for name in ("anna", "bert"):
        announce(script, name, Role.MINER, leader.bucket.address)
    await script.advance(CLOCK.decide(1))
    async with running(script, "leader", store_of(s3, "v"), tmp_path / "v", config) as node:
        assert await follow(node.node, 0) is None
        book = Book(tmp_path / "book.json")
        book.enrol(script.neurons)
        for hotkey in hotkeys:
            book[hotkey] = replace(book[hotkey], moving=0.8)
        this = await validate_window(node.node, book, 1)
        (drawn,) = this.members
        (idle,) = set(hotkeys) - {drawn}
        assert book[idle].moving == 0.8
        assert book[drawn].moving == pytest.approx(0.4)  # it had pages and sent nothing
