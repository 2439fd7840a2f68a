"""What a validator has before it while a window is agreed upon, and how it looks for more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from boltzmann.node.candidate import Candidate
from boltzmann.node.node import Node
from boltzmann.node.objects import ballot_key, proposal_key, receipt_copy_key, receipt_key
from boltzmann.node.reading import Place, Reads, well_formed
from boltzmann.node.round import Round
from boltzmann.protocol.ballots import MAX_BALLOT_BYTES, Ballot, open_ballot
from boltzmann.protocol.council import more_than_half
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import Proposal, open_proposal
from boltzmann.protocol.receipts import Receipt, open_receipt
from boltzmann.protocol.rejection import Rejection


@dataclass(frozen=True)
class Filed:
    """A witness's receipt, the very bytes of it, and what names them."""

    receipt: Receipt
    data: bytes
    digest: str


@dataclass
class Desk:
    """The documents of one window that this validator has read, and what it did with them.

    `receipts` by witness, as it showed them to this node; `copies`: other receipts of witnesses, as
    a leader has them, by witness and digest; `proposals` by leader; `ballots` by voter, with their
    documents, on this node's own proposal; `cast`: leader -> approved, of this node's own ballots;
    `candidate`: what the state stands at beyond the window's base; `loss_before` on this
    node's held-out pages at the base; `passed`: why this node, whose turn it was, proposes nothing
    in this window, in words; `bound_to`: the one proposal it may approve, once it has.
    """

    this: Round
    held_out: tuple[int, ...]
    receipts: dict[str, Filed] = field(default_factory=dict)
    copies: dict[tuple[str, str], Receipt | Rejection] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    cast: dict[str, bool] = field(default_factory=dict)
    ballots: dict[str, tuple[Ballot, bytes]] = field(default_factory=dict)
    candidate: Candidate | None = None
    loss_before: float | None = None
    certified: bool = False
    passed: str = ""
    bound_to: str = ""
    reads: Reads = field(default_factory=Reads)

    @property
    def approved(self) -> bool:
        """Whether this node has approved a proposal: it approves one per window at most."""
        return any(self.cast.values())

    def is_done(self, hotkey: str) -> bool:
        """Whether nothing is left to do: approved, and certified what it proposed itself."""
        return self.approved and (self.certified or hotkey not in self.proposals)

    @property
    def obstacle(self) -> str:
        """Why this node has approved no update, in words; "" if it has: then the chain decides."""
        if self.approved:
            return ""
        if self.cast:
            return f"voted against every proposal ({len(self.cast)})"
        if self.proposals:
            return f"a proposal could not be judged in time ({len(self.proposals)})"
        witnesses = self.this.council.witnesses
        if not more_than_half(self.receipts, witnesses):
            return f"receipts of only {len(self.receipts)} of {len(witnesses)} witnesses"
        return self.passed or "no leader proposed in time"

    def has_shown(self, witness: str, named: str) -> bool:
        """Whether the witness's own bucket has shown this very receipt."""
        return witness in self.receipts and self.receipts[witness].digest == named

    def places(self, hotkeys: Iterable[str], key: str) -> dict[str, Place]:
        """Where these validators keep one kind of document."""
        return {h: Place(self.this.council.validators[h].bucket, key) for h in hotkeys}

    @property
    def is_first_hand(self) -> bool:
        """Whether every witness's receipt is there."""
        return len(self.receipts) == len(self.this.council.witnesses)


async def put_back(node: Node, desk: Desk) -> None:
    """Take a candidate back that is not, or no longer, to be tried."""
    if desk.candidate is not None:
        await node.worker.run(node.worker.state.undo)
        desk.candidate = None


async def look_for_receipts(node: Node, desk: Desk) -> None:
    """Read the receipts of witnesses that are not on the desk yet."""
    wanted = [w for w in desk.this.council.witnesses if w not in desk.receipts]
    run, window = node.run.run.id, desk.this.window

    def opened(data: bytes, witness: str) -> Filed | Rejection:
        receipt = open_receipt(data, run, window, witness, node.verify)
        return receipt if isinstance(receipt, Rejection) else Filed(receipt, data, digest(data))

    answers = await desk.reads.look(node, desk.places(wanted, receipt_key(run, window)))
    desk.receipts |= well_formed(answers, opened)


async def look_for_proposals(node: Node, desk: Desk) -> None:
    """Read the proposals of leaders whose turn has come, but this node's own."""
    run, window, latest = node.run.run.id, desk.this.window, node.blocks.latest
    wanted = [
        leader
        for place, leader in enumerate(desk.this.council.order)
        if leader != node.hotkey
        and leader not in desk.proposals
        and (place == 0 or latest >= node.clock.turn(window, place))
    ]

    def opened(data: bytes, leader: str) -> Proposal | Rejection:
        return open_proposal(data, run, window, leader, node.verify)

    answers = await desk.reads.look(node, desk.places(wanted, proposal_key(run, window)))
    desk.proposals |= well_formed(answers, opened)


async def look_for_ballots(node: Node, desk: Desk, proposal: Proposal) -> None:
    """Read the ballots on this node's own proposal."""
    wanted = [v for v in desk.this.council.validators if v not in desk.ballots]
    key = ballot_key(proposal.run, proposal.window, proposal.digest)

    def opened(data: bytes, voter: str) -> tuple[Ballot, bytes] | Rejection:
        ballot = open_ballot(
            data, proposal.run, proposal.window, proposal.digest, voter, node.verify
        )
        return ballot if isinstance(ballot, Rejection) else (ballot, data)

    answers = await desk.reads.look(node, desk.places(wanted, key), MAX_BALLOT_BYTES)
    desk.ballots |= well_formed(answers, opened)


async def look_for_copies(node: Node, desk: Desk, proposal: Proposal) -> bool:
    """Read the receipts that a proposal names, where a witness has shown this node another one or
    none, from the leader that names them. Whether all of them are here.

    A witness may show each reader another receipt. Each is signed by it, so what follows from the
    leader's can be judged all the same, and nobody can stop a window by it. Each is opened as the
    receipt of the witness it is named for: one witness must not speak for all.
    """
    run, window = proposal.run, proposal.window
    wanted = {
        (witness, named)
        for witness, named in proposal.receipts
        if (witness, named) not in desk.copies and not desk.has_shown(witness, named)
    }
    bucket = desk.this.council.validators[proposal.leader].bucket
    places = {named: Place(bucket, receipt_copy_key(run, window, named)) for _, named in wanted}
    answers = await desk.reads.look(node, places)
    for witness, named in wanted:
        data = answers.get(named)
        if isinstance(data, bytes) and digest(data) == named:
            copy = open_receipt(data, run, window, witness, node.verify)
            desk.copies[witness, named] = copy
    return wanted <= desk.copies.keys()
