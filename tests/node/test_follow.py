"""Following the chain: what it ordered is applied, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from follow_scene import flip, scene
from node_kit import CLOCK, RUN, announce
from scripted_chain import Keys
from scripted_leader import Closing, Leader

from boltzmann.errors import Divergence
from boltzmann.node.councils import Councils
from boltzmann.node.follow import follow
from boltzmann.node.tip import tip_at
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.manifest import Manifest, open_manifest


async def test_a_late_node_catches_up_to_the_same_root(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        for closing in (at.leader.genesis(), *map(at.leader.close, (1, 2, 4))):
            at.leader.publish(closing)
        assert await at.after(5) is None
        assert at.state.position == at.leader.state.position
        assert (at.state.theta == at.leader.state.theta).all()
        assert at.windows("applied") == [1, 2, 4]
        assert await at.after(5) is None
        assert len(at.follower.told.of("applied")) == 3


async def test_before_genesis_there_is_nothing_to_follow(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        assert await at.after(0) == "the first validator's genesis on chain"
        assert (await tip_at(at.follower.node, -1)).tip is None
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
        # Whoever commits it overwrites the record of window 0, which was decided before.
        assert (await tip_at(at.follower.node, 0)).tip is not None
        assert await at.after(3) is None
        assert at.stands_at(early)


async def test_an_update_that_this_node_tried_out_alone_is_taken_back(
    s3: str, tmp_path: Path
) -> None:
    """As a validator does whose candidate was not agreed upon."""
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        tried = at.leader.close(1, label="tried")
        at.leader.publish(tried)
        assert await at.after(1) is None
        at.state.confirm("")
        at.leader.state.undo()
        at.script.records = [r for r in at.script.records if r[0] < CLOCK.decide(1)]
        node = at.follower.node
        # The record is taken away after its block was read, which no chain does.
        assert await follow(replace(node, councils=Councils(node.chain, node.run)), 1) is None
        assert at.stands_at(first)
        assert at.windows("dropped") == [1]
        assert at.windows("undone") == []


async def test_an_update_that_this_node_tried_out_and_the_chain_ordered_stays(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        agreed = at.leader.close(1)
        at.leader.publish(agreed)
        assert await at.after(1) is None
        at.state.confirm("")
        assert await at.after(1) is None
        assert at.stands_at(agreed)
        # The second time without a byte from anybody.
        assert [fields["bytes_down"] > 0 for fields in at.follower.told.of("applied")] == [
            True,
            False,
        ]


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (lambda update: flip(update, -1), "bad_digest"),
        (lambda update: flip(update, 200), "bad_"),
        (lambda update: update[:-2], "wrong_size"),
        (lambda update: update + b"more", "wrong_size"),
        (lambda update: b"", "wrong_size"),
        (lambda update: b"XXXX" + update[4:], "bad_magic"),
    ],
)
async def test_a_tampered_update_is_waited_out_and_not_applied(
    s3: str, tmp_path: Path, tamper: Callable[[bytes], bytes], reason: str
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        closing = at.leader.close(1)
        at.leader.publish(closing, update=tamper(at.leader.update(closing)))
        before = at.state.theta.copy()
        missing = str(await at.after(1))
        assert missing.startswith("the update of window 1: ")
        told = at.follower.told.of("refused")
        if reason == "wrong_size":  # seen before a byte of it is read
            assert reason in missing
            assert told == []
        else:
            assert [e["reason"].startswith(reason) for e in told] == [True]
            assert told[0]["holder"] == at.leader.keys.hotkey
        assert at.stands_at(first)
        assert (at.state.theta == before).all()
        at.leader_bucket.put(closing.update_key, at.leader.update(closing))
        assert await at.after(1) is None
        assert at.stands_at(closing)


async def test_an_update_by_another_hotkey_is_not_applied(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        ours = at.leader.close(1)
        at.leader.publish(ours, update=at.leader.update(ours, "stranger"))
        assert await at.after(1) is not None
        assert [e["reason"] for e in at.follower.told.of("refused")] == ["wrong_hotkey"]
        assert at.stands_at(first)


async def test_another_update_than_the_manifest_names_is_not_applied(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        other = at.leader.close(1, label="other")
        at.leader.state.undo()
        ours = at.leader.close(1)
        at.leader.publish(ours, update=at.leader.update(other))
        assert await at.after(1) is not None
        assert [e["reason"] for e in at.follower.told.of("refused")] == ["bad_digest"]
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


def tampered(closing: Closing, leader: Leader, how: str) -> bytes:
    if how == "flipped":
        return flip(closing.manifest, 300)
    if how == "junk":
        return b"\x00" * 100
    opened = open_manifest(closing.manifest, RUN, 1, leader.keys.hotkey, lambda *_: True)
    assert isinstance(opened, Manifest)
    if how == "signed by another":
        return opened.seal(Keys("stranger").sign)
    moved = Manifest(replace(opened.proposal, window=2), opened.ballots, opened.documents)
    return moved.seal(leader.keys.sign)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("flipped", "bad_digest"),
        ("junk", "bad_digest"),
        ("signed by another", "bad_signature"),
        ("of another window", "wrong_window"),
    ],
)
async def test_a_tampered_manifest_is_waited_out_and_then_counts_for_nothing(
    s3: str, tmp_path: Path, how: str, reason: str
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        closing = at.leader.close(1)
        bad = tampered(closing, at.leader, how)
        # Where the digest is not what gives it away, the tampered one is what was ordered.
        ordered = closing if reason == "bad_digest" else replace(closing, manifest=bad)
        at.leader.publish(ordered, manifest=bad)
        missing = await at.after(1, patient=True)
        assert missing is not None
        assert missing.startswith(
            f"the manifest of window 1 by {at.leader.keys.hotkey}: {reason} ("
        )
        assert f"in {at.leader.bucket.address}" in missing
        assert at.stands_at(first)
        assert await at.after(1) is None
        assert at.stands_at(first)
        assert at.windows("withheld") == [1]


async def test_what_is_not_there_yet_is_applied_when_it_comes(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        closing, bucket = at.leader.close(1), at.leader.bucket
        at.leader.order(closing)
        assert "the manifest of window 1" in str(await at.after(1, patient=True))
        bucket.put(closing.manifest_key, closing.manifest)
        assert "the update of window 1" in str(await at.after(1, patient=True))
        bucket.put(closing.update_key, at.leader.update(closing))
        assert await at.after(1, patient=True) is None
        assert at.stands_at(closing)


async def test_damage_at_the_leaders_bucket_is_mended_by_a_mirrors_copy(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path, {"second": 3.0, "third": 2.0}) as at:
        await at.begin()
        closing = at.leader.close(1)
        at.leader.publish(closing, update=flip(at.leader.update(closing), -1))
        # Another's copy under another's seal is no copy either.
        at.buckets["second"].put(closing.update_key, at.leader.update(closing, "third"))
        at.leader.mirror(closing, "third", at.buckets["third"])
        assert await at.after(1) is None
        assert at.stands_at(closing)
        told = {(e["holder"], e["reason"]) for e in at.follower.told.of("refused")}
        assert told <= {
            (at.leader.keys.hotkey, "bad_digest"),
            (Keys("second").hotkey, "wrong_hotkey"),
        }
        assert (at.leader.keys.hotkey, "bad_digest") in told


async def test_an_update_that_nobody_has_is_named_and_not_skipped(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path, {"second": 3.0}) as at:
        first = await at.begin()
        lost, later = at.leader.close(1), at.leader.close(2)
        at.leader.publish(lost, withhold=["update"])
        at.leader.publish(later)
        for _ in range(2):
            missing = str(await at.after(2))
            assert missing.startswith("the update of window 1: absent")
            assert at.stands_at(first)
        at.leader.mirror(lost, "second", at.buckets["second"])
        assert await at.after(2) is None
        assert at.stands_at(later)
        assert at.windows("applied") == [1, 2]


# Orders that change


async def test_a_withheld_manifest_leaves_its_window_empty_after_some_patience(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        at.leader.publish(at.leader.close(1), withhold=["manifest"])
        assert str(await at.after(1, patient=True)).startswith("the manifest of window 1 by ")
        assert at.windows("withheld") == []
        assert await at.after(1) is None
        assert at.stands_at(first)
        assert at.windows("withheld") == [1]
        assert at.leader.keys.hotkey in at.follower.told.of("withheld")[0]["detail"]
        # When window 2 is decided, nobody waits for it any more.
        assert await at.after(2, patient=True) is None
        assert at.stands_at(first)


async def test_who_could_read_nothing_for_a_while_comes_back_without_a_restart(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        unread = at.leader.close(1)
        at.leader.publish(unread, withhold=["manifest"])
        for window in (1, 2, 3):
            assert await at.after(window) is None
            assert at.stands_at(first)
        at.leader_bucket.put(unread.manifest_key, unread.manifest)
        # Nobody orders anything meanwhile: half the stake may stand at the one, half at the other.
        assert await at.after(5) is None
        assert at.stands_at(unread)


async def test_what_stands_on_a_withheld_manifest_brings_it_from_a_mirror(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path, {"second": 3.0}) as at:
        first = await at.begin()
        withheld = at.leader.close(1)
        at.leader.publish(withheld, withhold=["manifest", "update"])
        assert await at.after(1) is None
        assert at.stands_at(first)
        later = at.leader.close(2)
        at.leader.publish(later)
        at.leader.mirror(withheld, "second", at.buckets["second"])
        assert await at.after(2) is None
        assert at.stands_at(later)
        assert at.windows("applied") == [1, 2]
        assert at.windows("undone") == []


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_majority_that_skips_a_window_is_followed(
    s3: str, tmp_path: Path, depth: int
) -> None:
    async with scene(s3, tmp_path) as at:
        await at.begin()
        skipped = [at.leader.close(window, label="skipped") for window in range(1, depth + 1)]
        for closing in skipped:
            at.leader.publish(closing)
            assert await at.after(closing.window) is None
        assert at.stands_at(skipped[-1])
        for _ in skipped:
            at.leader.state.undo()
        agreed = [at.leader.close(window, label="agreed") for window in (depth + 1, depth + 2)]
        at.leader.publish(agreed[0], withhold=["manifest"])
        assert await at.after(depth + 1) is None
        at.leader.bucket.put(agreed[0].manifest_key, agreed[0].manifest)
        at.leader.publish(agreed[1])
        assert await at.after(depth + 2) is None
        assert at.stands_at(agreed[1])
        assert (at.state.theta == at.leader.state.theta).all()
        assert at.windows("undone") == list(range(depth, 0, -1))
        assert at.windows("abandoned") == at.windows("loaded")[1:] == []


async def test_an_order_that_changed_deeper_than_the_log_is_followed_by_way_of_a_checkpoint(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        first = await at.begin()
        for window in (1, 2, 3, 4):
            at.leader.publish(at.leader.close(window, label="skipped"))
            assert await at.after(window) is None
        other = Leader(at.script, "leader", at.leader.bucket, tmp_path / "other")
        assert other.genesis().root == first.root
        other.state.confirm(first.digest)
        other.stand_on(first)
        agreed = other.close(5, label="agreed")
        other.publish(agreed)
        assert await at.after(5) is None
        assert at.stands_at(agreed)
        assert (at.state.theta == other.state.theta).all()
        assert (at.state.m == other.state.m).all()
        assert at.windows("undone") == []
        assert at.windows("abandoned") == [4]
        assert [e["checkpoint"] for e in at.follower.told.of("loaded")] == [0, 0]
        assert at.windows("applied") == [1, 2, 3, 4, 5]


async def test_a_record_that_is_overwritten_later_keeps_what_it_had_decided(
    s3: str, tmp_path: Path
) -> None:
    """Else a leader could take its window back from everybody."""
    async with scene(s3, tmp_path) as at:
        await at.begin()
        closed = at.leader.close(1)
        at.leader.publish(closed)
        assert await at.after(1) is None
        announce(at.script, "leader", Role.VALIDATOR, at.leader.bucket.address, CLOCK.decide(2))
        assert await at.after(2) is None
        assert await at.after(3) is None
        assert at.stands_at(closed)
        assert at.windows("undone") == []
