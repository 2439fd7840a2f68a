"""Following the chain: what it ordered is applied, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from follow_scene import flip, scene
from node_kit import CLOCK, RUN
from scripted_chain import Keys
from scripted_leader import Leader

from boltzmann.errors import Divergence
from boltzmann.node.follow import tip_at
from boltzmann.node.objects import manifest_key, update_key
from boltzmann.protocol.manifest import Manifest, open_manifest


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
