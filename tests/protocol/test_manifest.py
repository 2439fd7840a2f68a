"""Proposals and manifests: pinned bytes, what a leader may say, and votes that bind to content."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import HashKeys, verify_hash
from tampering import (
    COUNTS,
    DEEP,
    DIGESTS,
    JSON,
    LARGEST,
    NAMES,
    NO_COUNT,
    NO_DIGEST,
    NO_NAME,
    NO_NUMBER,
    A,
    B,
    C,
    D,
    changed,
    constant,
    refusal,
    signed,
    tampered,
)

from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.ballots import Ballot, Objection
from boltzmann.protocol.council import Outcome
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, canonical, digest
from boltzmann.protocol.manifest import (
    CheckpointName,
    Manifest,
    Parent,
    Proposal,
    open_manifest,
    open_proposal,
)
from boltzmann.protocol.rejection import Reason, Rejection

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


NO_ROWS: list[Any] = [None, "", {}, 3, True, [[]], [None], ["5Alice"], [{}], [["5Alice"]], DEEP]
PAIR_ROWS: list[Any] = [
    *NO_ROWS,
    *([["5Bob", B], ["5Alice", C]], [["5Bob", B], ["5Bob", B]], [["5Bob", B], ["5Bob", C]]),
    *([["5Bob", B, C]], [["5Bob", ""]], [["", B]]),
]
MALFORMED: dict[tuple[int | str, ...], list[Any]] = {
    ("accepted",): [*PAIR_ROWS, []],
    ("accepted", 0, 0): NO_NAME,
    ("accepted", 0, 1): [*NO_DIGEST, "", DEEP],
    ("receipts",): PAIR_ROWS,
    ("receipts", 0, 0): NO_NAME,
    ("receipts", 0, 1): [*NO_DIGEST, "", DEEP],
    ("checkpoint",): [*NO_ROWS, [], [[4, D], [4, D]], [4, D], [[D, 4]]],
    ("checkpoint", 0, 0): [*NO_COUNT, 7, 8],
    ("checkpoint", 0, 1): [*NO_DIGEST, ""],
    ("leader",): NO_NAME,
    ("norm_limit",): [*NO_NUMBER, "0x0.0p+0", "-0x0.0p+0", "-inf", "-0x1.8000000000000p-1"],
    ("parent",): [*NO_ROWS, [], [[A, 5, "5Before"]] * 2, [A, 5, "5Before"], [[A, 5]]],
    ("parent", 0, 0): [*NO_DIGEST, ""],
    ("parent", 0, 1): [*NO_COUNT, 7, 8],
    ("parent", 0, 2): NO_NAME,
    ("root",): [*NO_DIGEST, ""],
    ("run",): NO_NAME,
    ("update",): [*NO_DIGEST, ""],
    ("update_bytes",): [*NO_COUNT, 0],
    ("window",): NO_COUNT,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in MALFORMED.items() for value in values],
    ids=lambda value: ascii(value)[:30],
)
def test_a_malformed_field_is_refused_though_it_is_signed(
    path: tuple[int | str, ...], value: Any
) -> None:
    body = changed(BODY, path, value)
    assert refusal(proposed(body)) is Reason.BAD_DOCUMENT
    assert refusal(published({"ballots": [], "proposal": body})) is Reason.BAD_DOCUMENT


def test_fields_are_neither_missing_nor_more() -> None:
    for name in BODY:
        less = {key: value for key, value in BODY.items() if key != name}
        assert refusal(proposed(less)) is Reason.BAD_DOCUMENT
    for extra in ("", "self", "digest", "body", "ballots"):
        assert refusal(proposed({**BODY, extra: []})) is Reason.BAD_DOCUMENT
    for name in WHOLE:
        rest = {key: value for key, value in WHOLE.items() if key != name}
        assert refusal(published(rest)) is Reason.BAD_DOCUMENT
    assert refusal(published({**WHOLE, "outcome": "approved"})) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize("value", [None, [], "x", 3, True, [BODY], DEEP], ids=ascii)
def test_what_is_no_object_is_no_proposal(value: Any) -> None:
    assert refusal(published({"ballots": [], "proposal": value})) is Reason.BAD_DOCUMENT


def test_a_doubled_field_is_refused() -> None:
    text = SEALED.decode().replace('"root":', f'"root":"{A}","root":')
    result = open_proposal(text.encode(), "run-1", 7, "5Leader", verify_hash)
    assert refusal(result) is Reason.BAD_DOCUMENT


def test_a_genesis_has_a_checkpoint_and_nothing_else() -> None:
    assert proposed(GENESIS.body, 3) == GENESIS
    for name in ("accepted", "update", "update_bytes"):
        assert refusal(proposed({**GENESIS.body, name: BODY[name]}, 3)) is Reason.BAD_DOCUMENT
    updating = {name: BODY[name] for name in ("accepted", "update", "update_bytes")}
    assert refusal(proposed({**GENESIS.body, **updating}, 3)) is Reason.BAD_DOCUMENT
    assert proposed(replace(GENESIS, window=0, checkpoint=CheckpointName(0, D)).body, 0)
    later = {**GENESIS.body, "checkpoint": [[4, D]]}
    assert refusal(proposed(later, 3)) is Reason.BAD_DOCUMENT


def test_a_proposal_without_any_update_is_none() -> None:
    """A window without deltas has no manifest: it is empty, for everyone alike."""
    for names in (["accepted"], ["update"], ["update_bytes"], ["update", "update_bytes"], [*BODY]):
        empty = {"accepted": [], "update": "", "update_bytes": 0}
        body = {**BODY, **{name: empty[name] for name in names if name in empty}}
        assert refusal(proposed(body)) is Reason.BAD_DOCUMENT


def test_parent_and_checkpoint_are_of_earlier_windows() -> None:
    for window, reason in ((0, None), (6, None), (7, Reason.BAD_DOCUMENT)):
        for name, row in (("parent", [A, window, "5Before"]), ("checkpoint", [window, D])):
            assert refusal(proposed({**BODY, name: [row]})) is reason


def test_no_limit_yet_is_spelled_inf() -> None:
    unlimited = proposed({**BODY, "norm_limit": "inf"})
    assert isinstance(unlimited, Proposal)
    assert unlimited.norm_limit == float("inf")


def voted(*votes: Any) -> Reason | None:
    return refusal(published({"ballots": list(votes), "proposal": BODY}))


def test_ballots_are_there_once_each_in_order_of_hotkeys() -> None:
    one, two, three = VOTES
    assert voted() is voted(one) is voted(one, three) is None
    for wrong in ([two, one], [one, one], [one, two, two], [one, three, two], [three, one, one]):
        assert voted(*wrong) is Reason.BAD_DOCUMENT
    changed_mind = document(LOSS, "5V1")
    assert voted(one, changed_mind) is voted(changed_mind, one) is Reason.BAD_DOCUMENT


def test_each_ballot_is_signed_by_its_voter() -> None:
    one, two, _ = VOTES
    assert voted({**one, "signature": two["signature"]}) is Reason.BAD_SIGNATURE
    assert voted({**one, "hotkey": "5V0"}) is Reason.BAD_SIGNATURE
    assert voted(changed(two, ("body", "objection"), "")) is Reason.BAD_SIGNATURE
    leader_s = json.loads(APPROVAL.seal("5V1", LEADER.sign))
    assert voted(leader_s) is Reason.BAD_SIGNATURE


def test_each_ballot_is_on_this_proposal_of_this_window_and_run() -> None:
    other: dict[str, Any] = {"run": "run-2", "window": 6, "proposal": A}
    found = [voted(document(replace(APPROVAL, **{n: v}), "5V1")) for n, v in other.items()]
    assert found == [Reason.WRONG_RUN, Reason.WRONG_WINDOW, Reason.BAD_DIGEST]


def test_other_documents_of_a_voter_are_no_ballots() -> None:
    for kind in ("commit", "receipt", "proposal", "manifest"):
        assert voted(json.loads(signed(kind, VOTES[0]["body"], "5V1"))) is Reason.BAD_KIND


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "",
        3,
        True,
        [None],
        [[]],
        [{}],
        ["5V1"],
        [{"hotkey": 5}],
        [{"hotkey": "5V1"}],
        DEEP,
    ],
    ids=ascii,
)
def test_what_is_no_list_of_ballots_is_refused(value: Any) -> None:
    assert refusal(published({**WHOLE, "ballots": value})) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize("name", VOTES[0])
def test_a_ballot_with_a_field_missing_or_more_is_refused(name: str) -> None:
    less = {key: value for key, value in VOTES[0].items() if key != name}
    assert voted(less) is Reason.BAD_DOCUMENT
    assert voted({**VOTES[0], f"{name}s": 1}) is Reason.BAD_DOCUMENT
    for value in (*NO_NAME[1:], DEEP):
        assert voted({**VOTES[0], name: value}) is not None


def test_what_is_said_of_a_ballot_is_short() -> None:
    """A refusal is counted, shown and logged: a peer must not choose how long it is."""
    result = published({"ballots": [{"hotkey": "5" * 100_000}], "proposal": BODY})
    assert refusal(result) is Reason.BAD_DOCUMENT
    length = len(str(result))
    assert length < 1000


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


@given(body=tampered(BODY))
def test_a_tampered_proposal_never_raises_and_has_one_spelling(body: dict[str, Any]) -> None:
    result = proposed(body)
    if isinstance(result, Proposal):
        assert result.seal(LEADER.sign) == signed("proposal", body, "5Leader")
    else:
        assert str(result).isprintable()


@given(body=tampered(WHOLE))
def test_a_tampered_manifest_never_raises_and_has_one_spelling(body: dict[str, Any]) -> None:
    result = published(body)
    if isinstance(result, Manifest):
        assert result.seal(LEADER.sign) == signed("manifest", body, "5Leader")
    else:
        assert str(result).isprintable()


@given(body=st.dictionaries(st.sampled_from([*BODY, *WHOLE, "x"]), JSON))
def test_any_fields_are_refused_and_never_raise(body: dict[str, Any]) -> None:
    assert refusal(proposed(body)) is refusal(published(body)) is Reason.BAD_DOCUMENT


@given(place=st.integers(0, len(SEALED) - 1), mask=st.integers(1, 255))
def test_a_flipped_byte_is_refused(place: int, mask: int) -> None:
    data = bytearray(SEALED)
    data[place] ^= mask
    assert refusal(open_proposal(bytes(data), "run-1", 7, "5Leader", verify_hash)) is not None


@given(data=st.binary(max_size=300), window=COUNTS)
def test_garbage_never_raises(data: bytes, window: int) -> None:
    for reader in (open_proposal, open_manifest):
        result = reader(data, "run-1", window, "5Leader", verify_hash)
        assert refusal(result) is Reason.BAD_DOCUMENT


def test_size_is_bounded_on_both_sides() -> None:
    many = tuple(Accepted(f"5{number:047d}", A) for number in range(3000))
    with pytest.raises(ValueError, match=f"the limit is {MAX_DOCUMENT_BYTES}"):
        replace(PROPOSAL, accepted=many).seal(LEADER.sign)
    for reader in (open_proposal, open_manifest):
        large = SEALED + b" " * MAX_DOCUMENT_BYTES
        result = reader(large, "run-1", 7, "5Leader", verify_hash)
        assert refusal(result) is Reason.WRONG_SIZE
