"""Where a run begins for a node that follows it, and where the node joins in."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from follow_scene import flip, scene
from node_kit import CLOCK, announce
from scripted_chain import DEADLINE_S
from scripted_leader import Leader

from boltzmann.node import follow as follow_module
from boltzmann.node.follow import Joined, join_window
from boltzmann.protocol.commitment import Role


async def test_a_genesis_whose_manifest_names_another_root_is_not_loaded(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        at.leader.publish(at.leader.genesis(root=bytes(32)))
        assert await at.after(0) == "a checkpoint of run run-1 that can be read"
        assert at.state.position.head == ""  # such a state is never saved, nor taken for agreed


@pytest.mark.parametrize("tampered", ["flipped", "longer"])
async def test_a_tampered_genesis_is_waited_out(s3: str, tmp_path: Path, tampered: str) -> None:
    async with scene(s3, tmp_path) as at:
        first = at.leader.genesis()
        at.leader.publish(first)
        saved = at.leader.saved[first.proposal.checkpoint.digest]
        bad = flip(saved.shards[0], -1) if tampered == "flipped" else saved.shards[0] + b"more"
        at.leader_bucket.put(saved.shard_keys[0], bad)
        for _ in range(2):
            assert await at.after(0) == "a checkpoint of run run-1 that can be read"
        reason = "bad_digest" if tampered == "flipped" else "wrong_size"
        told = at.follower.told.of("refused")
        assert [(e["what"], e["reason"]) for e in told] == [
            ("a shard of the checkpoint of window 0", reason)
        ] * 2
        assert at.state.position.head == ""
        at.leader.put_checkpoint(saved)
        assert await at.after(0) is None
        assert at.stands_at(first)


@pytest.mark.parametrize("has_state", [True, False])
async def test_a_run_cannot_be_begun_anew(s3: str, tmp_path: Path, has_state: bool) -> None:
    """A genesis does not count where something was ordered before it."""
    async with scene(s3, tmp_path, {"second": 3.0}) as at:
        first = at.leader.genesis()
        at.leader.publish(first)
        second = at.second("second", voters=("leader",))
        second.genesis()
        second.state.confirm(first.digest)
        second.stand_on(first)
        kept = second.close(1)
        second.publish(kept)
        if has_state:
            assert await at.after(1) is None
        at.leader.publish(at.leader.genesis(3, label="another model"))
        assert await at.after(3) is None
        assert at.stands_at(kept)
        assert at.state.position.genesis == 0


async def test_a_node_keeps_its_run_even_when_the_record_of_it_is_gone(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        announce(at.script, "leader", Role.VALIDATOR, at.leader.bucket.address, CLOCK.decide(1))
        assert await at.after(2) is None  # what it stands at was decided at its own block
        assert at.stands_at(first)
        # Another beginning does not count while the chain still tells of this one.
        at.leader.publish(at.leader.genesis(4, label="another model"))
        assert await at.after(4) is None
        assert at.stands_at(first)
        at.leader.publish(at.leader.genesis(9, label="a third model"))
        assert await at.after(9) is None
        assert at.stands_at(first)


async def test_a_genesis_that_was_never_ordered_is_given_up_for_the_one_that_was(
    s3: str, tmp_path: Path
) -> None:
    """The validator that made both stands at neither before the chain has ordered one."""
    async with scene(s3, tmp_path) as at:
        missed = at.leader.genesis(0, label="too late")
        at.leader.publish(missed, at=CLOCK.decide(0) + 1)
        at.state.position = replace(at.leader.state.position, head="")
        ordered = at.leader.genesis(2)
        at.leader.publish(ordered)
        assert await at.after(2) is None
        assert at.stands_at(ordered)
        assert (at.state.theta == at.leader.state.theta).all()


async def test_a_validator_that_named_no_manifest_yet_orders_nothing(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        at.script.register("poorer", stake=9.0)
        announce(at.script, "poorer", Role.VALIDATOR, at.follower.node.store.address, CLOCK.open(1))
        closing = at.leader.close(1)
        at.leader.publish(closing)
        assert await at.after(1) is None
        assert at.stands_at(closing)


@pytest.mark.parametrize("lacks", ["permit", "role", "registration"])
async def test_who_is_no_validator_orders_nothing(s3: str, tmp_path: Path, lacks: str) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        if lacks != "registration":
            at.script.register("pretender", stake=99.0 if lacks == "role" else 0.0)
        pretender = Leader(at.script, "pretender", at.leader.bucket, tmp_path / "pretender")
        pretender.genesis()
        pretender.state.confirm(first.digest)
        pretender.stand_on(first)
        # Even with a ballot of the one whose stake is a majority.
        pretender.publish(pretender.close(1, voters=("leader", "pretender")))
        if lacks == "role":
            at_block, hotkey, words = at.script.records.pop()
            miner = tuple(word.replace(b"1v ", b"1m ") for word in words)
            at.script.records.append((at_block, hotkey, miner))
        assert await at.after(1) is None
        assert at.stands_at(first)


# Joining


async def test_a_node_joins_the_first_window_whose_deadline_is_still_to_come(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        node = at.follower.node
        await at.script.advance(CLOCK.upload_by(1))
        await node.blocks.until(CLOCK.upload_by(1))
        # For a validator window 1 is not over, for a miner it is.
        assert (await asyncio.wait_for(join_window(node, CLOCK.decide), DEADLINE_S)).window == 1
        joining = asyncio.create_task(join_window(node, CLOCK.upload_by))
        at.leader.publish(at.leader.close(1))
        await at.script.advance(CLOCK.decide(1))
        assert await asyncio.wait_for(joining, DEADLINE_S) == Joined(2, is_late=False)
        assert at.state.position.window == 1
        assert [e["window"] for e in at.follower.told.of("stage")] == [0, 1]


async def test_a_node_that_waits_for_an_object_says_so_and_then_goes_on(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "_TELL_SECONDS", 0.0)
    async with scene(s3, tmp_path) as at:
        await at.script.advance(CLOCK.decide(0))
        joining = asyncio.create_task(join_window(at.follower.node, CLOCK.upload_by))
        waiting = await at.follower.told.seen("waiting")
        assert waiting["what"] == "the first validator's genesis on chain"
        at.leader.publish(at.leader.genesis(1))
        await at.script.advance(CLOCK.decide(1))
        assert (await asyncio.wait_for(joining, DEADLINE_S)).window == 2
        assert at.state.position.root == at.leader.state.position.root


async def test_a_node_is_patient_with_a_withheld_manifest_for_a_block(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "_TELL_SECONDS", 0.0)
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        at.leader.publish(at.leader.close(1), withhold=["manifest"])
        await at.script.advance(CLOCK.open(2))
        await at.follower.node.blocks.until(CLOCK.open(2))
        joining = asyncio.create_task(join_window(at.follower.node, CLOCK.upload_by))
        waiting = await at.follower.told.seen("waiting")
        assert waiting["what"].startswith("the manifest of window 1 by ")
        assert at.windows("withheld") == []
        await at.script.advance(CLOCK.open(2) + 1)
        assert (await asyncio.wait_for(joining, DEADLINE_S)).window == 2
        assert at.windows("withheld") == [1]
        assert at.stands_at(first)


async def test_a_base_is_late_for_who_lacked_its_update_though_not_its_manifest(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A validator that stands nowhere yet shows no copy, and that is what miners wait for."""
    monkeypatch.setattr(follow_module, "_TELL_SECONDS", 0.0)
    async with scene(s3, tmp_path) as at:
        await at.begin()
        node, closing = at.follower.node, at.leader.close(1)
        at.leader.publish(closing, withhold=["update"])
        await at.reach(1)
        joining = asyncio.create_task(join_window(node, CLOCK.decide))
        waiting = await at.follower.told.seen("waiting")
        assert waiting["what"].startswith("the update of window 1: ")
        await at.script.advance(CLOCK.open(2) + 1)
        await node.blocks.until(CLOCK.open(2) + 1)
        at.leader.publish(closing)
        assert await asyncio.wait_for(joining, DEADLINE_S) == Joined(2, is_late=True)
        assert at.stands_at(closing)


async def test_a_miner_waits_another_block_for_the_copies_of_most_validators(
    s3: str, tmp_path: Path
) -> None:
    """So that validators who read the manifest in the last moment can pass it on."""
    async with scene(s3, tmp_path, {"second": 6.0, "third": 6.0}) as at:
        await at.begin()
        closing = at.leader.close(1, voters=("leader", "second"))
        at.leader.publish(closing)
        await at.script.advance(CLOCK.open(2) + 1)
        node = at.follower.node
        await node.blocks.until(CLOCK.open(2) + 1)
        joining = asyncio.create_task(join_window(node, CLOCK.upload_by, by_majority=True))
        await asyncio.sleep(10 * node.poll_seconds)
        assert not joining.done()
        at.buckets["second"].put(closing.manifest_key, closing.manifest)
        assert await asyncio.wait_for(joining, DEADLINE_S) == Joined(2, is_late=True)
        assert at.stands_at(closing)
        assert at.windows("withheld") == []


async def test_a_miner_leaves_out_what_most_validators_never_show(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path, {"second": 6.0, "third": 6.0}) as at:
        first = await at.begin()
        at.leader.publish(at.leader.close(1, voters=("leader", "second")))
        await at.script.advance(CLOCK.open(2) + 2)
        joining = join_window(at.follower.node, CLOCK.upload_by, by_majority=True)
        assert await asyncio.wait_for(joining, DEADLINE_S) == Joined(2, is_late=False)
        assert at.stands_at(first)
        assert at.windows("withheld") == [1]
