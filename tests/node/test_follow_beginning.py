"""Where a run begins for a node that follows it, and where the node joins in."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from follow_scene import flip, scene
from node_kit import CLOCK, RUN, announce
from scripted_chain import DEADLINE_S
from scripted_leader import Leader

from boltzmann.errors import Divergence
from boltzmann.node import follow as follow_module
from boltzmann.node.follow import join_window
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.manifest import Manifest, open_manifest


async def test_a_genesis_with_another_root_is_refused_and_leaves_no_head(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        at.leader.publish(at.leader.genesis(root=bytes(32)))
        with pytest.raises(Divergence, match="the initial checkpoint of run run-1"):
            await at.after(0)
        assert at.state.position.head == ""  # such a state is never saved, nor taken for agreed


@pytest.mark.parametrize("tampered", ["flipped", "longer than any model of this run"])
async def test_a_tampered_checkpoint_is_waited_out(s3: str, tmp_path: Path, tampered: str) -> None:
    async with scene(s3, tmp_path) as at:
        first = at.leader.genesis()
        if tampered == "flipped":
            at.leader.publish(first, update=flip(first.update, -1))
        else:
            longer = replace(first, update=first.update + bytes(2 << 20))
            opened = open_manifest(
                first.manifest, RUN, 0, at.leader.keys.hotkey, at.follower.node.verify
            )
            assert isinstance(opened, Manifest)
            named = replace(opened, update_bytes=len(longer.update))
            manifest = named.seal(at.leader.keys.hotkey, at.leader.keys.sign)
            at.leader.publish(replace(longer, manifest=manifest))
        missing = await at.after(0)
        assert missing is not None
        assert ("bad_digest" if tampered == "flipped" else "wrong_size") in missing
        assert at.state.position.head == ""


@pytest.mark.parametrize("has_state", [True, False])
async def test_a_run_cannot_be_begun_anew(s3: str, tmp_path: Path, has_state: bool) -> None:
    async with scene(s3, tmp_path) as at:
        at.leader.publish(at.leader.genesis())
        kept = at.leader.close(1)
        at.leader.publish(kept)
        if has_state:
            assert await at.after(1) is None
        before = at.state.theta.copy()
        at.leader.publish(at.leader.genesis(3, label="another model"))
        with pytest.raises(Divergence, match=r"of window 3 .* would begin run run-1 anew"):
            await at.after(3)
        assert (at.state.theta == before).all()
        assert at.stands_at(kept) == has_state


async def test_a_node_keeps_its_run_even_when_the_record_of_it_is_gone(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        announce(at.script, "leader", Role.VALIDATOR, at.leader.bucket.address, CLOCK.decide(1))
        assert await at.after(2) == "the first validator's genesis on chain"
        at.leader.publish(at.leader.genesis(4, label="another model"))
        with pytest.raises(Divergence, match="the chain ordered one of window 0 before it"):
            await at.after(4)
        assert at.stands_at(first)


async def test_a_genesis_that_was_never_ordered_is_given_up_for_the_one_that_was(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        missed = at.leader.genesis(0, label="too late")
        at.leader.publish(missed, at=CLOCK.decide(0) + 1)
        at.state.position = replace(at.leader.state.position)
        ordered = at.leader.genesis(2)
        at.leader.publish(ordered)
        assert await at.after(2) is None
        assert at.stands_at(ordered)
        assert [event["window"] for event in at.follower.told.of("undone")] == [0]


async def test_a_validator_that_named_no_manifest_yet_orders_nothing(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        at.script.register("richer", stake=99.0)
        announce(at.script, "richer", Role.VALIDATOR, at.follower.node.store.address, CLOCK.open(1))
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
        pretender.publish(pretender.close(1))
        if lacks == "role":
            at_block, hotkey, words = at.script.records.pop()
            miner = tuple(word.replace(b"1v ", b"1m ") for word in words)
            at.script.records.append((at_block, hotkey, miner))
        assert await at.after(1) is None
        assert at.stands_at(first)


# Joining


async def test_a_node_joins_the_first_window_whose_training_is_still_open(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        await at.script.advance(CLOCK.close(1))
        await at.follower.node.blocks.until(CLOCK.close(1))
        joining = asyncio.create_task(join_window(at.follower.node))
        at.leader.publish(at.leader.close(1))
        await at.script.advance(CLOCK.decide(1))
        assert await asyncio.wait_for(joining, DEADLINE_S) == 2
        assert at.state.position.window == 1


async def test_a_node_that_waits_for_an_object_says_so_and_then_goes_on(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "_TELL_SECONDS", 0.0)
    async with scene(s3, tmp_path) as at:
        await at.script.advance(CLOCK.decide(0))
        joining = asyncio.create_task(join_window(at.follower.node))
        waiting = await at.follower.told.seen("waiting")
        assert waiting["what"] == "the first validator's genesis on chain"
        at.leader.publish(at.leader.genesis(1))
        await at.script.advance(CLOCK.decide(1))
        assert await asyncio.wait_for(joining, DEADLINE_S) == 2
        assert at.state.position.root == at.leader.state.position.root
