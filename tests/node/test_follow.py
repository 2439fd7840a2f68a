"""Following the chain: what it ordered is applied, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from node_kit import (
    CLOCK,
    DEADLINE_S,
    RUN,
    Bucket,
    Keys,
    Running,
    Script,
    announce,
    reading_store,
    running,
)
from scripted_leader import Closing, Leader

from boltzmann.errors import Divergence
from boltzmann.node import follow as follow_module
from boltzmann.node.follow import follow, join_window, tip_at
from boltzmann.node.objects import manifest_key, update_key
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.manifest import Manifest, open_manifest
from boltzmann.train.state import ModelState


class Scene:
    """A leader, a follower, and the chain between them."""

    def __init__(self, script: Script, leader: Leader, follower: Running, folder: Path) -> None:
        self.script = script
        self.leader = leader
        self.follower = follower
        self.folder = folder

    @property
    def state(self) -> ModelState:
        return self.follower.state

    async def begin(self) -> Closing:
        """The run's genesis in window 0, which the follower holds."""
        first = self.leader.genesis()
        self.leader.publish(first)
        assert await self.after(0) is None
        return first

    async def after(self, window: int) -> str | None:
        """What `follow` says once the chain has decided `window`."""
        await self.script.advance(max(self.script.height, CLOCK.decide(window)))
        await self.follower.node.blocks.until(CLOCK.decide(window))
        return await follow(self.follower.node, window)

    def stands_at(self, closing: Closing) -> bool:
        at = self.state.position
        return (at.head, at.window, at.root) == (closing.digest, closing.window, closing.root)


@asynccontextmanager
async def scene(s3: str, folder: Path) -> AsyncIterator[Scene]:
    script = Script()
    script.register("leader", stake=10.0)
    script.register("follower")
    leader = Leader(script, "leader", Bucket(s3, "leader"), folder / "leader")
    async with running(script, "follower", reading_store(s3), folder / "follower") as follower:
        yield Scene(script, leader, follower, folder)


async def test_a_late_node_catches_up_to_the_same_root(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        for closing in (at.leader.genesis(), *map(at.leader.close, (1, 2, 4))):
            at.leader.publish(closing)
        assert await at.after(5) is None
        assert at.state.position == at.leader.state.position
        assert (at.state.theta == at.leader.state.theta).all()
        applied = [event["window"] for event in at.follower.told.of("applied")]
        assert applied == [1, 2, 4]
        assert await at.after(5) is None
        assert len(at.follower.told.of("applied")) == 3


async def test_before_genesis_there_is_nothing_to_follow(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        assert await at.after(0) == "the first validator's genesis on chain"
        assert await tip_at(at.follower.node, -1) is None
        assert at.state.position.head == ""


async def test_a_manifest_that_came_too_late_leaves_its_window_empty(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        late = at.leader.close(1)
        at.leader.publish(late, at=CLOCK.decide(1) + 1)
        assert await at.after(1) is None
        assert await at.after(2) is None  # its record still stands when window 2 is decided
        assert at.stands_at(first)
        at.leader.state.undo()
        second = at.leader.close(3)
        at.leader.publish(second)
        assert await at.after(3) is None
        assert at.stands_at(second)


async def test_a_manifest_of_a_window_to_come_closes_none_before_it(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        early = at.leader.close(3)
        at.leader.publish(early, at=CLOCK.decide(1))
        # Whoever commits it overwrites the record of window 0, so nothing is ordered until then.
        assert await tip_at(at.follower.node, 0) is not None
        assert await at.after(3) is None
        assert at.stands_at(early)


@pytest.mark.parametrize("to_replace", [False, True])
async def test_an_update_that_did_not_get_on_chain_is_taken_back(
    s3: str, tmp_path: Path, to_replace: bool
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        tentative = at.leader.close(1, label="tentative")
        at.leader.publish(tentative, at=CLOCK.decide(1))
        assert await at.after(1) is None
        assert at.stands_at(tentative)
        at.leader.state.undo()
        at.script.records = [r for r in at.script.records if r[0] < CLOCK.decide(1)]
        agreed = at.leader.close(2, label="agreed")
        if to_replace:
            at.leader.publish(agreed)
        assert await at.after(2) is None
        assert at.stands_at(agreed if to_replace else first)
        assert [event["window"] for event in at.follower.told.of("undone")] == [1]


async def test_a_state_of_another_history_is_rebuilt_from_genesis(s3: str, tmp_path: Path) -> None:
    """As after a restart: the log is gone, and the saved state was never ordered."""
    async with scene(s3, tmp_path) as at:
        first = at.leader.genesis()
        at.leader.publish(first)
        other = Leader(at.script, "leader", at.leader.bucket, tmp_path / "other")
        other.genesis()
        other.close(1, label="not ordered")
        at.state.theta[:] = other.state.theta
        at.state.position = other.state.position
        agreed = at.leader.close(1)
        at.leader.publish(agreed)
        assert await at.after(1) is None
        assert at.stands_at(agreed)
        assert (at.state.theta == at.leader.state.theta).all()
        assert len(at.follower.told.of("undone")) == 1


def flip(data: bytes, place: int) -> bytes:
    damaged = bytearray(data)
    damaged[place] ^= 1
    return bytes(damaged)


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (lambda update: flip(update, -1), "bad_digest"),
        (lambda update: flip(update, 200), "bad_"),
        (lambda update: update[:-2], "wrong_size"),
        (lambda update: b"", "wrong_size"),
        (lambda update: b"XXXX" + update[4:], "bad_magic"),
    ],
)
async def test_a_tampered_update_is_not_applied(
    s3: str, tmp_path: Path, tamper: object, reason: str
) -> None:
    assert callable(tamper)
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        closing = at.leader.close(1)
        at.leader.publish(closing, update=tamper(closing.update))
        before = at.state.theta.copy()
        with pytest.raises(Divergence, match=reason):
            await at.after(1)
        assert at.stands_at(first)
        assert (at.state.theta == before).all()


async def test_an_update_by_another_hotkey_is_not_applied(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        stranger = Leader(at.script, "stranger", at.leader.bucket, tmp_path / "stranger")
        stranger.genesis()
        theirs, ours = stranger.close(1), at.leader.close(1)
        at.leader.publish(ours, update=theirs.update)
        with pytest.raises(Divergence, match="wrong_hotkey"):
            await at.after(1)


async def test_an_update_that_is_too_large_is_waited_out_and_not_read(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        closing = at.leader.close(1)
        at.leader.publish(closing, update=closing.update + b"more")
        missing = await at.after(1)
        assert missing is not None
        assert "the update of window 1" in missing
        assert "wrong_size" in missing
        assert at.stands_at(first)


async def test_an_update_that_leads_elsewhere_is_taken_back(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        at.leader.publish(at.leader.close(1, root=bytes(32)))
        before = at.state.theta.copy()
        with pytest.raises(Divergence, match=r"gives this node the root .* the state was put back"):
            await at.after(1)
        assert at.stands_at(first)
        assert (at.state.theta == before).all()


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        ("flipped", "bad_digest"),
        ("junk", "bad_digest"),
        ("signed by another", "bad_signature"),
        ("of another window", "wrong_window"),
    ],
)
async def test_a_tampered_manifest_is_waited_out_and_not_applied(
    s3: str, tmp_path: Path, tamper: str, reason: str
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        closing = at.leader.close(1)
        opened = open_manifest(
            closing.manifest, RUN, 1, at.leader.keys.hotkey, at.follower.node.verify
        )
        assert isinstance(opened, Manifest)
        stranger, hotkey = Keys("stranger"), at.leader.keys.hotkey
        bad = {
            "flipped": flip(closing.manifest, 300),
            "junk": b"\x00" * 100,
            "signed by another": opened.seal(hotkey, stranger.sign),
            "of another window": replace(opened, window=2).seal(hotkey, at.leader.keys.sign),
        }[tamper]
        # Where the digest is not what gives it away, the tampered one is what was ordered.
        ordered = closing if reason == "bad_digest" else replace(closing, manifest=bad)
        at.leader.publish(ordered, manifest=bad)
        missing = await at.after(1)
        assert missing is not None
        assert missing.startswith(f"the manifest of window 1 from {at.leader.bucket.address}: ")
        assert reason in missing
        assert at.stands_at(first)


async def test_what_is_not_there_yet_is_applied_when_it_comes(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        closing, bucket = at.leader.close(1), at.leader.bucket
        at.leader.order(closing)
        assert "the manifest of window 1" in str(await at.after(1))
        bucket.put(manifest_key(RUN, 1), closing.manifest)
        assert "the update of window 1" in str(await at.after(1))
        bucket.put(update_key(RUN, 1), closing.update)
        assert await at.after(1) is None
        assert at.stands_at(closing)


async def test_what_the_chain_has_ordered_cannot_be_taken_back(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        kept = at.leader.close(1)
        at.leader.publish(kept)
        assert await at.after(1) is None
        at.leader.state.undo()
        at.leader.publish(at.leader.close(2))  # on top of the genesis, as if window 1 were empty
        with pytest.raises(Divergence, match=r"window 2 by .* does not stand on window 1"):
            await at.after(2)
        assert at.stands_at(kept)
        assert at.follower.told.of("undone") == []


# The run's beginning


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
