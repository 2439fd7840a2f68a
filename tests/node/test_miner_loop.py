"""A miner's window: killed, late, without pages, without room, without a bucket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from node_kit import CLOCK, CONFIG, RUN, Bucket, Running, announce, running, store_of
from scripted_chain import DEADLINE_S, Keys, Script
from scripted_leader import Leader

from boltzmann.config import RunConfig
from boltzmann.data.bundled import BundledPages
from boltzmann.errors import DataUnavailable, Divergence, StoreError, StoreUnavailable
from boltzmann.node.book import Book
from boltzmann.node.conduct import Honest
from boltzmann.node.follow import follow
from boltzmann.node.ingest import collect
from boltzmann.node.miner import mine, mine_window
from boltzmann.node.objects import commit_key, delta_key
from boltzmann.node.round import assign
from boltzmann.node.validator import validate_window
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.documents import digest
from boltzmann.protocol.reveal import Pledge, open_commit
from boltzmann.store.s3 import S3Store


class FailingStore(S3Store):
    """A bucket with a trouble, as long as there is one."""

    trouble: Exception | None = None

    def put(self, key: str, body: bytes) -> None:
        if self.trouble is not None:
            raise self.trouble
        super().put(key, body)


@dataclass
class Scene:
    """A run in window 1, with one miner whose loop the test starts."""

    script: Script
    leader: Leader
    store: FailingStore
    folder: Path

    @asynccontextmanager
    async def anna(self) -> AsyncIterator[Running]:
        """The miner's process, in its genesis state."""
        async with running(self.script, "anna", self.store, self.folder / "anna") as anna:
            assert await follow(anna.node, 0) is None
            yield anna

    def stored(self, key: str) -> bytes | None:
        found = self.store.get(self.store.address, key, max_bytes=1 << 20, seconds=5.0)
        return found if isinstance(found, bytes) else None


@asynccontextmanager
async def scene(s3: str, folder: Path) -> AsyncIterator[Scene]:
    script = Script()
    script.register("leader", stake=5.0)
    script.register("anna")
    name = store_of(s3, "anna").address.rpartition("/")[2]
    store = FailingStore(s3, name, "key", "secret")
    announce(script, "anna", Role.MINER, store.address)
    leader = Leader(script, "leader", Bucket(s3, "leader"), folder / "leader")
    leader.publish(leader.genesis())
    await script.advance(CLOCK.close(1))
    yield Scene(script, leader, store, folder)


SILENT = StoreUnavailable("the bucket does not answer")


@pytest.mark.parametrize("sent", ["nothing", "its commit"])
async def test_a_killed_miner_sends_what_it_wrote_down_and_nothing_else(
    s3: str, tmp_path: Path, sent: str
) -> None:
    async with scene(s3, tmp_path) as at:
        at.store.trouble = SILENT if sent == "nothing" else None
        async with at.anna() as anna:
            mining = asyncio.create_task(mine_window(anna.node, Honest(), 1))
            if sent == "nothing":
                await anna.told.seen("waiting")
            else:
                await anna.told.seen("stage", stage="commit")
            delta, commit = (anna.node.outbox.find(1, name) for name in ("delta", "commit"))
            assert delta is not None
            mining.cancel()
            await asyncio.gather(mining, return_exceptions=True)
        at.store.trouble = None
        async with at.anna() as anna:
            mining = asyncio.create_task(mine_window(anna.node, Honest(), 1))
            await anna.told.seen("stage", stage="commit")
            assert at.stored(commit_key(RUN, 1)) == commit
            assert at.stored(delta_key(RUN, 1)) is None  # not before everybody has committed
            await at.script.advance(CLOCK.commit_by(1))
            window = await anna.told.seen("window", window=1)
            assert (window["loss"], window["bytes_up"]) == (None, len(delta))
            await at.script.advance(CLOCK.upload_by(1))
            await asyncio.wait_for(mining, DEADLINE_S)
            assert anna.told.of("error") == []
            hotkey = anna.node.hotkey
            pledge = open_commit(commit or b"", RUN, 1, hotkey, anna.node.verify)
            assert isinstance(pledge, Pledge)
            assert pledge.sha256 == digest(delta)
        assert at.stored(delta_key(RUN, 1)) == delta


async def test_an_upload_that_comes_too_late_is_told(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        at.store.trouble = SILENT
        async with at.anna() as anna:
            mining = asyncio.create_task(mine_window(anna.node, Honest(), 1))
            waiting = await anna.told.seen("waiting")
            assert waiting["what"] == "the own bucket: the bucket does not answer"
            await at.script.advance(CLOCK.upload_by(1))
            await asyncio.wait_for(mining, DEADLINE_S)
            late = f"too late: block {CLOCK.upload_by(1)} is here"
            assert [(e["what"], e["detail"]) for e in anna.told.of("error")] == [
                (f"upload of {commit_key(RUN, 1)}", late)
            ]
            (window,) = anna.told.of("window")
            assert (window["bytes_up"], window["sample_rate"]) == (0, 0.0)


async def test_other_bytes_that_are_there_already_stay_and_are_told(
    s3: str, tmp_path: Path
) -> None:
    """The journal was lost after an upload."""
    async with scene(s3, tmp_path) as at:
        at.store.put(delta_key(RUN, 1), b"an earlier one")
        async with at.anna() as anna:
            mining = asyncio.create_task(mine_window(anna.node, Honest(), 1))
            await anna.told.seen("stage", stage="commit")
            await at.script.advance(CLOCK.commit_by(1))
            window = await anna.told.seen("window", window=1)
            assert window["bytes_up"] == 0
            (told,) = anna.told.of("error")
            assert told["what"] == f"upload of {delta_key(RUN, 1)}"
            assert "already holds other bytes" in told["detail"]
            mining.cancel()
            await asyncio.gather(mining, return_exceptions=True)
        assert at.stored(delta_key(RUN, 1)) == b"an earlier one"


async def test_a_delta_is_withheld_where_the_bucket_has_another_commit(
    s3: str, tmp_path: Path
) -> None:
    """The journal was lost after the commit: the delta would be taken for a forged one."""
    async with scene(s3, tmp_path) as at:
        async with at.anna() as anna:
            mining = asyncio.create_task(mine_window(anna.node, Honest(), 1))
            await anna.told.seen("stage", stage="commit")
            mining.cancel()
            await asyncio.gather(mining, return_exceptions=True)
            for name in ("delta", "commit"):
                anna.node.outbox.path(1, name).unlink()
            earlier = at.stored(commit_key(RUN, 1))
            mining = asyncio.create_task(mine_window(anna.node, Honest(), 1))
            await anna.told.seen("error", what=f"upload of {commit_key(RUN, 1)}")
            await at.script.advance(CLOCK.commit_by(1))
            window = await anna.told.seen("window", window=1)
            assert (window["bytes_up"], window["sample_rate"]) == (0, 0.0)
            await at.script.advance(CLOCK.upload_by(1))
            await asyncio.wait_for(mining, DEADLINE_S)
            assert len(anna.told.of("error")) == 1
        assert at.stored(commit_key(RUN, 1)) == earlier is not None
        assert at.stored(delta_key(RUN, 1)) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
async def test_a_full_disk_costs_a_miner_its_window_and_not_the_node(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at, at.anna() as anna:
        full = anna.node.outbox.path(1, "delta").with_name("1.delta.tmp")
        full.symlink_to("/dev/full")
        mining = asyncio.create_task(mine(anna.node, Honest()))
        waiting = await anna.told.seen("waiting")
        assert "cannot be written (No space left" in waiting["what"]
        assert "make room" in waiting["what"]
        full.unlink()
        # With the next block it tries again, in time for the window.
        await at.script.advance(CLOCK.close(1))
        await at.script.advance(CLOCK.commit_by(1))
        window = await anna.told.seen("window", window=1)
        assert window["bytes_up"] > 0
        assert at.stored(delta_key(RUN, 1)) == anna.node.outbox.find(1, "delta")
        mining.cancel()
        await asyncio.gather(mining, return_exceptions=True)


class FarPages(BundledPages):
    """Pages whose host does not answer while `trouble` is set."""

    trouble: DataUnavailable | None = None

    def rows(self, page: int) -> Sequence[str]:
        if self.trouble is not None:
            raise self.trouble
        return super().rows(page)


@pytest.mark.parametrize("where", ["bucket", "data"])
async def test_a_host_that_refuses_costs_the_window_and_not_the_node(
    s3: str, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = FarPages(CONFIG.data.rows_per_page)
    monkeypatch.setattr("node_kit._bundled", lambda rows: far)
    async with scene(s3, tmp_path) as at, at.anna() as anna:
        if where == "bucket":
            at.store.trouble = StoreError("the host said no")
        else:
            far.trouble = DataUnavailable("the host said no")
        mining = asyncio.create_task(mine(anna.node, Honest()))
        waiting = await anna.told.seen("waiting", what="the host said no")
        assert waiting["seconds"] >= 0.0
        at.leader.publish(at.leader.close(1))
        await at.script.advance(CLOCK.decide(1))
        at.store.trouble = far.trouble = None
        await at.script.advance(CLOCK.open(2))
        await anna.chain.has_read(CLOCK.open(2))
        await at.script.advance(CLOCK.close(2))
        await anna.told.seen("stage", stage="commit", window=2)
        assert not mining.done()
        mining.cancel()
        await asyncio.gather(mining, return_exceptions=True)


async def test_what_only_a_person_can_mend_ends_the_node(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at, at.anna() as anna:
        at.leader.publish(at.leader.close(1, root=bytes(32)))
        await at.script.advance(CLOCK.decide(1))
        with pytest.raises(Divergence):
            await asyncio.wait_for(mine(anna.node, Honest()), DEADLINE_S)


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
        duty = await assign(node.node, 1)
        this = await validate_window(node.node, book, duty, collect(node.node, duty), [])
        (drawn,) = this.members
        (idle,) = set(hotkeys) - {drawn}
        assert book[idle].moving == 0.8
        assert book[drawn].moving == pytest.approx(0.4)  # it had pages and sent nothing
        assert Keys("leader").hotkey not in this.members
        # It came too late to have seen for itself, and says nothing.
        assert not this.is_witness
