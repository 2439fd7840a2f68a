"""One validator's vote: each reason to object, and one approval per window at most."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from agree_scene import Council, council
from node_kit import CLOCK, RUN, Bucket, running
from scripted_chain import DEADLINE_S, Keys

from boltzmann.errors import StoreError, StoreUnavailable
from boltzmann.node.agree import agree
from boltzmann.node.checkpoints import Checkpoints
from boltzmann.node.desk import Desk, Filed, look_for_receipts, put_back
from boltzmann.node.follow import follow
from boltzmann.node.ingest import collect, ingest
from boltzmann.node.objects import ballot_key, proposal_key, receipt_copy_key
from boltzmann.node.propose import may_propose, propose
from boltzmann.node.round import assign, open_round
from boltzmann.node.vote import APPROVED, draw_held_out, vote
from boltzmann.protocol.ballots import MAX_BALLOT_BYTES, Objection
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import CheckpointName, Proposal
from boltzmann.store.s3 import S3Store


async def desk_of(of: Council, name: str) -> Desk:
    """A validator's desk with everybody's receipts on it."""
    node = of.nodes[name].node
    desk = Desk(of.rounds[name], draw_held_out(node, 1))
    desk.loss_before = await node.worker.loss(desk.held_out)
    await look_for_receipts(node, desk)
    assert desk.is_first_hand
    return desk


async def honest_proposal(of: Council, name: str) -> Proposal:
    """What a validator proposes and puts into its bucket; its own state is put back."""
    desk = await desk_of(of, name)
    proposal = await propose(of.nodes[name].node, desk)
    assert proposal is not None
    await put_back(of.nodes[name].node, desk)
    return proposal


async def test_each_lie_of_a_proposal_has_its_objection(s3: str, tmp_path: Path) -> None:
    async with council(s3, tmp_path) as of:
        leader, voter = of.order[0], of.order[1]
        await of.honest()
        # Every validator has a copy of the first state of its own.
        await Checkpoints(of.nodes[voter].node).enter(0)
        true = await honest_proposal(of, leader)
        parent, checkpoint = true.parent, true.checkpoint
        assert parent is not None
        first, *others = true.receipts
        made_up = b"no receipt of anybody's"
        key = receipt_copy_key(RUN, 1, digest(made_up))
        of.nodes[leader].node.store.put(key, made_up)
        lies = {
            Objection.PARENT: replace(true, parent=replace(parent, digest="00" * 32)),
            Objection.RECEIPTS: replace(true, receipts=((first[0], digest(made_up)), *others)),
            Objection.ADMISSION: replace(true, accepted=true.accepted[1:]),
            Objection.UPDATE: replace(true, update="00" * 32),
            Objection.ROOT: replace(true, root="00" * 32),
            Objection.CHECKPOINT: replace(
                true, checkpoint=CheckpointName(checkpoint.window, "00" * 32)
            ),
        }
        more = [
            (Objection.RECEIPTS, replace(true, receipts=(first,))),
            (Objection.ADMISSION, replace(true, norm_limit=true.norm_limit * 2)),
            (Objection.ROOT, replace(true, update_bytes=true.update_bytes + 1)),
            (Objection.PARENT, replace(true, parent=replace(parent, leader=Keys("x").hotkey))),
        ]
        node, state = of.nodes[voter].node, of.nodes[voter].state
        before = state.theta.copy()
        desk = await desk_of(of, voter)
        for objection, lie in [*lies.items(), *more]:
            desk.cast.clear()
            await vote(node, desk, lie)
            assert desk.cast == {lie.leader: False}
            assert node.outbox.has(1, f"ballot-{lie.digest[:16]}")
            assert of.told(voter, "ballot")[-1]["objection"] == objection.value
            assert (state.theta == before).all()
            assert state.position.root == of.first.root
        assert not desk.approved
        # After all the lies the truth is still approved, and only then is the state changed.
        desk.cast.clear()
        await vote(node, desk, true)
        assert desk.approved
        assert state.position.root.hex() == true.root
        assert set(lies) | {Objection.LOSS, Objection.NONE} == set(Objection)


async def test_what_cannot_be_judged_yet_gets_no_ballot(s3: str, tmp_path: Path) -> None:
    async with council(s3, tmp_path) as of:
        leader, voter = of.order[0], of.order[1]
        await of.honest()
        true = await honest_proposal(of, leader)
        node = of.nodes[voter].node
        desk = await desk_of(of, voter)
        missing = desk.receipts.pop(Keys(leader).hotkey)
        desk.proposals[true.leader] = true
        await vote(node, desk, true)
        assert desk.cast == {}
        assert desk.obstacle == "a proposal could not be judged in time (1)"
        assert of.told(voter, "ballot") == []
        desk.receipts[Keys(leader).hotkey] = missing
        await vote(node, desk, true)
        assert desk.approved
        assert desk.obstacle == ""


async def test_a_receipt_that_was_shown_to_the_leader_only_is_judged_by_its_copy(
    s3: str, tmp_path: Path
) -> None:
    """The witness shows this voter another one, or none: either way it signed what is named."""
    async with council(s3, tmp_path) as of:
        leader, voter, witness = of.order
        await of.honest()
        true = await honest_proposal(of, leader)
        node, two_faced = of.nodes[voter].node, Keys(witness).hotkey
        desk = await desk_of(of, voter)
        theirs = desk.receipts[two_faced].receipt
        other = replace(theirs, verdicts=()).seal(two_faced, Keys(witness).sign)
        desk.receipts[two_faced] = Filed(replace(theirs, verdicts=()), other, digest(other))
        key = receipt_copy_key(RUN, 1, dict(true.receipts)[two_faced])
        bucket = Bucket.of(of.nodes[leader].node.store.address)
        copy = node.store.get(bucket.address, key, max_bytes=1 << 18, seconds=5.0)
        assert isinstance(copy, bytes)
        for shown in ("another", "none"):
            if shown == "none":
                del desk.receipts[two_faced]
            for stored in (None, b"damaged"):
                bucket.delete(key)
                if stored is not None:
                    bucket.put(key, stored)
                await vote(node, desk, true)
                assert desk.cast == {}, "it says nothing of what it cannot read"
        bucket.put(key, copy)
        await vote(node, desk, true)
        assert desk.approved


async def test_two_validators_may_name_one_bucket(s3: str, tmp_path: Path) -> None:
    """Anybody can: it must not end the nodes of the others."""
    async with council(s3, tmp_path) as of:
        await of.honest()
        node, this = of.nodes[of.order[0]].node, of.rounds[of.order[0]]
        owner, copier = (Keys(name).hotkey for name in of.order[1:])
        peers = dict(this.council.validators)
        record = replace(peers[copier].commitment, bucket=peers[owner].bucket)
        peers[copier] = replace(peers[copier], commitment=record)
        desk = Desk(replace(this, council=replace(this.council, validators=peers)), ())
        for _ in range(2):
            await look_for_receipts(node, desk)
            assert sorted(desk.receipts) == sorted((node.hotkey, owner))


async def test_one_receipt_does_not_speak_for_several_witnesses(s3: str, tmp_path: Path) -> None:
    """Else who leads, and has another witness, would say alone who enters."""
    async with council(s3, tmp_path) as of:
        leader, voter = of.order[0], of.order[1]
        await of.honest()
        true = await honest_proposal(of, leader)
        node = of.nodes[voter].node
        for witness, named in true.receipts:
            desk = await desk_of(of, voter)
            data = desk.receipts[witness].data
            of.nodes[leader].node.store.put(receipt_copy_key(RUN, 1, named), data)
            if witness != node.hotkey:
                del desk.receipts[witness]  # it is shown to the leader only
            lie = replace(true, receipts=tuple((w, named) for w, _ in true.receipts))
            await vote(node, desk, lie)
            assert desk.cast == {lie.leader: False}
            assert of.told(voter, "ballot")[-1]["objection"] == Objection.RECEIPTS.value


class Refusing(S3Store):
    """A bucket whose keys may not write copies of receipts."""

    def put(self, key: str, body: bytes) -> None:
        if "/receipts/" in key:
            raise StoreError("refused")
        super().put(key, body)


async def test_a_bucket_that_refuses_leaves_no_work_behind_in_the_worker(
    s3: str, tmp_path: Path
) -> None:
    """What comes after it looks at the state, which must not be in the middle of a step."""
    async with council(s3, tmp_path) as of:
        await of.honest()
        node, desk = of.nodes[of.order[0]].node, await desk_of(of, of.order[0])
        refusing = Refusing(s3, node.store.address.rpartition("/")[2], "key", "secret")
        with pytest.raises(StoreError, match="refused"):
            await propose(replace(node, store=refusing), desk)
        assert desk.candidate is not None
        await put_back(node, desk)
        assert node.worker.state.position.root == of.first.root


async def test_a_leader_whose_bucket_has_another_proposal_gives_its_own_up(
    s3: str, tmp_path: Path
) -> None:
    """The journal was lost after an upload: the window is the next leader's, the state is kept."""
    async with council(s3, tmp_path) as of:
        first, second, _ = of.order
        await of.honest()
        node = of.nodes[first].node
        node.store.put(proposal_key(RUN, 1), b"an earlier one")
        tasks = of.agreeing()
        await of.nodes[first].told.seen("error")
        # It looks many times more before the next leader's turn comes.
        await asyncio.sleep(10 * node.poll_seconds)
        await of.reach(CLOCK.turn(1, 1))
        await of.concluded(tasks)
        (told,) = of.told(first, "error")
        assert told["what"] == f"upload of {proposal_key(RUN, 1)}"
        assert of.objections(second) == dict.fromkeys(of.order, "")
        await of.follow()
        assert not of.unchanged


async def test_nothing_is_proposed_on_top_of_a_candidate(s3: str, tmp_path: Path) -> None:
    async with council(s3, tmp_path) as of:
        first = of.order[0]
        await of.honest()
        node, desk = of.nodes[first].node, await desk_of(of, first)
        assert may_propose(node, desk)
        node.store.put(proposal_key(RUN, 1), b"an earlier one")
        assert await propose(node, desk) is None
        assert (desk.candidate, node.worker.state.position.root) == (None, of.first.root)
        assert desk.obstacle == "this node's bucket did not take its proposal"
        assert not may_propose(node, desk)
        again = await desk_of(of, of.order[1])
        await propose(of.nodes[of.order[1]].node, again)
        desk.passed, desk.candidate = "", again.candidate
        assert not may_propose(node, desk)


class Silent(S3Store):
    """A bucket that takes everything but ballots."""

    def put(self, key: str, body: bytes) -> None:
        if "/ballot/" in key:
            raise StoreUnavailable("the bucket does not answer")
        super().put(key, body)


async def test_one_approval_per_window_even_if_killed_before_it_was_sent(
    s3: str, tmp_path: Path
) -> None:
    async with council(s3, tmp_path) as of:
        first, second, voter = of.order
        await of.honest()
        node = of.nodes[voter].node
        ours = await honest_proposal(of, first)
        theirs = await honest_proposal(of, second)
        assert ours.root == theirs.root
        silent = Silent(s3, node.store.address.rpartition("/")[2], "key", "secret")
        voting = asyncio.create_task(
            vote(replace(node, store=silent), await desk_of(of, voter), ours)
        )
        await of.nodes[voter].told.seen("waiting")
        voting.cancel()
        await asyncio.gather(voting, return_exceptions=True)
        written = node.outbox.find(1, f"ballot-{ours.digest[:16]}")
        assert written is not None
        assert of.keys(voter, "ballot/") == set()
        # It comes back, and only the other leader's proposal is to be seen, whose turn has come.
        bucket = Bucket.of(of.nodes[first].node.store.address)
        bucket.delete(proposal_key(RUN, 1))
        await of.reach(CLOCK.turn(1, 1))
        async with running(of.script, voter, node.store, node.folder) as again:
            assert await follow(again.node, 0) is None
            this = await open_round(again.node, await assign(again.node, 1))
            await ingest(again.node, this, await collect(again.node, this.duty))
            desk = await desk_of(replace(of, nodes={voter: again}, rounds={voter: this}), voter)
            bound = again.node.outbox.find(1, APPROVED)
            assert bound == ours.digest.encode()
            desk.bound_to = bound.decode()
            await vote(again.node, desk, theirs)
            assert (desk.cast, again.told.of("ballot")) == ({}, [])
            assert again.state.position.root == of.first.root
            agreeing = asyncio.create_task(agree(again.node, this))
            bucket.put(proposal_key(RUN, 1), ours.seal(Keys(first).sign))
            await asyncio.wait_for(agreeing, DEADLINE_S)
            assert [e["leader"] for e in again.told.of("ballot")] == [Keys(first).hotkey]
            assert again.state.position.root.hex() == ours.root
        (key,) = of.keys(voter, "ballot/")
        assert key == ballot_key(RUN, 1, ours.digest)
        sent = node.store.get(node.store.address, key, max_bytes=MAX_BALLOT_BYTES, seconds=5.0)
        assert sent == written


class Closed(S3Store):
    """A bucket that takes everything but manifests."""

    def put(self, key: str, body: bytes) -> None:
        if "/manifest/" in key:
            raise StoreUnavailable("the bucket does not answer")
        super().put(key, body)


async def test_a_killed_leader_offers_the_bytes_it_wrote_down(s3: str, tmp_path: Path) -> None:
    """Between writing a window's objects down and the deciding block, anything may be killed."""
    async with council(s3, tmp_path) as of:
        first, *others = of.order
        await of.honest()
        node = of.nodes[first].node
        closed = Closed(s3, node.store.address.rpartition("/")[2], "key", "secret")
        leading = asyncio.create_task(agree(replace(node, store=closed), of.rounds[first]))
        tasks = of.agreeing(others)
        await of.nodes[first].told.seen("waiting")
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        names = ("proposal", "manifest", "receipt")
        written = {name: node.outbox.find(1, name) for name in names}
        assert None not in written.values()
        assert of.keys(first, "manifest/") == set()
        async with running(of.script, first, node.store, node.folder) as again:
            assert await follow(again.node, 0) is None
            this = await open_round(again.node, await assign(again.node, 1))
            await ingest(again.node, this, await collect(again.node, this.duty))
            desk = await asyncio.wait_for(agree(again.node, this), DEADLINE_S)
            assert desk.certified
            assert again.told.of("error") == []  # nothing else was there to conflict with
            assert {name: node.outbox.find(1, name) for name in names} == written
            of.nodes[first] = again
            await of.concluded(tasks)
            await of.follow()
            assert not of.unchanged
        (key,) = of.keys(first, "manifest/")
        stored = node.store.get(node.store.address, key, max_bytes=1 << 18, seconds=5.0)
        assert stored == written["manifest"]
