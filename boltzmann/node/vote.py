"""The voter's part: recompute a proposal from own copies, test it on private pages, and say so."""

from __future__ import annotations

import math
from functools import partial

from boltzmann.node.candidate import build
from boltzmann.node.checkpoints import checkpoint_objection
from boltzmann.node.councils import Council
from boltzmann.node.desk import Desk, look_for_copies, put_back
from boltzmann.node.ingest import fetch_exact
from boltzmann.node.laps import Laps
from boltzmann.node.node import Node
from boltzmann.node.objects import ballot_key, manifest_key, update_key
from boltzmann.node.propose import own_copies
from boltzmann.node.publish import publish
from boltzmann.node.round import Received, Round
from boltzmann.node.stages import Stage
from boltzmann.protocol.admission import Admission, admit
from boltzmann.protocol.ballots import Ballot, Objection, open_ballot
from boltzmann.protocol.council import more_than_half
from boltzmann.protocol.manifest import Proposal
from boltzmann.protocol.receipts import Receipt
from boltzmann.protocol.rejection import Rejection

APPROVED = "approved"  # the journal's name for what this node has approved in a window


def draw_held_out(node: Node, window: int) -> tuple[int, ...]:
    """Private pages that nobody trains on in this window."""
    total, taken = node.schedule.total_pages, set(node.schedule.window_pages(window))
    pages: set[int] = set()
    # A dataset that is hardly larger than a window leaves no choice but its own control pages.
    if total - len(taken) < node.run.agreement.held_out_pages:
        return node.schedule.control(window)
    while len(pages) < node.run.agreement.held_out_pages:
        page = node.private.randrange(total)
        if page not in taken:
            pages.add(page)
    return tuple(sorted(pages))


async def vote(node: Node, desk: Desk, proposal: Proposal) -> None:
    """Cast a ballot on a proposal, or none as long as something to judge it by is missing.

    A node approves one proposal per window at most: two majorities would need a vote twice.
    """
    this = desk.this
    if desk.bound_to not in ("", proposal.digest):
        return
    sealed = node.outbox.find(this.window, _name(proposal))
    ballot = _journalled(node, proposal, sealed) if sealed else None
    by_receipts = ballot is None and _at_first_sight(desk, proposal) is Objection.NONE
    if by_receipts and not await look_for_copies(node, desk, proposal):
        return  # what it is to be judged by is not there yet
    with node.stage(Stage.VOTE, this.window):
        if ballot is None or sealed is None:
            ballot = await _judge(node, desk, proposal)
            if ballot is None:
                return
            sealed = ballot.seal(node.hotkey, node.keys.sign)
            if ballot.approves:
                node.outbox.keep(this.window, APPROVED, proposal.digest.encode())
                desk.bound_to = proposal.digest
            node.outbox.keep(this.window, _name(proposal), sealed)
        key = ballot_key(proposal.run, this.window, proposal.digest)
        if not await publish(node, key, sealed, before=node.clock.decide(this.window)):
            return
    desk.cast[proposal.leader] = ballot.approves
    if proposal.leader == node.hotkey:
        desk.ballots[node.hotkey] = (ballot, sealed)
    node.telemetry.event(
        "ballot",
        window=this.window,
        leader=proposal.leader,
        objection=ballot.objection.value,
        loss_before=ballot.loss_before,
        loss_after=ballot.loss_after,
    )


async def mirror(node: Node, desk: Desk) -> None:
    """Keep the approved update in this validator's own bucket, sealed by itself."""
    candidate, window = desk.candidate, desk.this.window
    if candidate is None:
        return
    with node.stage(Stage.MIRROR, window):
        path = node.outbox.path(window, candidate.journalled)
        key = update_key(node.run.run.id, window, candidate.update)
        await publish(node, key, path, before=node.clock.close(window + 1))


async def mirror_manifests(node: Node, window: int) -> None:
    """Keep the manifest this node's state stands at in its own bucket, then those it stands on.

    The first is also this validator's word on where it stands, approved by itself or not; the
    others may have been few validators' alone.
    """
    for head in node.worker.state.heads:
        if head in node.manifests:
            held = node.manifests[head]
            key = manifest_key(node.run.run.id, held.name.window, held.name.digest)
            await publish(node, key, held.data, before=node.clock.decide(window))


async def _judge(node: Node, desk: Desk, proposal: Proposal) -> Ballot | None:
    this = desk.this
    objection = _at_first_sight(desk, proposal)
    if objection is Objection.NONE:
        objection = _by_documents(node, desk, proposal)
    if objection is Objection.NONE:
        entries = await _copies(node, this, Admission(proposal.accepted, proposal.norm_limit))
        if not entries:
            return None
        objection = await _by_recomputing(node, desk, proposal, entries)
    after: float | None = None
    if objection is Objection.NONE:
        after = await node.worker.loss(desk.held_out)
        since = this.window - this.base.name.window
        if not after <= node.run.agreement.loss_limit(desk.loss_before or 0.0, since):
            objection = Objection.LOSS
    if objection is not Objection.NONE:
        await put_back(node, desk)
    return Ballot(
        run=proposal.run,
        window=proposal.window,
        proposal=proposal.digest,
        objection=objection,
        loss_before=desk.loss_before if after is not None else None,
        loss_after=after if after is not None and not math.isnan(after) else None,
    )


def _at_first_sight(desk: Desk, proposal: Proposal) -> Objection:
    """What speaks against a proposal before any document is read for it."""
    if proposal.parent != desk.this.base.name:
        return Objection.PARENT
    return Objection.NONE if names_enough(proposal, desk.this.council) else Objection.RECEIPTS


def _by_documents(node: Node, desk: Desk, proposal: Proposal) -> Objection:
    """What the receipts that a proposal names say against it, and the checkpoint it names."""
    this = desk.this
    receipts: dict[str, Receipt] = {}
    for witness, named in proposal.receipts:
        shown = desk.has_shown(witness, named)
        receipt = desk.receipts[witness].receipt if shown else desk.copies[witness, named]
        if isinstance(receipt, Rejection):
            return Objection.RECEIPTS
        receipts[witness] = receipt
    admission = admit(
        receipts,
        this.council.witnesses,
        proposal.leader,
        this.council.place(proposal.leader),
        node.run.terms,
        node.verify,
    )
    if admission != Admission(proposal.accepted, proposal.norm_limit):
        return Objection.ADMISSION
    return checkpoint_objection(node, this.base, proposal.checkpoint)


def names_enough(proposal: Proposal, council: Council) -> bool:
    """Whether the receipts that a proposal names are of witnesses only, and of enough of them."""
    named = {witness for witness, _ in proposal.receipts}
    return named <= set(council.witnesses) and more_than_half(named, council.witnesses)


async def _copies(node: Node, this: Round, admission: Admission) -> dict[str, Received]:
    """The accepted deltas: as this node read them, else by the agreed sha256 from the sender."""
    for entry in admission.accepted:
        held = this.received.get(entry.hotkey)
        if held is None or held.sha256 != entry.sha256:
            peer = this.members.get(entry.hotkey)
            found = await fetch_exact(node, this, peer, entry.sha256) if peer else None
            if found is None:
                return {}
            this.received[entry.hotkey] = found
    return own_copies(this, admission)


async def _by_recomputing(
    node: Node, desk: Desk, proposal: Proposal, entries: dict[str, Received]
) -> Objection:
    admission = Admission(proposal.accepted, proposal.norm_limit)
    if desk.candidate is None or desk.candidate.admission != admission:
        await put_back(node, desk)
        work = partial(build, node, desk.this, admission, entries, Laps())
        desk.candidate = await node.worker.run(work)
    if desk.candidate.update != proposal.update:
        return Objection.UPDATE
    same = (desk.candidate.root, desk.candidate.update_bytes)
    return Objection.NONE if same == (proposal.root, proposal.update_bytes) else Objection.ROOT


async def restore(node: Node, desk: Desk, proposal: Proposal) -> None:
    """Apply again what this node approved before it was killed."""
    entries = await _copies(node, desk.this, Admission(proposal.accepted, proposal.norm_limit))
    if entries:
        await _by_recomputing(node, desk, proposal, entries)


def _name(proposal: Proposal) -> str:
    """A ballot's name in the journal."""
    return f"ballot-{proposal.digest[:16]}"


def _journalled(node: Node, proposal: Proposal, sealed: bytes) -> Ballot | None:
    ballot = open_ballot(
        sealed, proposal.run, proposal.window, proposal.digest, node.hotkey, node.verify
    )
    return None if isinstance(ballot, Rejection) else ballot
