"""The leader's part: propose what follows from the receipts, and certify what the votes say."""

from __future__ import annotations

import asyncio
import json
from functools import partial

from boltzmann.errors import ChainError, ChainUnavailable, CorruptState
from boltzmann.node.candidate import Candidate, build
from boltzmann.node.checkpoints import newest_checkpoint
from boltzmann.node.desk import Desk, look_for_ballots, put_back
from boltzmann.node.laps import Laps
from boltzmann.node.manifests import Held
from boltzmann.node.node import Node
from boltzmann.node.objects import manifest_key, proposal_key, receipt_copy_key
from boltzmann.node.publish import publish
from boltzmann.node.round import Received, Round
from boltzmann.node.stages import Stage
from boltzmann.protocol.admission import Admission, admit
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.council import Outcome, more_than_half
from boltzmann.protocol.manifest import Manifest, Proposal, open_manifest, open_proposal, outcome
from boltzmann.protocol.rejection import Rejection


def may_propose(node: Node, desk: Desk) -> bool:
    """Whether it is this node's turn, with receipts enough to go by."""
    this = desk.this
    if node.hotkey not in this.council.order or node.hotkey in desk.proposals or desk.passed:
        return False
    if desk.candidate is not None:  # another one applied to it would lose the way back to the base
        return False
    if desk.approved or (desk.bound_to and not node.outbox.has(this.window, "proposal")):
        return False
    place = this.council.order.index(node.hotkey)
    early = place == 0 and desk.is_first_hand
    if node.blocks.latest < node.clock.turn(this.window, place) and not early:
        return False
    # Whoever comes before has had its turn: a proposal that cannot be judged must not hold up ours.
    return more_than_half(desk.receipts, this.council.witnesses)


async def propose(node: Node, desk: Desk) -> Proposal | None:
    """Publish this window's proposal; None if nobody trusted sent a delta, or one's bytes lack, or
    the own bucket does not take it: this node then proposes nothing in this window.

    The state stands at the proposed root afterwards, else where it stood.
    """
    this, laps = desk.this, Laps()
    with node.stage(Stage.PROPOSE, this.window):
        proposal = _journalled(node, this)
        admission = _admission(node, desk, proposal)
        entries = own_copies(this, admission)
        if not entries:
            desk.passed = "nobody who is trusted sent a delta, or its bytes are not here"
            if not admission.accepted:
                node.telemetry.event("empty", window=this.window)
            return None
        work = partial(build, node, this, admission, entries, laps)
        keeping = asyncio.create_task(_keep_copies(node, desk))
        try:
            # A bucket that refuses must not be told of while the worker changes the state.
            desk.candidate = candidate = await node.worker.run(work)
            kept = await keeping
        finally:
            keeping.cancel()
        if kept and proposal is None:
            proposal = _written(node, desk, candidate)
        if not kept or proposal is None or not await _offer(node, proposal):
            desk.passed = "this node's bucket did not take its proposal"
            await put_back(node, desk)
            return None
    laps.end("publish")
    desk.proposals[node.hotkey] = proposal
    node.telemetry.event("proposed", window=this.window, seconds=laps.seconds)
    return proposal


def _admission(node: Node, desk: Desk, proposal: Proposal | None) -> Admission:
    """Who enters: as this node wrote it down before it was killed, else by the receipts."""
    if proposal is not None:
        return Admission(proposal.accepted, proposal.norm_limit)
    receipts = {witness: filed.receipt for witness, filed in desk.receipts.items()}
    council, leader = desk.this.council, node.hotkey
    place = council.place(leader)
    return admit(receipts, council.witnesses, leader, place, node.run.terms, node.verify)


def _written(node: Node, desk: Desk, candidate: Candidate) -> Proposal:
    """The proposal of what the state stands at, in the journal."""
    proposal = Proposal(
        run=node.run.run.id,
        window=desk.this.window,
        leader=node.hotkey,
        parent=desk.this.base.name,
        receipts=tuple(sorted((w, filed.digest) for w, filed in desk.receipts.items())),
        accepted=candidate.admission.accepted,
        norm_limit=candidate.admission.norm_limit,
        update=candidate.update,
        update_bytes=candidate.update_bytes,
        root=candidate.root,
        checkpoint=newest_checkpoint(node, desk.this.base, desk.this.window),
    )
    node.outbox.keep(desk.this.window, "proposal", proposal.seal(node.keys.sign))
    return proposal


async def _offer(node: Node, proposal: Proposal) -> bool:
    """Publish the proposal as it was written down; whether it is there in time."""
    sealed = node.outbox.find(proposal.window, "proposal") or b""
    key = proposal_key(proposal.run, proposal.window)
    return await publish(node, key, sealed, before=node.clock.decide(proposal.window))


async def _keep_copies(node: Node, desk: Desk) -> bool:
    """Put the receipts that are about to be named where the voters find them: some witness may
    show them others. Whether all are there in time."""
    run, window = node.run.run.id, desk.this.window
    limit = node.clock.decide(window)
    kept = await asyncio.gather(
        *(
            publish(node, receipt_copy_key(run, window, filed.digest), filed.data, before=limit)
            for witness, filed in desk.receipts.items()
            if witness != node.hotkey
        )
    )
    return all(kept)


def own_copies(this: Round, admission: Admission) -> dict[str, Received]:
    """The accepted deltas as this node has them; none if it lacks the very bytes of one."""
    entries = {
        entry.hotkey: this.received[entry.hotkey]
        for entry in admission.accepted
        if entry.hotkey in this.received and this.received[entry.hotkey].sha256 == entry.sha256
    }
    return entries if len(entries) == len(admission.accepted) else {}


def _journalled(node: Node, this: Round) -> Proposal | None:
    """What this node had written down for the window before it was killed."""
    sealed = node.outbox.find(this.window, "proposal")
    if sealed is None:
        return None
    opened = open_proposal(sealed, node.run.run.id, this.window, node.hotkey, node.verify)
    same = not isinstance(opened, Rejection) and opened.parent == this.base.name
    return opened if same and isinstance(opened, Proposal) else None


async def certify(node: Node, desk: Desk, proposal: Proposal) -> None:
    """Once the ballots decide: seal them with the proposal, publish, and put the digest on chain.

    A rejection is recorded in the same way; it changes nothing.
    """
    await look_for_ballots(node, desk, proposal)
    rules = node.run.agreement
    ballots = {voter: ballot for voter, (ballot, _) in desk.ballots.items()}
    reached = outcome(
        proposal,
        ballots,
        desk.this.council.stakes,
        rules.vote_threshold,
        rules.proposer_counts,
    )
    if reached is Outcome.OPEN:
        return
    with node.stage(Stage.CERTIFY, proposal.window):
        held = _sealed(node, desk, proposal)
        key = manifest_key(proposal.run, proposal.window, held.name.digest)
        limit = node.clock.decide(proposal.window)
        published = await publish(node, key, held.data, before=limit)
    node.manifests.keep(held)
    if reached is Outcome.REJECTED:
        node.telemetry.event(
            "vetoed",
            window=proposal.window,
            leader=proposal.leader,
            objections={v: b.objection.value for v, b in ballots.items() if not b.approves},
        )
    if published and node.blocks.latest < limit:
        with node.stage(Stage.ORDER, proposal.window):
            desk.certified = await _order(node, held)


def _sealed(node: Node, desk: Desk, proposal: Proposal) -> Held:
    """The manifest as it was written down, else a fresh one."""
    written = node.outbox.find(proposal.window, "manifest")
    if written is None:
        documents = tuple(json.loads(data) for _, (_, data) in sorted(desk.ballots.items()))
        manifest = Manifest(
            proposal, {v: ballot for v, (ballot, _) in desk.ballots.items()}, documents
        )
        written = manifest.seal(node.keys.sign)
        node.outbox.keep(proposal.window, "manifest", written)
    opened = open_manifest(written, proposal.run, proposal.window, node.hotkey, node.verify)
    if isinstance(opened, Rejection):
        raise CorruptState(
            f"the journalled manifest in {node.outbox.path(proposal.window, 'manifest')} is "
            f"{opened}: delete it and start again"
        )
    return Held(opened, written)


async def _order(node: Node, held: Held) -> bool:
    """Put the manifest's digest into this validator's record, unless it is there already.

    Whether that is settled; a chain that did not answer may be asked again.
    """
    window, name = held.name.window, held.name.digest
    record = Commitment(
        Role.VALIDATOR, node.run.run.id, node.store.address, manifest=(window, name)
    )
    try:
        head = await node.chain.head()
        if (await node.chain.commitments(head.number)).get(node.hotkey) == record.encode():
            return True
        limit = node.clock.decide(window)
        block = await node.blocks.before(limit, node.chain.commit(record.encode()))
    except ChainError as error:
        node.telemetry.event("error", what=f"ordering window {window}", detail=str(error))
        return not isinstance(error, ChainUnavailable)
    node.telemetry.event("ordered", window=window, digest=name, block=block)
    return True
