"""A validator at the closing of window 1, for the tests of audits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from node_kit import (
    CLOCK,
    CONFIG,
    RUN,
    Bucket,
    Made,
    Running,
    announce,
    made,
    reading_store,
    running,
    sealed_delta,
)
from scripted_chain import DEADLINE_S, Keys, Script
from scripted_leader import Leader

from boltzmann.node.audit import audit_until, plan
from boltzmann.node.book import Book
from boltzmann.node.follow import follow
from boltzmann.node.ingest import Collected, collect, ingest
from boltzmann.node.node import Node
from boltzmann.node.objects import commit_key, delta_key, expected
from boltzmann.node.reckoning import refuse
from boltzmann.node.round import Round, assign, open_round
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.documents import digest
from boltzmann.protocol.receipts import Verdict
from boltzmann.protocol.reveal import seal_commit
from boltzmann.protocol.rewards import Standing
from boltzmann.protocol.wire import Kind

MINERS = ("anna", "bert", "carl", "dora")
SPOTS = replace(CONFIG.audit, full_rate=1e-12)


@dataclass
class Scene:
    """A validator at the closing of a window, 1 at first, and its members, whose uploads the test
    makes."""

    script: Script
    leader: Leader
    validator: Running
    buckets: dict[str, Bucket]
    book: Book
    this: Round

    async def work(self, name: str) -> Made:
        """The honest work on a member's pages."""
        return await made(self.validator.node, self.this.window, self.this.pages[Keys(name).hotkey])

    def upload(self, name: str, work: Made, *, signer: str = "", root: bytes | None = None) -> None:
        """Commit to and reveal work on the state of this root, the validator's if none is given."""
        keys, window = Keys(name), self.this.window
        root = root or self.validator.state.position.root
        known = expected(CONFIG, Kind.DELTA, keys.hotkey, window, root, self.this.chosen)
        sealed = sealed_delta(known, work, Keys(signer or name).sign)
        commit = seal_commit(RUN, window, digest(sealed), keys.hotkey, keys.sign)
        self.buckets[name].put(commit_key(RUN, window), commit)
        self.buckets[name].put(delta_key(RUN, window), sealed)

    async def open(self, window: int) -> None:
        """Go on to the closing of a later window, on the state as it is."""
        node = self.validator.node
        await self.script.advance(CLOCK.commit_by(window))
        await node.blocks.until(CLOCK.commit_by(window))
        self.this = await open_round(node, await assign(node, window))

    async def ingest(self) -> Collected:
        """Read and check what was uploaded, at its deadlines."""
        node = self.validator.node
        reading = asyncio.create_task(collect(node, self.this.duty))
        await self.validator.told.seen("stage", stage="pledges", window=self.this.window)
        await self.script.advance(CLOCK.upload_by(self.this.window))
        collected = await asyncio.wait_for(reading, DEADLINE_S)
        await ingest(node, self.this, collected)
        return collected

    async def judge(self) -> dict[str, str]:
        """Ingest and audit everything; each member's reason of refusal, "" if it passed."""
        node = self.validator.node
        await self.ingest()
        for hotkey, why in self.this.refused.items():
            refuse(node, self.book, self.this, hotkey, why)
        await plan(node, self.book, self.this)
        await audit_until(
            node, self.book, self.this, CLOCK.decide(self.this.window), newcomers=False
        )
        refused = {e["hotkey"]: e["reason"] for e in self.validator.told.of("rejected")}
        return {name: refused.get(Keys(name).hotkey, "") for name in self.buckets}

    def standing(self, name: str) -> Standing:
        return self.book[Keys(name).hotkey]

    def verdict(self, name: str) -> Verdict | None:
        """The last audit's outcome, if there was one."""
        found = {verdict.hotkey: verdict for verdict in self.book.verdicts}
        return found.get(Keys(name).hotkey)

    def refusal(self, name: str) -> str | None:
        """Of the last audit; "" for a pass, None if there was none."""
        verdict = self.verdict(name)
        return None if verdict is None else verdict.refusal


@asynccontextmanager
async def scene(s3: str, folder: Path) -> AsyncIterator[Scene]:
    script = Script()
    script.register("leader", stake=10.0)
    leader = Leader(script, "leader", Bucket(s3, "leader"), folder / "leader")
    leader.publish(leader.genesis())
    buckets = {name: Bucket(s3, name) for name in MINERS}
    for name, bucket in buckets.items():
        script.register(name)
        announce(script, name, Role.MINER, bucket.address)
    await script.advance(CLOCK.commit_by(1))
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            running(script, "leader", reading_store(s3), folder / "validator")
        )
        assert await follow(node.node, 0) is None
        book = Book(folder / "standings.json")
        book.enrol(script.neurons)
        this = await open_round(node.node, await assign(node.node, 1))
        yield Scene(script, leader, node, buckets, book, this)


def trusting(at: Scene, audit_rate: float = 1.0) -> Node:
    """The scene's validator, which trusts everybody and audits no more than a page."""
    for name in at.buckets:
        at.book.judge(Verdict(Keys(name).hotkey, 0, "", 1.0, 1.0, 1.0))
    node = at.validator.node
    run = replace(node.run, audit=SPOTS, rewards=replace(node.run.rewards, audit_rate=audit_rate))
    return replace(node, run=run)
