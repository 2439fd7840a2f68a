"""A proposal, the votes on it and its manifest, and how a reader takes what a leader signed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from reference import HashKeys, verify_hash
from tampering import A, B, C, D, signed

from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.ballots import Ballot, Objection
from boltzmann.protocol.manifest import (
    CheckpointName,
    Manifest,
    Parent,
    Proposal,
    open_manifest,
    open_proposal,
)
from boltzmann.protocol.rejection import Rejection

LEADER = HashKeys("5Leader")
PROPOSAL = Proposal(
    run="run-1",
    window=7,
    leader="5Leader",
    parent=Parent(A, 5, "5Before"),
    receipts=(("5W1", A), ("5W2", B)),
    accepted=(Accepted("5Alice", B), Accepted("5Bob", C)),
    norm_limit=0.75,
    update=B,
    update_bytes=1234,
    root=C,
    checkpoint=CheckpointName(4, D),
)
BODY: dict[str, Any] = {
    "accepted": [["5Alice", B], ["5Bob", C]],
    "checkpoint": [[4, D]],
    "leader": "5Leader",
    "norm_limit": "0x1.8000000000000p-1",
    "parent": [[A, 5, "5Before"]],
    "receipts": [["5W1", A], ["5W2", B]],
    "root": C,
    "run": "run-1",
    "update": B,
    "update_bytes": 1234,
    "window": 7,
}
GENESIS = replace(
    PROPOSAL,
    window=3,
    parent=None,
    receipts=(),
    accepted=(),
    norm_limit=float("inf"),
    update="",
    update_bytes=0,
    checkpoint=CheckpointName(3, D),
)
APPROVAL = Ballot("run-1", 7, PROPOSAL.digest, Objection.NONE, 2.5, 2.25)
LOSS = replace(APPROVAL, objection=Objection.LOSS)
SEALED = PROPOSAL.seal(LEADER.sign)


def document(ballot: Ballot, hotkey: str) -> dict[str, Any]:
    """A ballot as it lies in a manifest."""
    loaded: dict[str, Any] = json.loads(ballot.seal(hotkey, HashKeys(hotkey).sign))
    return loaded


VOTES = (document(APPROVAL, "5V1"), document(LOSS, "5V2"), document(APPROVAL, "5V3"))
MANIFEST = Manifest(PROPOSAL, {"5V1": APPROVAL, "5V2": LOSS, "5V3": APPROVAL}, VOTES)
WHOLE: dict[str, Any] = {"ballots": list(VOTES), "proposal": BODY}


def proposed(body: Any, window: int = 7) -> Proposal | Rejection:
    """What a reader makes of a proposal that the leader signed."""
    return open_proposal(
        signed("proposal", body, "5Leader"), "run-1", window, "5Leader", verify_hash
    )


def published(body: Any) -> Manifest | Rejection:
    """What a reader makes of a manifest that the leader signed."""
    return open_manifest(signed("manifest", body, "5Leader"), "run-1", 7, "5Leader", verify_hash)
