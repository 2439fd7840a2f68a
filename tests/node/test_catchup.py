"""Joining late or coming back: the newest checkpoint and one update per window since."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from follow_scene import Scene, flip, scene
from node_kit import CLOCK, RUN, Bucket, reading_store, running
from scripted_chain import Keys
from scripted_leader import Saved

from boltzmann.node.catchup import load_checkpoint
from boltzmann.node.follow import follow
from boltzmann.node.objects import shard_key
from boltzmann.node.route import Link, Start, route_to
from boltzmann.node.tip import tip_at
from boltzmann.protocol.manifest import CheckpointName
from boltzmann.train import checkpoint
from boltzmann.train.checkpoint import shard_name

OTHERS = {"second": 3.0, "third": 2.0}


async def history(at: Scene, last: int, checkpoints: tuple[int, ...]) -> dict[int, Saved]:
    """A genesis and windows 1 to `last`, with a checkpoint after each of the given windows."""
    first = at.leader.genesis()
    at.leader.publish(first)
    made = {0: at.leader.saved[first.proposal.checkpoint.digest]}
    for window in range(1, last + 1):
        at.leader.publish(at.leader.close(window))
        if window in checkpoints:
            made[window] = at.leader.checkpoint()
            at.leader.put_checkpoint(made[window])
    await at.reach(last)
    return made


def loaded(at: Scene) -> list[int]:
    return [fields["checkpoint"] for fields in at.follower.told.of("loaded")]


async def test_a_fresh_node_takes_the_newest_checkpoint_and_the_updates_since(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await history(at, 6, (2, 4))
        # Nothing of what came before is needed.
        for key in at.leader_bucket.listed():
            if int(key.split("/")[1]) < 4:
                at.leader_bucket.delete(key)
        assert await at.after(6) is None
        assert at.state.position == at.leader.state.position
        for mine, theirs in (
            (at.state.theta, at.leader.state.theta),
            (at.state.m, at.leader.state.m),
            (at.state.v, at.leader.state.v),
        ):
            assert (mine == theirs).all()
        assert all(
            (a == b).all() for a, b in zip(at.state.counts, at.leader.state.counts, strict=True)
        )
        assert loaded(at) == [4]
        assert at.windows("applied") == [5, 6]
        assert not (at.follower.node.folder / "download").exists()
        # And it goes on from there like everybody else.
        at.leader.publish(at.leader.close(7))
        assert await at.after(7) is None
        assert at.state.position == at.leader.state.position


async def test_the_newest_checkpoint_right_at_the_tips_parent_needs_one_update(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await history(at, 5, (4,))
        assert await at.after(5) is None
        assert (loaded(at), at.windows("applied")) == ([4], [5])
        assert at.state.position == at.leader.state.position


def damage(bucket: Bucket, saved: Saved, what: str) -> None:
    key = saved.descriptor_key if what == "descriptor" else saved.shard_keys[0]
    whole = saved.objects[key]
    if what == "gone":
        bucket.delete(key)
    else:
        bucket.put(key, whole[:-1] if what == "cut" else flip(whole, -1))


@pytest.mark.parametrize("what", ["shard", "cut", "gone", "descriptor"])
async def test_a_damaged_checkpoint_is_taken_from_the_next_holder(
    s3: str, tmp_path: Path, what: str
) -> None:
    async with scene(s3, tmp_path, OTHERS) as at:
        made = await history(at, 5, (2, 4))
        damage(at.leader_bucket, made[4], what)
        at.leader.put_checkpoint(made[4], at.buckets["third"])
        assert await at.after(5) is None
        assert at.state.position == at.leader.state.position
        assert (loaded(at), at.windows("applied")) == ([4], [5])
        told = {(e["holder"], e["reason"]) for e in at.follower.told.of("refused")}
        reasons = {"shard": {"bad_digest"}, "cut": {"wrong_size"}}
        assert told == {(at.leader.keys.hotkey, r) for r in reasons.get(what, ())}


@pytest.mark.parametrize(
    ("damaged", "start"), [({4: "shard"}, 2), ({4: "descriptor"}, 2), ({4: "gone", 2: "cut"}, 0)]
)
async def test_a_checkpoint_that_nobody_has_whole_makes_way_for_the_one_before(
    s3: str, tmp_path: Path, damaged: dict[int, str], start: int
) -> None:
    async with scene(s3, tmp_path, OTHERS) as at:
        made = await history(at, 5, (2, 4))
        for window, what in damaged.items():
            at.leader.put_checkpoint(made[window], at.buckets["second"])
            for bucket in (at.leader_bucket, at.buckets["second"]):
                damage(bucket, made[window], what)
        assert await at.after(5) is None
        assert at.state.position == at.leader.state.position
        assert (at.state.v == at.leader.state.v).all()
        assert loaded(at) == [start]
        assert at.windows("applied") == list(range(start + 1, 6))


async def test_without_any_checkpoint_a_node_says_what_is_missing(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        made = await history(at, 3, (2,))
        for window in (0, 2):
            damage(at.leader_bucket, made[window], "shard")
        assert await at.after(3) == "a checkpoint of run run-1 that can be read"
        assert at.state.position.head == ""
        at.leader.put_checkpoint(made[2])
        assert await at.after(3) is None
        assert at.state.position == at.leader.state.position


async def test_a_checkpoint_of_another_state_than_its_manifests_is_not_loaded(
    s3: str, tmp_path: Path
) -> None:
    """Even if a majority has named it: what it holds is the state of another window."""
    async with scene(s3, tmp_path) as at:
        made = await history(at, 1, (1,))
        other = replace(made[1].descriptor, window=2)
        lie = CheckpointName(2, other.digest)
        at.leader.publish(at.leader.close(2))
        at.leader.bucket.put(Saved(other, made[1].shards).descriptor_key, other.encode())
        at.leader.publish(at.leader.close(3, checkpoint=lie))
        assert await at.after(3) is None
        assert at.state.position == at.leader.state.position
        assert loaded(at) == [1]


async def returning(at: Scene, away: int) -> tuple[list[int], list[int]]:
    """A node that holds window 1 and was away for so many: (checkpoints, updates) it took."""
    await at.begin()
    at.leader.publish(at.leader.close(1))
    assert await at.after(1) is None
    before = len(at.windows("applied"))
    last = 1 + away
    for window in range(2, last + 1):
        at.leader.publish(at.leader.close(window))
        if window == last - 1:
            at.leader.put_checkpoint(at.leader.checkpoint())
    assert await at.after(last) is None
    assert at.state.position == at.leader.state.position
    return loaded(at)[1:], at.windows("applied")[before:]


async def test_updates_are_cheaper_than_a_checkpoint_for_who_was_away_shortly(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        checkpoints, updates = await returning(at, 5)
        assert checkpoints == []
        assert updates == [2, 3, 4, 5, 6]
        assert at.windows("abandoned") == []


async def test_a_checkpoint_is_cheaper_for_who_was_away_for_long(s3: str, tmp_path: Path) -> None:
    """θ, m and v are 12 bytes per parameter, an update of every second one in bf16 is 1."""
    async with scene(s3, tmp_path) as at:
        checkpoints, updates = await returning(at, 15)
        assert (checkpoints, updates) == ([15], [16])
        assert at.windows("abandoned") == [1]
        # A long way back does not forget the tip that the next window stands on.
        assert at.follower.node.manifests[at.state.position.head].name.window == 16


async def test_a_way_with_a_gap_that_nobody_can_fill_is_no_way(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        gone = at.leader.close(1)
        at.leader.publish(gone, withhold=["manifest"])
        tip = at.leader.close(2)
        at.leader.publish(tip)
        missing = str(await at.after(2))
        assert missing.startswith("the manifest of window 1: absent")
        sight = await tip_at(at.follower.node, 2)
        assert sight.tip is not None
        assert isinstance(await route_to(at.follower.node, sight.tip), str)
        # But a checkpoint after the gap will do.
        at.leader.put_checkpoint(at.leader.checkpoint())
        at.leader.publish(at.leader.close(3))
        assert await at.after(3) is None
        assert at.state.position == at.leader.state.position
        assert loaded(at) == [0, 2]
        assert (at.windows("dropped"), at.windows("abandoned")) == ([0], [])


async def test_two_fresh_nodes_by_different_ways_hold_the_same_model(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        made = await history(at, 5, (2, 4))
        assert await at.after(5) is None
        for window in (2, 4):
            damage(at.leader_bucket, made[window], "shard")
        late = at.script.register("late")
        assert late == Keys("late").hotkey
        async with running(at.script, "late", reading_store(s3), tmp_path / "late") as other:
            await other.node.blocks.until(CLOCK.decide(5))
            assert await follow(other.node, 5) is None
            assert [e["window"] for e in other.told.of("applied")] == [1, 2, 3, 4, 5]
            assert other.state.position == at.state.position
            for mine, theirs in zip(other.state.counts, at.state.counts, strict=True):
                assert (mine == theirs).all()
            assert (other.state.theta == at.state.theta).all()
            assert (other.state.m == at.state.m).all()


async def test_who_fails_with_a_shard_is_asked_last_for_the_next(s3: str, tmp_path: Path) -> None:
    """A bucket that answers nothing would else cost a fresh node its limit once per shard."""
    async with scene(s3, tmp_path, OTHERS) as at:
        await history(at, 2, ())
        state, folder = at.leader.state, tmp_path / "parts"
        descriptor = checkpoint.write(state, RUN, folder, shard_bytes=state.theta.nbytes // 2)
        assert len(descriptor.shards) > 2
        for shard in descriptor.shards:
            key = shard_key(RUN, descriptor.window, shard.sha256)
            whole = (folder / shard_name(shard)).read_bytes()
            at.leader_bucket.put(key, flip(whole, -1))
            at.buckets["third"].put(key, whole)
        tip = (await tip_at(at.follower.node, 2)).tip
        assert tip is not None
        start = Start(descriptor, Link(tip.manifest, tip.name.digest))
        assert await load_checkpoint(at.follower.node, tip, start) is None
        assert at.state.position == state.position
        told = [event["holder"] for event in at.follower.told.of("refused")]
        assert told == [at.leader.keys.hotkey]


async def test_who_holds_the_least_stake_is_asked_last(s3: str, tmp_path: Path) -> None:
    names = sorted(("second", "third", "fourth"), key=lambda name: Keys(name).hotkey)
    stakes = {name: 1.0 + place for place, name in enumerate(names)}
    async with scene(s3, tmp_path, stakes) as at:
        await history(at, 1, ())
        tip = (await tip_at(at.follower.node, 1)).tip
        assert tip is not None
        asked = [holder.hotkey for holder in tip.holders]
        assert asked == [Keys(name).hotkey for name in ("leader", *reversed(names))]
