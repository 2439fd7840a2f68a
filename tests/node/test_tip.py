"""Which manifest counts: in time, certified, first in the leaders' order, and readable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from follow_scene import Scene, leaders, scene
from node_kit import CLOCK, CONFIG, RUN, Bucket, announce, reading_store, running
from scripted_chain import Keys
from scripted_leader import Closing, Leader

from boltzmann.node.councils import Councils
from boltzmann.node.follow import follow
from boltzmann.node.manifests import Manifests
from boltzmann.node.node import Node
from boltzmann.node.tip import tip_at
from boltzmann.protocol.ballots import Objection
from boltzmann.protocol.commitment import Commitment, Role

ALL = ("leader", "second", "third")


@dataclass(frozen=True)
class Rivals:
    """Three validators of equal stake, each of which leads from the one genesis on."""

    at: Scene
    first: Closing
    leaders: Mapping[str, Leader]
    order: list[str]  # of window 1

    async def winner(self, window: int = 1) -> str:
        """The name of the leader whose manifest counts after `window`."""
        await self.at.reach(window)
        sight = await tip_at(reading_anew(self.at.follower.node), window)
        assert sight.tip is not None
        names = {Keys(name).hotkey: name for name in ALL}
        return f"{names[sight.tip.name.leader]} {sight.tip.name.window}"


def reading_anew(node: Node) -> Node:
    """These tests write a block's records after it was read, which no chain does."""
    return replace(node, councils=Councils(node.chain, node.run))


@asynccontextmanager
async def rivals(s3: str, folder: Path) -> AsyncIterator[Rivals]:
    async with scene(s3, folder, {"second": 10.0, "third": 10.0}) as at:
        # Of equal stakes the greatest hotkey begins the run.
        beginner = max(ALL, key=lambda name: Keys(name).hotkey)
        made = {"leader": at.leader, "second": at.second("second"), "third": at.second("third")}
        first = made[beginner].genesis()
        made[beginner].publish(first)
        for name, leader in made.items():
            leader.voters = ALL[:2]
            if name != beginner:
                leader.genesis()
                leader.state.confirm(first.digest)
                leader.stand_on(first)
        order = await leaders(at, 1)
        at.script.records = [r for r in at.script.records if r[0] <= CLOCK.decide(0)]
        yield Rivals(at, first, made, order)


async def test_the_first_certified_in_the_leaders_order_wins(s3: str, tmp_path: Path) -> None:
    async with rivals(s3, tmp_path) as of:
        for name in reversed(of.order):
            of.leaders[name].publish(of.leaders[name].close(1, label=name))
            assert await of.winner() == f"{name} 1"


LIES = {
    "no ballots": ((), {}),
    "too few ballots": (ALL[:1], {}),
    "ballots of strangers": (("leader", "anna", "bert", "carl"), {}),
    "voted down": (ALL[:1], dict.fromkeys(ALL[1:], Objection.UPDATE)),
}


@pytest.mark.parametrize("lie", [*LIES, "withheld", "late"])
async def test_what_does_not_count_makes_way_for_the_next_in_order(
    s3: str, tmp_path: Path, lie: str
) -> None:
    async with rivals(s3, tmp_path) as of:
        liar, honest = (of.leaders[name] for name in of.order[:2])
        voters, against = LIES.get(lie, (ALL, {}))
        closing = liar.close(1, label="a lie", voters=voters, against=against)
        liar.publish(
            closing,
            withhold=["manifest"] if lie == "withheld" else (),
            at=CLOCK.decide(1) + (lie == "late"),
        )
        beginner = max(ALL, key=lambda name: Keys(name).hotkey)
        assert await of.winner() == f"{beginner} 0"  # alone: the window before
        honest.publish(honest.close(1))
        assert await of.winner() == f"{of.order[1]} 1"
        sight = await tip_at(reading_anew(of.at.follower.node), 1)
        assert (sight.withheld != "") == (lie == "withheld")


async def test_the_proposers_own_ballot_counts_as_the_run_says(s3: str, tmp_path: Path) -> None:
    apart = replace(CONFIG, agreement=replace(CONFIG.agreement, proposer_counts=False))
    async with rivals(s3, tmp_path) as of:
        leader, other = of.leaders[of.order[0]], of.order[1]
        leader.publish(leader.close(1, voters=(of.order[0], other)))
        assert await of.winner() == f"{of.order[0]} 1"
        # Of the two others both are needed.
        script, store = of.at.script, reading_store(s3)
        async with running(script, "strict", store, tmp_path / "strict", apart) as strict:
            sight = await tip_at(strict.node, 1)
            assert sight.tip is not None
            assert sight.tip.name == of.first.name
            leader.state.undo()
            leader.publish(leader.close(1, label="both", voters=of.order[1:]))
            sight = await tip_at(reading_anew(strict.node), 1)
            assert sight.tip is not None
            assert sight.tip.name.window == 1


async def test_a_record_that_names_a_window_to_come_is_ignored_until_then(
    s3: str, tmp_path: Path
) -> None:
    async with rivals(s3, tmp_path) as of:
        early, timely = (of.leaders[name] for name in of.order[:2])
        early.publish(early.close(3), at=CLOCK.decide(1))
        timely.publish(timely.close(1))
        assert await of.winner(1) == f"{of.order[1]} 1"
        assert await of.winner(2) == f"{of.order[1]} 1"
        assert await of.winner(3) == f"{of.order[0]} 3"


async def test_who_holds_a_record_without_stake_at_the_closing_block_leads_nothing(
    s3: str, tmp_path: Path
) -> None:
    """It came too late for the council of the window, though it is first by stake afterwards."""
    async with rivals(s3, tmp_path) as of:
        of.at.script.register("late", stake=99.0)
        late = Leader(of.at.script, "late", of.at.leader.bucket, tmp_path / "late", ALL)
        late.genesis()
        late.state.confirm(of.first.digest)
        late.stand_on(of.first)
        late.publish(late.close(1))
        announce(of.at.script, "late", Role.VALIDATOR, late.bucket.address, CLOCK.decide(1) - 1)
        beginner = max(ALL, key=lambda name: Keys(name).hotkey)
        assert await of.winner(1) == f"{beginner} 0"


async def test_only_the_validator_with_the_most_stake_begins_a_run(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path, {"second": 3.0}) as at:
        second = at.second("second")
        second.publish(second.genesis())
        await at.reach(0)
        assert (await tip_at(at.follower.node, 0)).tip is None
        first = at.leader.genesis(1)
        at.leader.publish(first)
        await at.reach(1)
        tip = (await tip_at(at.follower.node, 1)).tip
        assert tip is not None
        assert tip.name == first.name


async def test_a_second_genesis_is_ignored_and_what_stands_on_the_first_goes_on(
    s3: str, tmp_path: Path
) -> None:
    async with rivals(s3, tmp_path) as of:
        beginner = max(ALL, key=lambda name: Keys(name).hotkey)
        other = next(name for name in ALL if name != beginner)
        of.leaders[other].publish(of.leaders[other].close(1))
        of.leaders[beginner].publish(of.leaders[beginner].genesis(2, label="anew"))
        assert await of.winner(2) == f"{other} 1"
        of.leaders[other].publish(of.leaders[other].close(3))
        assert await of.winner(3) == f"{other} 3"


async def test_a_digest_that_names_nothing_is_withheld_only_in_the_newest_window(
    s3: str, tmp_path: Path
) -> None:
    async with rivals(s3, tmp_path) as of:
        liar = of.leaders[of.order[0]]
        record = Commitment(Role.VALIDATOR, RUN, liar.bucket.address, manifest=(1, "ab" * 32))
        of.at.script.commit(liar.keys.hotkey, record, CLOCK.decide(1))
        await of.winner(1)
        assert liar.keys.hotkey in (await tip_at(of.at.follower.node, 1)).withheld
        await of.winner(2)
        assert (await tip_at(of.at.follower.node, 2)).withheld == ""


async def test_who_judges_nothing_goes_by_what_most_validators_show(
    s3: str, tmp_path: Path
) -> None:
    """Three equal stakes, of which two have to show it. A copy of other bytes shows nothing."""
    async with rivals(s3, tmp_path) as of:
        leader, other, third = (of.leaders[name] for name in of.order)
        closing = leader.close(1)
        leader.publish(closing)
        await of.winner()
        node = of.at.follower.node
        third.bucket.put(closing.manifest_key, closing.manifest + b" ")
        sight = await tip_at(node, 1, by_majority=True)
        assert (sight.tip and sight.tip.name) == of.first.name
        assert sight.withheld == (
            f"the manifest of window 1 by {leader.keys.hotkey}: "
            "half the validators' stake or less shows it"
        )
        assert (await tip_at(node, 1)).withheld == ""
        other.bucket.put(closing.manifest_key, closing.manifest)
        sight = await tip_at(node, 1, by_majority=True)
        assert (sight.tip and sight.tip.name, sight.withheld) == (closing.name, "")


async def test_who_judges_nothing_stands_where_it_stood_if_most_fall_silent(
    s3: str, tmp_path: Path
) -> None:
    """Also further back, where windows in between are empty, most have to show what is new."""
    async with rivals(s3, tmp_path) as of:
        leader, other, _ = (of.leaders[name] for name in of.order)
        closing = leader.close(1)
        leader.publish(closing)
        await of.winner(2)
        node = of.at.follower.node
        sight = await tip_at(node, 2, by_majority=True)
        assert (sight.tip and sight.tip.name) == of.first.name
        assert leader.keys.hotkey in sight.withheld
        leader.mirror(closing, of.order[1], other.bucket)
        assert await follow(node, 2, by_majority=True) is None
        assert of.at.stands_at(closing)
        other_bucket = Bucket.of(other.bucket.address)
        other_bucket.delete(closing.manifest_key)
        forgetful = Manifests(node.store, node.verify, RUN, node.fetch_seconds)
        anew = replace(reading_anew(node), manifests=forgetful)
        sight = await tip_at(anew, 2, by_majority=True)
        assert (sight.tip and sight.tip.name, sight.withheld) == (closing.name, "")


async def test_it_is_the_stake_of_today_that_has_to_show_it(s3: str, tmp_path: Path) -> None:
    """Who has come with most of the stake since then has to stand there too."""
    async with rivals(s3, tmp_path) as of:
        leader, other, _ = (of.leaders[name] for name in of.order)
        closing = leader.close(1)
        leader.publish(closing)
        leader.mirror(closing, of.order[1], other.bucket)
        of.at.script.register("rich", stake=40.0)
        bucket = Bucket(s3, "rich")
        announce(of.at.script, "rich", Role.VALIDATOR, bucket.address, CLOCK.decide(1))
        await of.winner(2)
        node = of.at.follower.node
        sight = await tip_at(node, 1, by_majority=True)
        assert (sight.tip and sight.tip.name) == closing.name
        sight = await tip_at(node, 2, by_majority=True)
        assert (sight.tip and sight.tip.name) == of.first.name
        assert leader.keys.hotkey in sight.withheld
        bucket.put(closing.manifest_key, closing.manifest)
        sight = await tip_at(node, 2, by_majority=True)
        assert (sight.tip and sight.tip.name, sight.withheld) == (closing.name, "")
