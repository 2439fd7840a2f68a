"""Three validators agree on a window: one manifest, one root, whoever is away or lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from agree_scene import STAKES, Council, council
from node_kit import CLOCK, CONFIG, RUN, Bucket, announce, reading_store, running
from scripted_chain import Keys

from boltzmann.config import RunConfig
from boltzmann.node.checkpoints import folder_of
from boltzmann.node.follow import follow
from boltzmann.node.objects import proposal_key, receipt_key
from boltzmann.node.tip import tip_at
from boltzmann.node.vote import mirror_manifests
from boltzmann.protocol.admission import admit
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import CheckpointName, Proposal
from boltzmann.protocol.receipts import Receipt, open_receipt
from boltzmann.protocol.rejection import Rejection
from boltzmann.train import checkpoint


def with_rules(config: RunConfig = CONFIG, **rules: object) -> RunConfig:
    return replace(config, agreement=replace(config.agreement, **rules))  # type: ignore[arg-type]


async def test_honest_validators_make_one_manifest_and_hold_copies_of_it(
    s3: str, tmp_path: Path
) -> None:
    async with council(s3, tmp_path) as of:
        await of.honest()
        desks = await of.concluded(of.agreeing())
        await of.follow()
        assert not of.unchanged
        first = of.order[0]
        assert of.objections(first) == dict.fromkeys(STAKES, "")
        held = of.nodes["ada"].node.manifests[of.nodes["ada"].state.position.head]
        assert held.name.leader == Keys(first).hotkey
        assert len(held.manifest.ballots) >= 2
        assert all(ballot.approves for ballot in held.manifest.ballots.values())
        assert of.accepted("ada") == sorted(of.buckets, key=lambda name: Keys(name).hotkey)
        # Nobody had to fetch what it had computed itself.
        assert {e["bytes_down"] for n in STAKES for e in of.told(n, "applied")} == {0}
        assert all(desk.loss_before is not None for desk in desks.values())
        assert [desk.obstacle for desk in desks.values()] == [""] * len(desks)
        for name in STAKES:
            await mirror_manifests(of.nodes[name].node, 2)
        update = held.manifest.proposal.update
        assert {frozenset(of.keys(name, "manifest/")) for name in STAKES} == {
            frozenset({f"{RUN}/1/manifest/{held.name.digest}"})
        }
        assert {frozenset(of.keys(name, "update/")) for name in STAKES} == {
            frozenset({f"{RUN}/1/update/{update}"})
        }


async def test_any_copy_serves_who_only_follows(s3: str, tmp_path: Path) -> None:
    async with council(s3, tmp_path) as of:
        await of.honest()
        await of.concluded(of.agreeing())
        await of.follow()
        for name in STAKES:
            await mirror_manifests(of.nodes[name].node, 2)
        # The leader's and one more validator's copies are lost.
        for name in of.order[:2]:
            bucket = Bucket.of(of.nodes[name].node.store.address)
            for key in of.keys(name, ""):
                bucket.delete(key)
        async with running(of.script, "late", reading_store(s3), tmp_path / "late") as late:
            assert await follow(late.node, 1) is None
            assert late.state.position == of.nodes["ada"].state.position


async def test_a_leader_that_never_shows_up_is_replaced_at_the_next_ones_turn(
    s3: str, tmp_path: Path
) -> None:
    async with council(s3, tmp_path) as of:
        here = of.order[1:]
        await of.honest(here)
        tasks = of.agreeing(here)
        await of.reach(CLOCK.turn(1, 1))
        await of.concluded(tasks)
        assert [len(of.told(name, "proposed")) for name in of.order] == [0, 1, 0]
        assert of.objections(of.order[1]) == dict.fromkeys(here, "")
        await of.follow(here)
        # Who was away fetches the update, and comes to the same root.
        await of.follow()
        (applied,) = of.told(of.order[0], "applied")
        assert applied["bytes_down"] != 0
        # It shows where it stands, too, though it holds no copy of the update.
        node = of.nodes[of.order[0]].node
        await mirror_manifests(node, 2)
        assert of.keys(of.order[0], "manifest/") == {
            f"{RUN}/1/manifest/{node.worker.state.position.head}"
        }
        assert not of.keys(of.order[0], "update/")


async def test_a_validator_that_is_alone_says_that_it_lacks_receipts(
    s3: str, tmp_path: Path
) -> None:
    async with council(s3, tmp_path) as of:
        alone = of.order[:1]
        await of.honest(alone)
        desks = await of.decided(of.agreeing(alone))
        assert "of 3 witnesses" in desks[alone[0]].obstacle
        assert desks[alone[0]].obstacle.startswith("receipts of only")


async def read_receipts(of: Council, names: list[str]) -> dict[str, tuple[Receipt, str]]:
    found = {}
    for name in names:
        node = of.nodes[name].node
        data = node.store.get(
            node.store.address, receipt_key(RUN, 1), max_bytes=1 << 18, seconds=5.0
        )
        assert isinstance(data, bytes)
        receipt = open_receipt(data, RUN, 1, node.hotkey, node.verify)
        assert not isinstance(receipt, Rejection)
        found[node.hotkey] = (receipt, digest(data))
    return found


async def wrong_proposal(of: Council, leader: str, witnesses: list[str]) -> Proposal:
    """Right in all but what the accepted deltas add up to."""
    receipts = await read_receipts(of, witnesses)
    admission = admit(
        {witness: receipt for witness, (receipt, _) in receipts.items()},
        of.rounds[witnesses[0]].council.witnesses,
        Keys(leader).hotkey,
        of.rounds[witnesses[0]].council.place(Keys(leader).hotkey),
        of.config.terms,
        of.nodes[leader].node.verify,
    )
    return Proposal(
        run=RUN,
        window=1,
        leader=Keys(leader).hotkey,
        parent=of.first.name,
        receipts=tuple(sorted((w, sha256) for w, (_, sha256) in receipts.items())),
        accepted=admission.accepted,
        norm_limit=admission.norm_limit,
        update="ab" * 32,
        update_bytes=1000,
        root="cd" * 32,
        checkpoint=of.first.proposal.checkpoint,
    )


async def test_a_wrong_aggregate_is_voted_down_and_the_next_leaders_is_agreed_on(
    s3: str, tmp_path: Path
) -> None:
    async with council(s3, tmp_path) as of:
        liar, *here = of.order
        await of.honest()
        proposal = await wrong_proposal(of, liar, of.order)
        of.nodes[liar].node.store.put(proposal_key(RUN, 1), proposal.seal(Keys(liar).sign))
        tasks = of.agreeing(here)
        for name in here:
            told = await of.nodes[name].told.seen("ballot", leader=Keys(liar).hotkey)
            assert told["objection"] == "update"
            assert told["loss_after"] is None
        await of.reach(CLOCK.turn(1, 1))
        await of.concluded(tasks)
        await of.follow()
        assert of.accepted(liar) == of.accepted(here[0]) != []
        assert (
            of.nodes[liar].node.manifests[of.nodes[liar].state.position.head].name.leader
            == Keys(here[0]).hotkey
        )


async def test_a_proposal_that_nobody_can_judge_does_not_hold_up_the_next(
    s3: str, tmp_path: Path
) -> None:
    """It names a receipt that its witness shows to nobody any more."""
    async with council(s3, tmp_path) as of:
        liar, *here = of.order
        await of.honest()
        proposal = await wrong_proposal(of, liar, of.order)
        bucket = Bucket.of(of.nodes[liar].node.store.address)
        bucket.delete(receipt_key(RUN, 1))
        bucket.put(proposal_key(RUN, 1), proposal.seal(Keys(liar).sign))
        tasks = of.agreeing(here)
        await of.reach(CLOCK.turn(1, 1))
        await of.concluded(tasks)
        assert of.objections(liar) == {}
        assert of.objections(here[0]) == dict.fromkeys(here, "")
        await of.follow()
        assert not of.unchanged


async def test_a_checkpoint_that_a_majority_has_not_made_is_not_agreed_on(
    s3: str, tmp_path: Path
) -> None:
    """They were away when it was made; the next leader names the one that all know."""
    async with council(s3, tmp_path) as of:
        first = of.order[0]
        await of.honest()
        node = of.nodes[first].node
        folder = folder_of(node, 0)
        # As if the genesis had been followed by an epoch that only this one has seen.
        alone = checkpoint.write(of.nodes[first].state, RUN, folder)
        named = CheckpointName(alone.window, alone.digest)
        proposal = replace(await wrong_proposal(of, first, of.order), checkpoint=named)
        node.store.put(proposal_key(RUN, 1), proposal.seal(Keys(first).sign))
        tasks = of.agreeing(of.order[1:])
        await of.reach(CLOCK.turn(1, 1))
        await of.concluded(tasks)
        assert of.objections(first) == dict.fromkeys(of.order[1:], "checkpoint")
        await of.follow()
        assert not of.unchanged


async def test_a_candidate_that_makes_the_model_worse_is_vetoed(s3: str, tmp_path: Path) -> None:
    outer = replace(CONFIG.outer, schedule=((0, 50.0),))
    config = with_rules(replace(CONFIG, outer=outer), loss_rise_max=0.0)
    async with council(s3, tmp_path, config) as of:
        await of.honest()
        before = of.nodes["ada"].state.theta.tobytes()
        tasks = of.agreeing()
        (vetoed,) = [await of.nodes[of.order[0]].told.seen("vetoed", window=1)]
        assert set(vetoed["objections"].values()) == {"loss"}
        assert len(vetoed["objections"]) >= 2
        desks = await of.decided(tasks)
        assert all("voted against every" in desk.obstacle for desk in desks.values())
        for told in (of.told(name, "ballot")[0] for name in STAKES):
            assert told["objection"] == "loss"
            assert float(str(told["loss_after"])) > float(str(told["loss_before"]))
        # It is put down as rejected, which changes nothing.
        assert of.keys(of.order[0], "manifest/") != set()
        await of.follow()
        assert of.unchanged
        assert {node.state.theta.tobytes() for node in of.nodes.values()} == {before}


@pytest.mark.parametrize("counts", [True, False])
async def test_whether_the_proposers_own_ballot_counts_is_a_setting(
    s3: str, tmp_path: Path, counts: bool
) -> None:
    """Two of three are here: with the proposer's a majority of three, else only half of two."""
    async with council(s3, tmp_path, with_rules(proposer_counts=counts)) as of:
        here = of.order[:2]
        await of.honest(here)
        tasks = of.agreeing(here)
        await of.reach(CLOCK.turn(1, 0))
        for name in here:
            await of.nodes[name].told.seen("ballot", leader=Keys(here[0]).hotkey, objection="")
        if counts:
            await of.concluded(tasks)
        else:
            await of.decided(tasks)
        await of.follow()
        assert of.unchanged != counts


async def test_without_the_proposers_ballot_two_others_are_enough(s3: str, tmp_path: Path) -> None:
    async with council(s3, tmp_path, with_rules(proposer_counts=False)) as of:
        await of.honest()
        await of.concluded(of.agreeing())
        await of.follow()
        assert not of.unchanged


async def test_one_witness_can_be_enough(s3: str, tmp_path: Path) -> None:
    async with council(s3, tmp_path, with_rules(witnesses=1)) as of:
        await of.honest()
        witnesses = of.rounds["ada"].council.witnesses
        (drawn,) = [name for name in STAKES if Keys(name).hotkey in witnesses]
        assert {name for name in STAKES if of.keys(name, "receipt")} == {drawn}
        await of.concluded(of.agreeing())
        await of.follow()
        assert not of.unchanged
        held = of.nodes["ada"].node.manifests[of.nodes["ada"].state.position.head]
        assert [w for w, _ in held.manifest.proposal.receipts] == [Keys(drawn).hotkey]


async def test_a_higher_threshold_needs_more_stake(s3: str, tmp_path: Path) -> None:
    async with council(s3, tmp_path, with_rules(vote_threshold=0.75)) as of:
        here = of.order[:2]
        await of.honest(here)
        tasks = of.agreeing(here)
        await of.reach(CLOCK.turn(1, 0))
        for name in here:
            await of.nodes[name].told.seen("ballot", objection="")
        await of.decided(tasks)
        await of.follow()
        assert of.unchanged


async def test_a_window_in_which_nobody_sent_anything_is_empty(s3: str, tmp_path: Path) -> None:
    async with council(s3, tmp_path) as of:
        await of.open()
        await of.witness()
        tasks = of.agreeing()
        await of.nodes[of.order[0]].told.seen("empty", window=1)
        desks = await of.decided(tasks)
        assert "nobody who is trusted" in desks[of.order[0]].obstacle
        assert (await tip_at(of.nodes["ada"].node, 1)).tip is not None
        await of.follow()
        assert of.unchanged
        assert {e["reason"] for e in of.told("ada", "rejected")} == {"absent"}


async def test_who_only_joined_after_the_closing_block_has_no_vote(s3: str, tmp_path: Path) -> None:
    async with council(s3, tmp_path) as of:
        of.script.register("dan", stake=1000.0)
        store = reading_store(s3)
        announce(of.script, "dan", Role.VALIDATOR, store.address, CLOCK.close(1) + 1)
        await of.honest()
        await of.concluded(of.agreeing())
        await of.follow()
        assert not of.unchanged
