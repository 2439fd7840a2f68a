"""One validator's vote on one proposal, signed, with its reason and what it measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from boltzmann.protocol.documents import open_document, read_body, seal_document
from boltzmann.protocol.fields import Fields, Malformed
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.wire import Sign, VerifySignature

MAX_BALLOT_BYTES = 2048
_KIND = "ballot"


class Objection(str, Enum):
    """Why a validator rejects a proposal."""

    NONE = ""
    PARENT = "parent"  # does not stand on the manifest the chain ordered
    RECEIPTS = "receipts"  # names receipts that are not there, or of too little stake
    ADMISSION = "admission"  # accepts other deltas than follow from its receipts
    UPDATE = "update"  # the aggregate of the accepted deltas is another
    ROOT = "root"  # the update leads to another state
    CHECKPOINT = "checkpoint"  # names another checkpoint than this validator made
    LOSS = "loss"  # the candidate is worse on held-out pages


@dataclass(frozen=True)
class Ballot:
    """`proposal` is the digest of what is voted on; losses are nats per token on private pages.

    Losses are None where the vote did not come to measuring them.
    """

    run: str
    window: int
    proposal: str
    objection: Objection
    loss_before: float | None = None
    loss_after: float | None = None

    @property
    def approves(self) -> bool:
        return self.objection is Objection.NONE

    def seal(self, hotkey: str, sign: Sign) -> bytes:
        """The signed document."""
        body = {
            "loss_after": _spelled(self.loss_after),
            "loss_before": _spelled(self.loss_before),
            "objection": self.objection.value,
            "proposal": self.proposal,
            "run": self.run,
            "window": self.window,
        }
        return seal_document(_KIND, body, hotkey, sign)


def open_ballot(
    data: bytes, run: str, window: int, proposal: str, hotkey: str, verify: VerifySignature
) -> Ballot | Rejection:
    """The ballot of `hotkey` on this proposal, or why it is refused."""
    body = open_document(data, _KIND, hotkey, verify)
    ballot = body if isinstance(body, Rejection) else read_body(body, _read, run, window)
    if isinstance(ballot, Rejection):
        return ballot
    if ballot.proposal != proposal:
        return Rejection(Reason.BAD_DIGEST, f"a vote on {ballot.proposal[:12]}")
    return ballot


def _read(fields: Fields) -> Ballot:
    objection = fields.word("objection")
    if objection not in {o.value for o in Objection}:
        raise Malformed("objection is unknown")
    ballot = Ballot(
        run=fields.name("run"),
        window=fields.count("window"),
        proposal=fields.digest("proposal"),
        objection=Objection(objection),
        loss_before=_loss(fields, "loss_before"),
        loss_after=_loss(fields, "loss_after"),
    )
    fields.end()
    return ballot


def _loss(fields: Fields, name: str) -> float | None:
    text = fields.word(name)
    return Fields({name: text}).real(name) if text else None


def _spelled(loss: float | None) -> str:
    return "" if loss is None else loss.hex()
