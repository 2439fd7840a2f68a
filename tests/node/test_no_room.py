"""A disk that takes nothing: the window is lost, and the node goes on once there is room."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from agree_scene import council
from follow_scene import Scene, scene
from node_kit import CLOCK, announce, running, store_of
from scripted_chain import DEADLINE_S, Script

from boltzmann.errors import NoRoom
from boltzmann.node.endure import forever
from boltzmann.node.follow import follow
from boltzmann.node.genesis import ensure_genesis
from boltzmann.node.ingest import collect, fetch_delta
from boltzmann.node.outbox import Outbox
from boltzmann.node.round import assign, open_round
from boltzmann.protocol.commitment import Role


def fill(place: Path) -> None:
    """No folder can be made here: a file has its name."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"")


async def begun(at: Scene) -> None:
    await at.begin()
    at.leader.publish(at.leader.close(1))


async def test_an_update_that_cannot_be_kept_is_fetched_when_there_is_room(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await begun(at)
        place = at.follower.node.folder / "updates"
        fill(place)
        with pytest.raises(NoRoom, match=r"updates cannot be written \(.*make room there"):
            await at.after(1)
        place.unlink()
        assert await at.after(1) is None
        assert at.state.position == at.leader.state.position


async def test_a_checkpoint_that_cannot_be_kept_is_loaded_when_there_is_room(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        at.leader.publish(at.leader.genesis())
        place = at.follower.node.folder / "download"
        fill(place)
        with pytest.raises(NoRoom, match=r"download cannot be written"):
            await at.after(0)
        place.unlink()
        assert await at.after(0) is None


async def test_the_node_waits_for_room_and_goes_on(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        await begun(at)
        place, node = at.follower.node.folder / "updates", at.follower.node
        fill(place)
        done = asyncio.Event()

        async def one_window() -> None:
            if await follow(node, 1) is None:
                done.set()
            await asyncio.sleep(3600.0)

        await at.reach(1)
        going = asyncio.create_task(forever(node, one_window))
        await at.follower.told.seen("waiting")
        place.unlink()
        await at.script.advance(at.script.height + 1)
        await asyncio.wait_for(done.wait(), DEADLINE_S)
        going.cancel()
        with suppress(asyncio.CancelledError):
            await going
        assert at.state.position == at.leader.state.position


async def test_commits_and_deltas_that_cannot_be_kept_are_read_when_there_is_room(
    s3: str, tmp_path: Path
) -> None:
    async with council(s3, tmp_path) as of:
        await of.reach(CLOCK.commit_by(1))
        name = of.order[0]
        node = of.nodes[name].node
        place = node.folder / "ingest"
        fill(place)
        duty = await assign(node, 1)
        await of.reach(CLOCK.upload_by(1))
        with pytest.raises(NoRoom, match=r"1 cannot be written"):
            await collect(node, duty)
        this = await open_round(node, duty)
        with pytest.raises(NoRoom, match=r"1 cannot be written"):
            await fetch_delta(node, this, next(iter(this.members.values())))
        place.unlink()
        await collect(node, duty)


async def test_a_genesis_that_cannot_be_kept_is_told(s3: str, tmp_path: Path) -> None:
    script, store = Script(height=2), store_of(s3, "first")
    script.register("first", stake=5.0)
    announce(script, "first", Role.VALIDATOR, store.address)
    async with running(script, "first", store, tmp_path) as node:
        fill(node.node.folder / "checkpoints")
        with pytest.raises(NoRoom, match=r"checkpoints/0 cannot be written"):
            await ensure_genesis(node.node)


def test_a_journal_that_cannot_be_begun_is_told(tmp_path: Path) -> None:
    fill(tmp_path / "outbox")
    with pytest.raises(NoRoom, match=r"outbox cannot be written"):
        Outbox(tmp_path / "outbox")
