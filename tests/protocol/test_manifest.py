"""Proposals and manifests: pinned bytes, what a digest holds, and votes that bind to content."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_kit import (
    APPROVAL,
    BODY,
    GENESIS,
    LEADER,
    MANIFEST,
    PROPOSAL,
    SEALED,
    VOTES,
    WHOLE,
    document,
    proposed,
    published,
)
from reference import HashKeys, verify_hash
from tampering import DIGESTS, LARGEST, NAMES, A, B, C, changed, constant, refusal, signed

from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.ballots import Ballot, Objection
from boltzmann.protocol.council import Outcome
from boltzmann.protocol.documents import canonical, digest
from boltzmann.protocol.manifest import (
    CheckpointName,
    Manifest,
    Parent,
    Proposal,
    open_manifest,
    open_proposal,
)
from boltzmann.protocol.rejection import Reason


def spelled(kind: str, body: Any) -> bytes:
    whole = {"body": body, "hotkey": "5Leader", "kind": kind, "version": 1}
    whole["signature"] = bytes(range(64)).hex()
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()


def test_what_is_sealed_is_pinned() -> None:
    assert PROPOSAL.body == BODY
    assert (
        PROPOSAL.digest
        == digest(canonical(BODY))
        == "3522c0f5722103e49f983f1a60a788335818fe4ef51ab87c1e5c730256186407"
    )
    assert GENESIS.digest == "8ceff4ee513c1c1166a410c80a9ad1130fb7e5d1c80f4a12ecf05258de129ec8"
    assert PROPOSAL.seal(constant) == spelled("proposal", BODY)
    assert (
        digest(PROPOSAL.seal(constant))
        == "c0594502fc09b6a5eec2c45d6d40d1f5090a64098ae35f00d52ea65af032948c"
    )
    assert MANIFEST.seal(constant) == spelled("manifest", WHOLE)
    assert (
        digest(MANIFEST.seal(constant))
        == "56a49a5d0a1dfcb1b2c465243118c08e7d76a24599348d934d6162798be8fb4c"
    )


PAIRS = st.dictionaries(NAMES, DIGESTS, max_size=4).map(lambda d: tuple(sorted(d.items())))


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    window = draw(st.integers(1, LARGEST))
    genesis = draw(st.booleans())
    entries = draw(st.dictionaries(NAMES, DIGESTS, min_size=1, max_size=4))
    parent = Parent(draw(DIGESTS), draw(st.integers(0, window - 1)), draw(NAMES))
    accepted = tuple(Accepted(hotkey, entries[hotkey]) for hotkey in sorted(entries))
    return Proposal(
        run=draw(NAMES),
        window=window,
        leader=draw(NAMES),
        parent=None if genesis else parent,
        receipts=draw(PAIRS),
        accepted=() if genesis else accepted,
        norm_limit=draw(st.floats(min_value=0, exclude_min=True, allow_nan=False)),
        update="" if genesis else draw(DIGESTS),
        update_bytes=0 if genesis else draw(st.integers(1, LARGEST)),
        root=draw(DIGESTS),
        checkpoint=CheckpointName(draw(st.integers(0, window - (not genesis))), draw(DIGESTS)),
    )


@given(proposal=proposals())
def test_a_sealed_proposal_opens(proposal: Proposal) -> None:
    sealed = proposal.seal(HashKeys(proposal.leader).sign)
    place = (proposal.run, proposal.window, proposal.leader)
    opened = open_proposal(sealed, *place, verify_hash)
    assert opened == proposal
    assert isinstance(opened, Proposal)
    assert opened.digest == proposal.digest


@given(proposal=proposals(), votes=st.dictionaries(NAMES, st.sampled_from(Objection), max_size=4))
def test_a_sealed_manifest_opens(proposal: Proposal, votes: dict[str, Objection]) -> None:
    ballots = {
        hotkey: Ballot(proposal.run, proposal.window, proposal.digest, votes[hotkey])
        for hotkey in sorted(votes)
    }
    documents = tuple(document(ballot, hotkey) for hotkey, ballot in ballots.items())
    manifest = Manifest(proposal, ballots, documents)
    sealed = manifest.seal(HashKeys(proposal.leader).sign)
    place = (proposal.run, proposal.window, proposal.leader)
    opened = open_manifest(sealed, *place, verify_hash)
    assert opened == manifest
    assert isinstance(opened, Manifest)
    assert opened.is_genesis == (proposal.parent is None)
    assert opened.seal(HashKeys(proposal.leader).sign) == sealed


def test_a_whole_subnet_s_manifest_fits_into_a_document() -> None:
    """256 miners, and as many validators as a subnet of the chain permits: 64 vote."""
    hotkeys = [f"5{number:047d}" for number in range(256)]
    proposal = replace(
        PROPOSAL,
        run="r" * 32,
        accepted=tuple(Accepted(hotkey, A) for hotkey in hotkeys),
        receipts=tuple((hotkey, B) for hotkey in hotkeys[:64]),
    )
    loss = float.fromhex("-0x1.fffffffffffffp-1022")
    ballot = Ballot("r" * 32, 7, proposal.digest, Objection.CHECKPOINT, loss, loss)
    votes = dict.fromkeys(hotkeys[:64], ballot)
    documents = tuple(document(ballot, hotkey) for hotkey in votes)
    sealed = Manifest(proposal, votes, documents).seal(LEADER.sign)
    opened = open_manifest(sealed, "r" * 32, 7, "5Leader", verify_hash)
    assert opened == Manifest(proposal, votes, documents)


def test_the_digest_is_of_the_content_and_not_of_a_signature() -> None:
    again = HashKeys("5Other").sign
    assert PROPOSAL.seal(again) != PROPOSAL.seal(LEADER.sign)
    assert replace(PROPOSAL).digest == PROPOSAL.digest
    opened = proposed(BODY)
    assert isinstance(opened, Proposal)
    assert opened.digest == PROPOSAL.digest


@given(one=proposals(), other=proposals())
def test_equal_contents_and_only_they_have_equal_digests(one: Proposal, other: Proposal) -> None:
    assert (one == other) == (one.digest == other.digest)
    assert replace(one).digest == one.digest


OTHERWISE: dict[str, Any] = {
    "run": "run-2",
    "window": 8,
    "leader": "5Other",
    "parent": Parent(A, 4, "5Before"),
    "receipts": (("5W1", A),),
    "accepted": (Accepted("5Alice", B),),
    "norm_limit": 0.5,
    "update": C,
    "update_bytes": 1235,
    "root": B,
    "checkpoint": CheckpointName(4, A),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_every_field_is_in_the_digest_and_binds_the_votes(name: str) -> None:
    """Ballots on one proposal are worthless in the manifest of any other."""
    other = replace(PROPOSAL, **{name: OTHERWISE[name]})
    assert other.digest != PROPOSAL.digest
    stolen = Manifest(other, MANIFEST.ballots, VOTES).seal(HashKeys(other.leader).sign)
    place = (other.run, other.window, other.leader)
    found = {"run": Reason.WRONG_RUN, "window": Reason.WRONG_WINDOW}.get(name, Reason.BAD_DIGEST)
    assert refusal(open_manifest(stolen, *place, verify_hash)) is found


def test_a_digest_edited_into_a_ballot_breaks_its_signature() -> None:
    other = replace(PROPOSAL, root=B)
    edited = [changed(vote, ("body", "proposal"), other.digest) for vote in VOTES]
    result = published({"ballots": edited, "proposal": other.body})
    assert refusal(result) is Reason.BAD_SIGNATURE


def test_both_are_good_for_one_run_window_leader_and_kind() -> None:
    whole = MANIFEST.seal(LEADER.sign)
    elsewhere = [("run-2", 7, "5Leader"), ("run-1", 8, "5Leader"), ("run-1", 7, "5Other")]
    expected = [Reason.WRONG_RUN, Reason.WRONG_WINDOW, Reason.WRONG_HOTKEY]
    assert [refusal(open_proposal(SEALED, *at, verify_hash)) for at in elsewhere] == expected
    assert [refusal(open_manifest(whole, *at, verify_hash)) for at in elsewhere] == expected
    here = ("run-1", 7, "5Leader")
    assert open_proposal(SEALED, *here, verify_hash) == PROPOSAL
    assert open_manifest(whole, *here, verify_hash) == MANIFEST
    assert refusal(open_proposal(whole, *here, verify_hash)) is Reason.BAD_KIND
    assert refusal(open_manifest(SEALED, *here, verify_hash)) is Reason.BAD_KIND


def test_another_hotkeys_signature_or_proposal_is_refused() -> None:
    other = HashKeys("5Other")
    here = ("run-1", 7, "5Leader")
    assert refusal(open_proposal(PROPOSAL.seal(other.sign), *here, verify_hash)) is (
        Reason.BAD_SIGNATURE
    )
    assert refusal(open_manifest(MANIFEST.seal(other.sign), *here, verify_hash)) is (
        Reason.BAD_SIGNATURE
    )
    # Signed by one leader, in the name of another.
    for kind, body in (("proposal", BODY), ("manifest", WHOLE)):
        data = signed(kind, body, "5Other")
        reader: Any = open_proposal if kind == "proposal" else open_manifest
        assert refusal(reader(data, "run-1", 7, "5Other", verify_hash)) is Reason.WRONG_HOTKEY


@pytest.mark.parametrize("name", BODY)
def test_a_changed_field_breaks_the_signature(name: str) -> None:
    other = replace(PROPOSAL, **{name: OTHERWISE[name]}).body[name]
    for kind, path in (("proposal", ("body", name)), ("manifest", ("body", "proposal", name))):
        whole: Any = json.loads(SEALED if kind == "proposal" else MANIFEST.seal(LEADER.sign))
        data = canonical(changed(whole, path, other))
        reader: Any = open_proposal if kind == "proposal" else open_manifest
        result = reader(data, "run-1", 7, "5Leader", verify_hash)
        assert refusal(result) is Reason.BAD_SIGNATURE


def test_the_outcome_is_by_stake() -> None:
    def outcome(stakes: dict[str, int], threshold: float = 0.5, counts: bool = True) -> Outcome:
        return MANIFEST.outcome(stakes, threshold, counts)

    assert outcome({"5V1": 1, "5V2": 1, "5V3": 1}) is Outcome.APPROVED
    assert outcome({"5V1": 1, "5V2": 2, "5V3": 1}) is Outcome.REJECTED
    assert outcome({"5V1": 1, "5V2": 1, "5V3": 1, "5V4": 1}) is Outcome.OPEN
    assert outcome({"5V1": 1, "5V2": 1, "5V3": 1}, 0.7) is Outcome.REJECTED
    # The leader's own stake counts in the whole, or not at all.
    led = {"5V1": 1, "5V3": 1, "5Leader": 2}
    assert outcome(led) is Outcome.OPEN
    assert outcome(led, counts=False) is Outcome.APPROVED
    assert outcome({"5Stranger": 1}) is Outcome.OPEN
    own = replace(MANIFEST, ballots={"5Leader": APPROVAL})
    assert own.outcome({"5Leader": 5, "5V1": 1}, 0.5, True) is Outcome.APPROVED
    assert own.outcome({"5Leader": 5, "5V1": 1}, 0.5, False) is Outcome.OPEN


def test_a_leader_that_leaves_out_objections_gains_no_approval() -> None:
    stakes = {"5V1": 2, "5V2": 3, "5V3": 0}
    hiding = replace(MANIFEST, ballots={"5V1": APPROVAL})
    assert MANIFEST.outcome(stakes, 0.5, True) is Outcome.REJECTED
    assert hiding.outcome(stakes, 0.5, True) is Outcome.OPEN
