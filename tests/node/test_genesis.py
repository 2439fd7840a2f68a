"""A run's beginning: published once, by its first validator, in time or anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from node_kit import CLOCK, RUN, Bucket, Running, announce, running, store_of
from scripted_chain import DEADLINE_S, Script
from scripted_leader import Leader

from boltzmann.app.setup import _announce
from boltzmann.node.follow import follow
from boltzmann.node.genesis import ensure_genesis
from boltzmann.node.membership import peers_at
from boltzmann.node.tip import tip_at
from boltzmann.protocol.commitment import Commitment, Role, decode


@asynccontextmanager
async def validator(
    s3: str, script: Script, folder: Path, name: str = "first", *, since: int = 0
) -> AsyncIterator[Running]:
    store = store_of(s3, name)
    announce(script, name, Role.VALIDATOR, store.address, since)
    async with running(script, name, store, folder / name) as node:
        yield node


def doubt(window: int) -> str:
    return f"window {window}: what is on chain and cannot be read may be a genesis"


def ordered(script: Script) -> list[int]:
    """The windows of all manifests that were committed, in order."""
    records = [decode(fields) for _, _, fields in script.records]
    return [record.manifest[0] for record in records if record and record.manifest]


async def test_the_first_validator_begins_the_run(s3: str, tmp_path: Path) -> None:
    script = Script(height=2)
    script.register("first", stake=5.0)
    script.register("second", stake=1.0)
    async with (
        validator(s3, script, tmp_path) as first,
        validator(s3, script, tmp_path, "second") as second,
    ):
        await asyncio.wait_for(ensure_genesis(second.node), DEADLINE_S)
        assert ordered(script) == []  # another one leads
        beginning = asyncio.create_task(ensure_genesis(first.node))
        await first.told.seen("genesis", window=0)
        await script.advance(CLOCK.decide(0))
        await asyncio.wait_for(beginning, DEADLINE_S)
        await second.node.blocks.until(CLOCK.decide(0))
        assert await follow(first.node, 0) is None
        assert await follow(second.node, 0) is None
        assert second.state.position == first.state.position
        assert (second.state.theta == first.state.theta).all()
        assert second.state.position.genesis == 0
        assert ordered(script) == [0]


async def test_a_run_that_has_begun_is_not_begun_again(s3: str, tmp_path: Path) -> None:
    script = Script()
    script.register("earlier", stake=1.0)
    leader = Leader(script, "earlier", Bucket(s3, "earlier"), tmp_path / "earlier")
    leader.publish(leader.genesis())
    leader.publish(leader.close(1))
    script.register("richer", stake=5.0)
    for height in (CLOCK.open(2), CLOCK.decide(2), CLOCK.decide(2) + 1, CLOCK.close(4)):
        await script.advance(height)
        async with validator(s3, script, tmp_path, "richer", since=CLOCK.open(2)) as node:
            await asyncio.wait_for(ensure_genesis(node.node), DEADLINE_S)
    assert ordered(script) == [0, 1]


async def test_a_validator_that_restarts_waits_for_the_genesis_it_has_on_chain(
    s3: str, tmp_path: Path
) -> None:
    """Just before the deciding block a new one would be of the next window: two beginnings."""
    script = Script(height=CLOCK.decide(0) - 2)
    script.register("first", stake=5.0)
    async with validator(s3, script, tmp_path) as node:
        task = asyncio.create_task(ensure_genesis(node.node))
        await node.told.seen("genesis", window=0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await script.advance(CLOCK.decide(0) - 1)
        await node.node.blocks.until(CLOCK.decide(0) - 1)
        again = asyncio.create_task(ensure_genesis(node.node))
        await node.chain.has_read(CLOCK.decide(0) - 1)
        await script.advance(CLOCK.decide(0))
        await asyncio.wait_for(again, DEADLINE_S)
        assert ordered(script) == [0]
        assert len(node.told.of("genesis")) == 1


async def test_a_genesis_that_missed_its_deciding_block_is_made_anew(
    s3: str, tmp_path: Path
) -> None:
    script = Script(height=2)
    script.register("first", stake=5.0)
    async with validator(s3, script, tmp_path) as node:
        task = asyncio.create_task(ensure_genesis(node.node))
        await node.told.seen("genesis", window=0)
        # It reached the chain one block too late.
        block, hotkey, fields = script.records.pop()
        assert block <= CLOCK.decide(0)
        script.records.append((CLOCK.decide(0) + 1, hotkey, fields))
        await script.advance(CLOCK.decide(0) + 1)
        await node.told.seen("genesis", window=1)
        await script.advance(CLOCK.decide(1))
        await asyncio.wait_for(task, DEADLINE_S)
        tip = (await tip_at(node.node, 1)).tip
        assert tip is not None
        assert (tip.name.window, tip.name.digest) == (1, node.state.position.head)
        assert await follow(node.node, 1) is None
        assert node.state.position.genesis == 1
        assert node.node.outbox.find(1, "manifest") is not None
        assert node.node.run.run.id == RUN


async def test_a_validator_that_moves_stands_by_its_last_manifest(s3: str, tmp_path: Path) -> None:
    """Without it on chain the run would have no beginning any more."""
    script = Script()
    script.register("first", stake=5.0)
    leader = Leader(script, "first", Bucket(s3, "old"), tmp_path / "leader")
    leader.publish(leader.genesis())
    await script.advance(CLOCK.decide(0))
    moved = store_of(s3, "new")
    async with running(script, "first", moved, tmp_path / "first") as node:
        assert await follow(node.node, 0) is None
        await _announce(node.node, Role.VALIDATOR)
        await script.advance(CLOCK.decide(1))
        await node.node.blocks.until(CLOCK.decide(1))
        tip = (await tip_at(node.node, 1)).tip
        assert tip is not None
        assert (tip.name.window, tip.name.digest) == (0, leader.state.position.head)
        records = len(script.records)
        await _announce(node.node, Role.VALIDATOR)
        assert len(script.records) == records  # nothing has changed since
        peers = await peers_at(node.chain, RUN, script.height)
        assert [peer.bucket for peer in peers] == [moved.address]


async def test_a_run_whose_genesis_is_withheld_is_not_begun_again_at_once(
    s3: str, tmp_path: Path
) -> None:
    """It may be the bucket's bad minute; a second beginning would be for ever."""
    script = Script()
    script.register("first", stake=5.0)
    leader = Leader(script, "first", Bucket(s3, "first"), tmp_path / "leader")
    first = leader.genesis()
    leader.publish(first, withhold=["manifest"])
    await script.advance(CLOCK.decide(0))
    store = store_of(s3, "first")
    async with running(script, "first", store, tmp_path / "first") as node:
        task = asyncio.create_task(ensure_genesis(node.node))
        for window in (0, 1):
            await node.told.seen("waiting", what=doubt(window + 1))
            assert node.told.of("genesis") == []
            assert ordered(script) == [0]
            if window == 1:
                leader.bucket.put(first.manifest_key, first.manifest)
            await script.advance(CLOCK.decide(window + 1))
        await asyncio.wait_for(task, DEADLINE_S)
        assert node.told.of("genesis") == []


async def test_digests_of_nothing_do_not_keep_a_run_from_beginning(s3: str, tmp_path: Path) -> None:
    script = Script(height=CLOCK.open(2))
    script.register("first", stake=5.0)
    nobody = script.register("nobody", stake=1e-9)
    bucket = Bucket(s3, "nobody")
    announce(script, "nobody", Role.VALIDATOR, bucket.address)
    for window in range(1, 5):
        record = Commitment(Role.VALIDATOR, RUN, bucket.address, manifest=(window, "ab" * 32))
        script.commit(nobody, record, CLOCK.decide(window))
    async with validator(s3, script, tmp_path) as node:
        task = asyncio.create_task(ensure_genesis(node.node))
        for window in (2, 3):
            await node.told.seen("waiting", what=doubt(window))
            await script.advance(CLOCK.decide(window))
        await node.told.seen("genesis", window=4)
        await script.advance(CLOCK.decide(4))
        await asyncio.wait_for(task, DEADLINE_S)
        assert await follow(node.node, 4) is None
        assert node.state.position.genesis == 4


async def test_the_genesis_is_whole_in_the_bucket_before_it_is_ordered(
    s3: str, tmp_path: Path
) -> None:
    script = Script(height=2)
    script.register("first", stake=5.0)
    async with validator(s3, script, tmp_path) as first:
        beginning = asyncio.create_task(ensure_genesis(first.node))
        await first.told.seen("genesis", window=0)
        (checkpoint,) = first.told.of("checkpoint")
        held = first.node.manifests[first.state.position.head].manifest
        assert held.proposal.checkpoint.digest == checkpoint["digest"]
        names = [event for event, _ in first.told.events]
        assert names.index("checkpoint") < names.index("genesis")
        await script.advance(CLOCK.decide(0))
        await asyncio.wait_for(beginning, DEADLINE_S)
        # Who comes next loads it from there.
        script.register("late")
        async with running(script, "late", store_of(s3, "late"), tmp_path / "late") as late:
            assert await follow(late.node, 0) is None
            assert late.state.position == first.state.position
            (loaded,) = late.told.of("loaded")
            assert loaded["bytes_down"] == checkpoint["bytes_up"]
