"""Three validators in one process who agree on window 1; what miners sent is made by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from node_kit import (
    CLOCK,
    CONFIG,
    RUN,
    Bucket,
    Made,
    Running,
    announce,
    made,
    running,
    sealed_delta,
    store_of,
)
from numpy.typing import NDArray
from scripted_chain import DEADLINE_S, Keys, Script
from scripted_leader import Closing, Leader

from boltzmann.config import RunConfig
from boltzmann.node.agree import agree
from boltzmann.node.audit import audit_until, plan
from boltzmann.node.book import Book
from boltzmann.node.desk import Desk
from boltzmann.node.follow import follow
from boltzmann.node.ingest import collect, ingest
from boltzmann.node.objects import commit_key, delta_key, expected
from boltzmann.node.reckoning import refuse
from boltzmann.node.round import Duty, Round, assign, open_round
from boltzmann.node.witness import publish_receipt
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.documents import digest
from boltzmann.protocol.reveal import seal_commit
from boltzmann.protocol.slices import Slice, select
from boltzmann.protocol.wire import Kind

Floats = NDArray[np.float32]

STAKES = {"ada": 10.0, "ben": 9.0, "cyd": 8.0}  # any two of them are a majority
MINERS = ("anna", "bert")


@dataclass
class Council:
    """The validators at the beginning of window 1, in the genesis state of a run.

    `order`: their names in the order in which they may propose.
    """

    script: Script
    config: RunConfig
    first: Closing
    nodes: dict[str, Running]
    buckets: dict[str, Bucket]  # of the miners
    order: list[str] = field(default_factory=list)
    rounds: dict[str, Round] = field(default_factory=dict)
    books: dict[str, Book] = field(default_factory=dict)
    duties: dict[str, Duty] = field(default_factory=dict)

    async def reach(self, block: int) -> None:
        await self.script.advance(max(self.script.height, block))
        for node in self.nodes.values():
            await node.node.blocks.until(block)

    # The miners' part

    @property
    def chosen(self) -> Slice:
        layout = self.nodes[self.order[0]].state.layout
        return select(layout, self.script.hash(CLOCK.close(1)))

    async def work(self, name: str) -> Made:
        """The honest work on a miner's pages."""
        node = self.nodes[self.order[0]].node
        hotkeys = sorted(Keys(miner).hotkey for miner in self.buckets)
        pages = node.schedule.assign(1, self.script.hash(CLOCK.open(1)), hotkeys)
        return await made(node, 1, pages[Keys(name).hotkey])

    async def sealed(self, name: str, factor: float = 1.0) -> bytes:
        """A miner's delta: honest work times `factor`. Each seal of it has other bytes."""
        work = (await self.work(name)).times(factor)
        root = self.first.root
        known = expected(self.config, Kind.DELTA, Keys(name).hotkey, 1, root, self.chosen)
        return sealed_delta(known, work, Keys(name).sign)

    def commit(self, name: str, sealed: bytes) -> None:
        hotkey = Keys(name).hotkey
        commit = seal_commit(RUN, 1, digest(sealed), hotkey, Keys(name).sign)
        self.buckets[name].put(commit_key(RUN, 1), commit)

    def reveal(self, name: str, sealed: bytes) -> None:
        self.buckets[name].put(delta_key(RUN, 1), sealed)

    # The validators' part, step by step

    async def open(self, names: Iterable[str] = STAKES) -> None:
        """Read the commits that are there at their deadline."""
        await self.reach(CLOCK.commit_by(1))
        for name in names:
            node = self.nodes[name].node
            self.books[name] = Book(node.folder / "standings.json")
            self.duties[name] = await assign(node, 1)
            reading = asyncio.create_task(collect(node, self.duties[name]))
            await self.nodes[name].told.seen("stage", stage="pledges", window=1)
            # What was read is written down; the rest is read when the test says so.
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def read(self, name: str) -> None:
        """Read the deltas that are there now, which is the deadline for them."""
        await self.reach(CLOCK.upload_by(1))
        assert (await collect(self.nodes[name].node, self.duties[name])).in_time

    async def witness(self, names: Iterable[str] = STAKES) -> None:
        """Check the deltas that were, or can still be, read in time; audit them and say so."""
        await self.reach(CLOCK.upload_by(1))
        for name in names:
            node, book = self.nodes[name].node, self.books[name]
            this = self.rounds[name] = await open_round(node, self.duties[name])
            book.enrol(self.script.neurons)
            await ingest(node, this, await collect(node, this.duty))
            for hotkey, why in this.refused.items():
                refuse(node, book, this, hotkey, why)
            await plan(node, book, this)
            await audit_until(node, book, this, CLOCK.receipts_by(1), newcomers=True)
            assert await publish_receipt(node, book, this) == (
                node.hotkey in this.council.witnesses
            )

    async def honest(self, names: Iterable[str] = STAKES) -> None:
        """What a window of honest miners comes to before it is agreed upon."""
        deltas = {name: await self.sealed(name) for name in self.buckets}
        for name, sealed in deltas.items():
            self.commit(name, sealed)
        await self.open(names)
        for name, sealed in deltas.items():
            self.reveal(name, sealed)
        await self.witness(names)

    def agreeing(self, names: Iterable[str] = STAKES) -> dict[str, asyncio.Task[Desk]]:
        return {
            name: asyncio.create_task(agree(self.nodes[name].node, self.rounds[name]))
            for name in names
        }

    async def decided(self, tasks: dict[str, asyncio.Task[Desk]]) -> dict[str, Desk]:
        """The desks at the deciding block, which the agreeing need not have waited for."""
        await self.reach(CLOCK.decide(1))
        desks = await asyncio.wait_for(asyncio.gather(*tasks.values()), DEADLINE_S)
        return dict(zip(tasks, desks, strict=True))

    async def concluded(self, tasks: dict[str, asyncio.Task[Desk]]) -> dict[str, Desk]:
        """As `decided`, but all are done before the deciding block comes."""
        await asyncio.wait_for(asyncio.gather(*tasks.values()), DEADLINE_S)
        return await self.decided(tasks)

    async def follow(self, names: Iterable[str] = STAKES) -> None:
        """Bring the validators to what the chain has ordered; they must agree on it."""
        names = list(names)
        for name in names:
            assert await follow(self.nodes[name].node, 1) is None
        assert len({self.nodes[name].state.position for name in names}) == 1
        assert len({self.nodes[name].state.theta.tobytes() for name in names}) == 1

    # What came of it

    def keys(self, name: str, kind: str) -> set[str]:
        """The keys of one kind of window 1's objects in a validator's bucket."""
        stored = Bucket.of(self.nodes[name].node.store.address).listed()
        return {key for key in stored if key.startswith(f"{RUN}/1/{kind}")}

    def told(self, name: str, event: str) -> list[dict[str, object]]:
        return self.nodes[name].told.of(event)

    def objections(self, leader: str) -> dict[str, object]:
        """Who said what of a leader's proposal; "" is approval."""
        hotkey = Keys(leader).hotkey
        return {
            name: fields["objection"]
            for name, node in self.nodes.items()
            for fields in node.told.of("ballot")
            if fields["leader"] == hotkey
        }

    def accepted(self, name: str) -> list[str]:
        """The miners in the update that a validator's state stands at, by name."""
        names = {Keys(miner).hotkey: miner for miner in self.buckets}
        node = self.nodes[name].node
        held = node.manifests[node.worker.state.position.head]
        return [names[entry.hotkey] for entry in held.manifest.proposal.accepted]

    @property
    def unchanged(self) -> bool:
        """Whether everybody still stands at the genesis."""
        heads = {node.state.position.head for node in self.nodes.values()}
        roots = {node.state.position.root for node in self.nodes.values()}
        return (heads, roots) == ({self.first.digest}, {self.first.root})


@asynccontextmanager
async def council(
    s3: str,
    folder: Path,
    config: RunConfig = CONFIG,
    miners: Sequence[str] = MINERS,
) -> AsyncIterator[Council]:
    script = Script()
    stores = {name: store_of(s3, name) for name in STAKES}
    for name, stake in STAKES.items():
        script.register(name, stake=stake)
        announce(script, name, Role.VALIDATOR, stores[name].address)
    buckets = {name: Bucket(s3, name) for name in miners}
    for name, bucket in buckets.items():
        script.register(name)
        announce(script, name, Role.MINER, bucket.address)
    leader = Leader(script, "ada", stores["ada"], folder / "leader")
    first = leader.genesis()
    leader.publish(first)
    await script.advance(CLOCK.close(1))
    async with AsyncExitStack() as stack:
        nodes = {
            name: await stack.enter_async_context(
                running(script, name, stores[name], folder / name, config)
            )
            for name in STAKES
        }
        of = Council(script, config, first, nodes, buckets)
        for node in nodes.values():
            await node.node.blocks.until(CLOCK.close(1))
            assert await follow(node.node, 0) is None
        names = {Keys(name).hotkey: name for name in STAKES}
        order = (await nodes["ada"].node.councils.at(1)).order
        of.order = [names[hotkey] for hotkey in order]
        yield of
