"""What a leader may not say in a proposal or a manifest, though it signs it."""

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
    LOSS,
    PROPOSAL,
    SEALED,
    VOTES,
    WHOLE,
    document,
    proposed,
    published,
)
from reference import verify_hash
from tampering import (
    COUNTS,
    DEEP,
    JSON,
    NO_COUNT,
    NO_DIGEST,
    NO_NAME,
    NO_NUMBER,
    A,
    B,
    C,
    D,
    changed,
    refusal,
    signed,
    tampered,
)

from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES
from boltzmann.protocol.manifest import (
    CheckpointName,
    Manifest,
    Proposal,
    open_manifest,
    open_proposal,
)
from boltzmann.protocol.rejection import Reason

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
