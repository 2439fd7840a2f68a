"""Ballots: pinned bytes, one vote on one proposal, and every malformed field refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import HashKeys, verify_hash
from tampering import (
    COUNTS,
    DEEP,
    DIGESTS,
    LARGEST,
    NAMES,
    NO_COUNT,
    NO_DIGEST,
    NO_NAME,
    NO_NUMBER,
    A,
    B,
    changed,
    constant,
    refusal,
    signed,
    tampered,
)

from boltzmann.protocol.ballots import MAX_BALLOT_BYTES, Ballot, Objection, open_ballot
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, digest
from boltzmann.protocol.rejection import Reason, Rejection

KEYS = HashKeys("5Voter")
APPROVAL = Ballot("run-1", 7, A, Objection.NONE, 2.5, 2.25)
OBJECTION = Ballot("run-1", 7, A, Objection.ROOT)
BODY: dict[str, Any] = {
    "loss_after": "0x1.2000000000000p+1",
    "loss_before": "0x1.4000000000000p+1",
    "objection": "",
    "proposal": A,
    "run": "run-1",
    "window": 7,
}
SEALED = APPROVAL.seal("5Voter", KEYS.sign)


def opened(body: Any) -> Ballot | Rejection:
    """What a reader makes of a body that the voter signed."""
    return open_ballot(signed("ballot", body, "5Voter"), "run-1", 7, A, "5Voter", verify_hash)


def test_sealed_ballots_are_pinned() -> None:
    sealed = APPROVAL.seal("5Voter", constant)
    unsigned = {"body": BODY, "hotkey": "5Voter", "kind": "ballot", "version": 1}
    whole = {**unsigned, "signature": bytes(range(64)).hex()}
    assert sealed == json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()
    assert digest(sealed) == "9a3e249b5042830d9ef857c8bdb3aac449b9b08f9e34c7f40e1221144d542550"
    objecting = digest(OBJECTION.seal("5Voter", constant))
    assert objecting == "4e2b5b4bfdd768cf573a2bf6b0bac8e741d8fac257fadc1ce4a64db97694e9c4"


LOSSES = st.none() | st.floats(allow_nan=False)


@given(
    run=NAMES,
    window=COUNTS,
    proposal=DIGESTS,
    objection=st.sampled_from(Objection),
    before=LOSSES,
    after=LOSSES,
    hotkey=NAMES,
)
def test_what_is_sealed_opens(
    run: str,
    window: int,
    proposal: str,
    objection: Objection,
    before: float | None,
    after: float | None,
    hotkey: str,
) -> None:
    ballot = Ballot(run, window, proposal, objection, before, after)
    sealed = ballot.seal(hotkey, HashKeys(hotkey).sign)
    assert open_ballot(sealed, run, window, proposal, hotkey, verify_hash) == ballot
    assert ballot.approves == (objection is Objection.NONE)


def test_only_no_objection_approves() -> None:
    assert APPROVAL.approves
    assert not any(Ballot("r", 1, A, o).approves for o in Objection if o is not Objection.NONE)


def test_the_longest_ballot_is_within_its_bound() -> None:
    loss = -float.fromhex("0x1.fffffffffffffp-1022")
    longest = max(Objection, key=lambda objection: len(objection.value))
    sealed = Ballot("r" * 32, LARGEST, A, longest, loss, loss).seal("5" * 48, constant)
    assert len(sealed) <= MAX_BALLOT_BYTES


def test_a_ballot_is_good_for_one_run_window_proposal_hotkey_and_kind() -> None:
    assert open_ballot(SEALED, "run-1", 7, A, "5Voter", verify_hash) == APPROVAL
    elsewhere = [
        ("run-2", 7, A, "5Voter"),
        ("run-1", 8, A, "5Voter"),
        ("run-1", 7, B, "5Voter"),
        ("run-1", 7, A, "5Other"),
    ]
    reasons = [refusal(open_ballot(SEALED, *place, verify_hash)) for place in elsewhere]
    assert reasons == [
        *(Reason.WRONG_RUN, Reason.WRONG_WINDOW, Reason.BAD_DIGEST, Reason.WRONG_HOTKEY)
    ]
    commit = signed("commit", BODY, "5Voter")
    assert refusal(open_ballot(commit, "run-1", 7, A, "5Voter", verify_hash)) is Reason.BAD_KIND


def test_another_hotkeys_signature_is_refused() -> None:
    stolen = APPROVAL.seal("5Voter", HashKeys("5Other").sign)
    result = open_ballot(stolen, "run-1", 7, A, "5Voter", verify_hash)
    assert refusal(result) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("name", "new"),
    [
        *(("run", "run-2"), ("window", 8), ("proposal", B), ("objection", "loss")),
        *(("loss_before", ""), ("loss_after", "0x0.0p+0")),
    ],
)
def test_a_changed_field_breaks_the_signature(name: str, new: Any) -> None:
    document = changed(json.loads(SEALED), ("body", name), new)
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    result = open_ballot(data, "run-1", 7, A, "5Voter", verify_hash)
    assert refusal(result) is Reason.BAD_SIGNATURE


NO_LOSS = [value for value in [*NO_NUMBER, 0, "none", "null"] if value != ""]
MALFORMED: dict[str, list[Any]] = {
    "loss_after": NO_LOSS,
    "loss_before": NO_LOSS,
    "objection": ["none", "LOSS", "loss ", "gate", None, True, 0, ["loss"], {"loss": 1}],
    "proposal": [*NO_DIGEST, ""],
    "run": NO_NAME,
    "window": NO_COUNT,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in MALFORMED.items() for value in [*values, DEEP]],
    ids=lambda value: ascii(value)[:30],
)
def test_a_malformed_field_is_refused_though_it_is_signed(name: str, value: Any) -> None:
    assert refusal(opened({**BODY, name: value})) is Reason.BAD_DOCUMENT


def test_fields_are_neither_missing_nor_more() -> None:
    for name in BODY:
        less = {key: value for key, value in BODY.items() if key != name}
        assert refusal(opened(less)) is Reason.BAD_DOCUMENT
    for extra in ("", "approves", "stake"):
        assert refusal(opened({**BODY, extra: True})) is Reason.BAD_DOCUMENT


def test_a_doubled_vote_is_refused() -> None:
    text = SEALED.decode().replace('"objection":', '"objection":"loss","objection":')
    result = open_ballot(text.encode(), "run-1", 7, A, "5Voter", verify_hash)
    assert refusal(result) is Reason.BAD_DOCUMENT


@given(body=tampered(BODY))
def test_a_tampered_body_never_raises_and_has_one_spelling(body: dict[str, Any]) -> None:
    result = opened(body)
    if isinstance(result, Ballot):
        assert result.seal("5Voter", KEYS.sign) == signed("ballot", body, "5Voter")
    else:
        assert str(result).isprintable()


@given(place=st.integers(0, len(SEALED) - 1), mask=st.integers(1, 255))
def test_a_flipped_byte_is_refused(place: int, mask: int) -> None:
    data = bytearray(SEALED)
    data[place] ^= mask
    assert refusal(open_ballot(bytes(data), "run-1", 7, A, "5Voter", verify_hash)) is not None


@given(data=st.binary(max_size=300))
def test_garbage_is_refused_and_never_raises(data: bytes) -> None:
    result = open_ballot(data, "run-1", 7, A, "5Voter", verify_hash)
    assert refusal(result) is Reason.BAD_DOCUMENT


def test_what_is_cut_or_too_large_is_refused() -> None:
    for end in range(len(SEALED)):
        result = open_ballot(SEALED[:end], "run-1", 7, A, "5Voter", verify_hash)
        assert refusal(result) is Reason.BAD_DOCUMENT
    large = SEALED + b" " * MAX_DOCUMENT_BYTES
    result = open_ballot(large, "run-1", 7, A, "5Voter", verify_hash)
    assert refusal(result) is Reason.WRONG_SIZE
