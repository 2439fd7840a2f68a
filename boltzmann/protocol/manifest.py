"""What one window did to the model: a leader's proposal, and the manifest that votes make of it.

Manifests form a hash chain from the genesis manifest, which names the initial checkpoint, so a node
that knows the newest digest can prove every step back to the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.ballots import Ballot, open_ballot
from boltzmann.protocol.council import Outcome, tally, voters
from boltzmann.protocol.documents import (
    canonical,
    digest,
    open_document,
    read_body,
    seal_document,
)
from boltzmann.protocol.fields import Fields, Malformed, is_name, real, sorted_unique
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.wire import Sign, VerifySignature

_PROPOSAL, _MANIFEST = "proposal", "manifest"


@dataclass(frozen=True)
class Parent:
    """The manifest that a proposal stands on: its digest, its window, and who sealed it."""

    digest: str
    window: int
    leader: str


@dataclass(frozen=True)
class CheckpointName:
    """A checkpoint: the window of the last update its state holds, and its descriptor's digest."""

    window: int
    digest: str


@dataclass(frozen=True)
class Proposal:
    """One window's outcome as its leader sees it. Digests and roots are 64 hexadecimal digits.

    `parent` is None for the genesis. `receipts` are (witness, digest of its receipt); `accepted`
    and `norm_limit` follow from them by `admission.admit`. `update` is the sha256 of the update's
    body, without header and signature, so that equal values have equal names and roots;
    `update_bytes` is the body's length. `root` is the state's after the update. `checkpoint` is the
    newest one: for the genesis, the initial model itself, which needs no update.
    """

    run: str
    window: int
    leader: str
    parent: Parent | None
    receipts: tuple[tuple[str, str], ...]
    accepted: tuple[Accepted, ...]
    norm_limit: float
    update: str
    update_bytes: int
    root: str
    checkpoint: CheckpointName

    @cached_property
    def body(self) -> dict[str, Any]:
        """What is signed."""
        parent = self.parent
        return {
            "accepted": [[entry.hotkey, entry.sha256] for entry in self.accepted],
            "checkpoint": [[self.checkpoint.window, self.checkpoint.digest]],
            "leader": self.leader,
            "norm_limit": float(self.norm_limit).hex(),
            "parent": [[parent.digest, parent.window, parent.leader]] if parent else [],
            "receipts": [list(receipt) for receipt in self.receipts],
            "root": self.root,
            "run": self.run,
            "update": self.update,
            "update_bytes": self.update_bytes,
            "window": self.window,
        }

    @cached_property
    def digest(self) -> str:
        """What ballots name: of the content alone, since signatures are randomised."""
        return digest(canonical(self.body))

    def seal(self, sign: Sign) -> bytes:
        """The signed document, by the window's leader."""
        return seal_document(_PROPOSAL, self.body, self.leader, sign)


@dataclass(frozen=True)
class Manifest:
    """A proposal and the ballots on it; what they come to is `outcome`."""

    proposal: Proposal
    ballots: Mapping[str, Ballot]
    documents: tuple[Mapping[str, Any], ...]

    @property
    def is_genesis(self) -> bool:
        return self.proposal.parent is None

    def seal(self, sign: Sign) -> bytes:
        """The signed document, by the proposal's leader."""
        body = {"ballots": [dict(d) for d in self.documents], "proposal": self.proposal.body}
        return seal_document(_MANIFEST, body, self.proposal.leader, sign)

    def outcome(
        self, stakes: Mapping[str, int], threshold: float, proposer_counts: bool
    ) -> Outcome:
        """What the ballots come to among validators of these stakes."""
        return outcome(self.proposal, self.ballots, stakes, threshold, proposer_counts)


def outcome(
    proposal: Proposal,
    ballots: Mapping[str, Ballot],
    stakes: Mapping[str, int],
    threshold: float,
    proposer_counts: bool,
) -> Outcome:
    """What ballots on a proposal come to among validators of these stakes."""
    return tally(
        [hotkey for hotkey, ballot in ballots.items() if ballot.approves],
        [hotkey for hotkey, ballot in ballots.items() if not ballot.approves],
        voters(stakes, proposal.leader, proposer_counts),
        threshold,
    )


def open_proposal(
    data: bytes, run: str, window: int, leader: str, verify: VerifySignature
) -> Proposal | Rejection:
    """The proposal for `window` signed by `leader`, or why it is refused."""
    body = open_document(data, _PROPOSAL, leader, verify)
    return body if isinstance(body, Rejection) else _checked(body, run, window, leader)


def open_manifest(
    data: bytes, run: str, window: int, leader: str, verify: VerifySignature
) -> Manifest | Rejection:
    """The manifest of `window` signed by `leader`, every ballot's signature checked."""
    body = open_document(data, _MANIFEST, leader, verify)
    if isinstance(body, Rejection):
        return body
    try:
        fields = Fields(body)
        content, documents = fields.take("proposal"), fields.take("ballots")
        fields.end()
        if type(documents) is not list or any(type(d) is not dict for d in documents):
            raise Malformed("ballots is not a list of documents")
        hotkeys = [d.get("hotkey") for d in documents]
        if not all(is_name(hotkey) for hotkey in hotkeys):
            raise Malformed("a ballot without a hotkey")
        sorted_unique("ballots", [str(hotkey) for hotkey in hotkeys])
    except Malformed as error:
        return Rejection(Reason.BAD_DOCUMENT, str(error))
    proposal = _checked(content, run, window, leader)
    if isinstance(proposal, Rejection):
        return proposal
    ballots: dict[str, Ballot] = {}
    for document in documents:
        hotkey = document["hotkey"]
        ballot = open_ballot(canonical(document), run, window, proposal.digest, hotkey, verify)
        if isinstance(ballot, Rejection):
            return Rejection(ballot.reason, f"the ballot of {hotkey[:64]}: {ballot.detail}")
        ballots[hotkey] = ballot
    return Manifest(proposal, ballots, tuple(documents))


def _checked(body: object, run: str, window: int, leader: str) -> Proposal | Rejection:
    proposal = read_body(body, _read, run, window)
    if not isinstance(proposal, Rejection) and proposal.leader != leader:
        return Rejection(Reason.WRONG_HOTKEY, repr(proposal.leader[:64]))
    return proposal


def _read(fields: Fields) -> Proposal:
    parent, receipts = fields.rows("parent", 3), fields.rows("receipts", 2)
    accepted, checkpoint = fields.rows("accepted", 2), fields.rows("checkpoint", 2)
    if len(parent) > 1 or len(checkpoint) != 1:
        raise Malformed("there is at most one parent and exactly one checkpoint")
    proposal = Proposal(
        run=fields.name("run"),
        window=fields.count("window"),
        leader=fields.name("leader"),
        parent=_parent(parent[0]) if parent else None,
        receipts=tuple(_pair(row) for row in receipts),
        accepted=tuple(Accepted(*_pair(row)) for row in accepted),
        norm_limit=real("norm_limit", fields.take("norm_limit")),
        update=fields.digest_or_none("update"),
        update_bytes=fields.count("update_bytes"),
        root=fields.digest("root"),
        checkpoint=_checkpoint(checkpoint[0]),
    )
    fields.end()
    _require_consistent(proposal)
    return proposal


def _require_consistent(proposal: Proposal) -> None:
    sorted_unique("receipts", [witness for witness, _ in proposal.receipts])
    sorted_unique("accepted", [entry.hotkey for entry in proposal.accepted])
    if not proposal.norm_limit > 0:
        raise Malformed("norm_limit is not above 0")
    if proposal.checkpoint.window > proposal.window - (proposal.parent is not None):
        raise Malformed("a checkpoint of a window to come")
    empty = not proposal.update and not proposal.update_bytes and not proposal.accepted
    if proposal.parent is None and not empty:
        raise Malformed("a genesis has no update")
    if proposal.parent is not None:
        if proposal.parent.window >= proposal.window:
            raise Malformed("the parent is no earlier window")
        if not (proposal.update and proposal.update_bytes and proposal.accepted):
            raise Malformed("no update of any delta")


def _pair(row: list[Any]) -> tuple[str, str]:
    fields = Fields(dict(zip(("hotkey", "sha256"), row, strict=True)))
    return fields.name("hotkey"), fields.digest("sha256")


def _parent(row: list[Any]) -> Parent:
    fields = Fields(dict(zip(("digest", "window", "leader"), row, strict=True)))
    return Parent(fields.digest("digest"), fields.count("window"), fields.name("leader"))


def _checkpoint(row: list[Any]) -> CheckpointName:
    fields = Fields(dict(zip(("window", "digest"), row, strict=True)))
    return CheckpointName(fields.count("window"), fields.digest("digest"))
