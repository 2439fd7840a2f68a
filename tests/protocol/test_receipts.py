"""Receipts: pinned bytes, round trips, and every malformed row refused though it is signed."""

from __future__ import annotations

import json
from math import nextafter
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
    NO_SIGNATURE,
    SIGNATURE,
    A,
    B,
    C,
    changed,
    constant,
    refusal,
    signed,
    tampered,
)

from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, digest
from boltzmann.protocol.receipts import Entry, Receipt, Verdict, open_receipt
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.reveal import Pledge

KEYS = HashKeys("5Witness")
RECEIPT = Receipt(
    run="run-1",
    window=7,
    entries=(
        Entry("5Alice", A, SIGNATURE),
        Entry("5Bob", "", "", "absent"),
        Entry("5Carol", B, SIGNATURE),
    ),
    verdicts=(
        Verdict("5Alice", 6, "", 0.5, 1.0, 0.75),
        Verdict("5Dave", 7, "gate", -0.5, float("-inf"), 0.0, page=300),
    ),
)
ONE = "0x1.0000000000000p+0"
BODY: dict[str, Any] = {
    "entries": [
        ["5Alice", A, SIGNATURE, ""],
        ["5Bob", "", "", "absent"],
        ["5Carol", B, SIGNATURE, ""],
    ],
    "run": "run-1",
    "verdicts": [
        ["5Alice", 6, "", "0x1.0000000000000p-1", ONE, "0x1.8000000000000p-1", -1],
        ["5Dave", 7, "gate", "-0x1.0000000000000p-1", "-inf", "0x0.0p+0", 300],
    ],
    "window": 7,
}
SEALED = RECEIPT.seal("5Witness", KEYS.sign)
REASONS = [reason.value for reason in Reason]


def opened(body: Any) -> Receipt | Rejection:
    """What a reader makes of a body that the witness signed."""
    return open_receipt(signed("receipt", body, "5Witness"), "run-1", 7, "5Witness", verify_hash)


def test_a_sealed_receipt_is_pinned() -> None:
    sealed = RECEIPT.seal("5Witness", constant)
    unsigned = {"body": BODY, "hotkey": "5Witness", "kind": "receipt", "version": 1}
    whole = {**unsigned, "signature": bytes(range(64)).hex()}
    assert sealed == json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()
    assert digest(sealed) == "f79c960ba8b554c8e1e8dbc8b0baa59b89bfb890f47d5359770e1f8084329df9"


REFUSALS = st.sampled_from(REASONS)
SIGNATURES = st.binary(min_size=64, max_size=64).map(bytes.hex)
NOTHING = st.just("")
SEEN = st.tuples(DIGESTS, SIGNATURES, NOTHING) | st.tuples(NOTHING, NOTHING, REFUSALS)
ENTRIES = st.dictionaries(NAMES, SEEN, max_size=4).map(
    lambda found: tuple(Entry(hotkey, *found[hotkey]) for hotkey in sorted(found))
)
REALS = st.floats(allow_nan=False)
SMALLEST, LARGEST_NORM = 1e-30, 1e30
NORMS = st.floats(0.0, LARGEST_NORM)
PASSING_NORMS = st.floats(SMALLEST, LARGEST_NORM)
PAGES = st.integers(-1, LARGEST)


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    window = draw(COUNTS)
    windows = st.integers(0, window)
    passed = st.tuples(windows, NOTHING, REALS, REALS, PASSING_NORMS, PAGES)
    found = passed | st.tuples(windows, REFUSALS, REALS, REALS, NORMS, PAGES)
    verdicts = draw(st.dictionaries(NAMES, found, max_size=4))
    rows = tuple(Verdict(hotkey, *verdicts[hotkey]) for hotkey in sorted(verdicts))
    return Receipt(draw(NAMES), window, draw(ENTRIES), rows)


@given(receipt=receipts(), witness=NAMES)
def test_what_is_sealed_opens(receipt: Receipt, witness: str) -> None:
    sealed = receipt.seal(witness, HashKeys(witness).sign)
    result = open_receipt(sealed, receipt.run, receipt.window, witness, verify_hash)
    assert result == receipt
    assert isinstance(result, Receipt)
    assert result.seal(witness, HashKeys(witness).sign) == sealed


def test_a_pass_is_a_verdict_without_refusal() -> None:
    assert [verdict.passed for verdict in RECEIPT.verdicts] == [True, False]


def test_a_receipt_of_a_whole_subnet_fits_into_a_document() -> None:
    """256 hotkeys, each with the longest row an honest witness can have."""
    hotkeys = sorted(f"5{number:047d}" for number in range(256))
    number, norm = -float.fromhex("0x1.fffffffffffffp+1023"), 5e-324
    assert len(norm.hex()) == len((-number).hex())
    row = (LARGEST, "wrong_window", number, number, norm, LARGEST)
    verdicts = tuple(Verdict(h, *row) for h in hotkeys)
    receipt = Receipt("r" * 32, LARGEST, tuple(Entry(h, A, SIGNATURE) for h in hotkeys), verdicts)
    sealed = receipt.seal("5Witness", KEYS.sign)
    assert open_receipt(sealed, "r" * 32, LARGEST, "5Witness", verify_hash) == receipt


def test_an_entry_keeps_its_senders_pledge() -> None:
    assert RECEIPT.entries[0].pledge == Pledge(A, SIGNATURE)


def test_an_entry_is_a_signed_digest_a_refusal_or_both() -> None:
    for sha256 in ("", A):
        for signature in ("", SIGNATURE):
            for why in ("", "slow"):
                result = opened({**BODY, "entries": [["5Alice", sha256, signature, why]]})
                whole = bool(sha256) == bool(signature) and bool(sha256 or why)
                assert refusal(result) is (None if whole else Reason.BAD_DOCUMENT)


def test_a_receipt_is_good_for_one_run_window_witness_and_kind() -> None:
    assert open_receipt(SEALED, "run-1", 7, "5Witness", verify_hash) == RECEIPT
    elsewhere = [("run-2", 7, "5Witness"), ("run-1", 8, "5Witness"), ("run-1", 7, "5Other")]
    reasons = [refusal(open_receipt(SEALED, *place, verify_hash)) for place in elsewhere]
    assert reasons == [Reason.WRONG_RUN, Reason.WRONG_WINDOW, Reason.WRONG_HOTKEY]
    ballot = signed("ballot", BODY, "5Witness")
    assert refusal(open_receipt(ballot, "run-1", 7, "5Witness", verify_hash)) is Reason.BAD_KIND


def test_another_hotkeys_signature_is_refused() -> None:
    stolen = RECEIPT.seal("5Witness", HashKeys("5Other").sign)
    result = open_receipt(stolen, "run-1", 7, "5Witness", verify_hash)
    assert refusal(result) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("path", "new"),
    [
        *((("run",), "run-2"), (("window",), 8), (("entries",), []), (("verdicts",), [])),
        *(
            (("entries", 0, 0), "5Alicf"),
            (("entries", 0, 1), C),
            (("entries", 0, 2), "00" * 64),
            (("entries", 1, 3), "slow"),
        ),
        *((("verdicts", 0, 1), 5), (("verdicts", 1, 2), ""), (("verdicts", 0, 3), "0x0.0p+0")),
        *((("verdicts", 0, 4), "0x0.0p+0"), (("verdicts", 0, 5), "0x0.0p+0")),
        *((("verdicts", 0, 6), 300), (("verdicts", 1, 6), 301)),
    ],
    ids=repr,
)
def test_a_changed_field_breaks_the_signature(path: tuple[int | str, ...], new: Any) -> None:
    document = changed(json.loads(SEALED), ("body", *path), new)
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    result = open_receipt(data, "run-1", 7, "5Witness", verify_hash)
    assert refusal(result) is Reason.BAD_SIGNATURE


NO_ROWS: list[Any] = [None, "", {}, 3, True, [[]], [["5Alice"]], [None], ["5Alice"], [{}], DEEP]
NO_REASON: list[Any] = ["late", "GATE", "gate ", None, True, 0, {"gate": 1}, [], ["gate"], DEEP]
NO_NORM: list[Any] = [
    *(*NO_NUMBER, "inf", "-inf", "-0x1.8000000000000p+0", (-5e-324).hex()),
    *(nextafter(LARGEST_NORM, 1e31).hex(), (1e308).hex()),
]
NO_PASSING_NORM: list[Any] = [
    *(*NO_NORM, "0x0.0p+0", "-0x0.0p+0", (5e-324).hex(), nextafter(SMALLEST, 0.0).hex()),
    (-SMALLEST).hex(),
]
NO_PAGE: list[Any] = [-2, -(2**63), "-1", "0x1.0p+0", *NO_COUNT[1:], DEEP]
MALFORMED: dict[tuple[int | str, ...], list[Any]] = {
    ("run",): NO_NAME,
    ("window",): NO_COUNT,
    ("entries",): NO_ROWS,
    ("verdicts",): NO_ROWS,
    ("entries", 0, 0): NO_NAME,
    ("entries", 0, 1): [*NO_DIGEST, "", DEEP],
    ("entries", 1, 1): [*NO_DIGEST, A],
    ("entries", 0, 2): [*NO_SIGNATURE, "", DEEP],
    ("entries", 1, 2): [*NO_SIGNATURE, SIGNATURE],
    ("entries", 0, 3): NO_REASON,
    ("entries", 1, 3): [*NO_REASON, ""],
    ("verdicts", 0, 0): NO_NAME,
    ("verdicts", 0, 1): [*NO_COUNT, 8, LARGEST],
    ("verdicts", 0, 2): NO_REASON,
    ("verdicts", 0, 3): NO_NUMBER,
    ("verdicts", 0, 4): NO_NUMBER,
    ("verdicts", 0, 5): NO_PASSING_NORM,
    ("verdicts", 1, 5): NO_NORM,
    ("verdicts", 0, 6): NO_PAGE,
    ("verdicts", 1, 6): NO_PAGE,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in MALFORMED.items() for value in values],
    ids=lambda value: ascii(value)[:30],
)
def test_a_malformed_field_is_refused_though_it_is_signed(
    path: tuple[int | str, ...], value: Any
) -> None:
    assert refusal(opened(changed(BODY, path, value))) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize("page", [-1, 0, 1, LARGEST])
def test_any_page_or_none_opens(page: int) -> None:
    for row in (0, 1):
        result = opened(changed(BODY, ("verdicts", row, 6), page))
        assert isinstance(result, Receipt)
        assert result.verdicts[row].page == page


@pytest.mark.parametrize("norm", [SMALLEST, nextafter(SMALLEST, 1.0), 1.0, LARGEST_NORM])
def test_a_norm_within_the_bounds_opens_with_a_pass_and_with_a_failure(norm: float) -> None:
    for row in (0, 1):
        result = opened(changed(BODY, ("verdicts", row, 5), norm.hex()))
        assert isinstance(result, Receipt)
        assert result.verdicts[row].norm == norm


@pytest.mark.parametrize("norm", [0.0, -0.0, 5e-324, nextafter(SMALLEST, 0.0)])
def test_a_norm_of_nothing_is_that_of_a_failure_only(norm: float) -> None:
    result = opened(changed(BODY, ("verdicts", 1, 5), norm.hex()))
    assert isinstance(result, Receipt)
    assert result.verdicts[1].norm == norm
    assert refusal(opened(changed(BODY, ("verdicts", 0, 5), norm.hex()))) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize("name", ["entries", "verdicts"])
def test_rows_are_sorted_and_no_hotkey_comes_twice(name: str) -> None:
    rows = BODY[name]
    for wrong in (rows[::-1], [rows[0], rows[0]], [rows[0], *rows], [*rows, rows[0]]):
        assert refusal(opened({**BODY, name: wrong})) is Reason.BAD_DOCUMENT
    twice = [rows[0], [rows[0][0], *rows[1][1:]], *rows[1:]]
    assert refusal(opened({**BODY, name: twice})) is Reason.BAD_DOCUMENT
    assert refusal(opened({**BODY, name: []})) is None


@pytest.mark.parametrize("name", ["entries", "verdicts"])
def test_rows_have_their_width(name: str) -> None:
    row = BODY[name][0]
    by_place = {str(place): value for place, value in enumerate(row)}
    for wrong in (row[:-1], [*row, ""], row[1:], [row], by_place, "5Alice", None):
        assert refusal(opened({**BODY, name: [wrong]})) is Reason.BAD_DOCUMENT


def test_a_verdict_may_be_of_this_window_but_of_none_to_come() -> None:
    assert refusal(opened(changed(BODY, ("verdicts", 0, 1), 7))) is None
    assert refusal(opened(changed(BODY, ("verdicts", 0, 1), 8))) is Reason.BAD_DOCUMENT


def test_fields_are_neither_missing_nor_more() -> None:
    for name in BODY:
        less = {key: value for key, value in BODY.items() if key != name}
        assert refusal(opened(less)) is Reason.BAD_DOCUMENT
    for extra in ("", "self", "Entries"):
        assert refusal(opened({**BODY, extra: []})) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize("name", ["entries", "verdicts"])
def test_a_doubled_field_is_refused(name: str) -> None:
    text = SEALED.decode().replace(f'"{name}":', f'"{name}":[],"{name}":')
    result = open_receipt(text.encode(), "run-1", 7, "5Witness", verify_hash)
    assert refusal(result) is Reason.BAD_DOCUMENT


@given(body=tampered(BODY))
def test_a_tampered_body_never_raises_and_has_one_spelling(body: dict[str, Any]) -> None:
    result = opened(body)
    if isinstance(result, Receipt):
        assert result.seal("5Witness", KEYS.sign) == signed("receipt", body, "5Witness")
    else:
        assert str(result).isprintable()


@given(place=st.integers(0, len(SEALED) - 1), mask=st.integers(1, 255))
def test_a_flipped_byte_is_refused(place: int, mask: int) -> None:
    data = bytearray(SEALED)
    data[place] ^= mask
    assert refusal(open_receipt(bytes(data), "run-1", 7, "5Witness", verify_hash)) is not None


@given(data=st.binary(max_size=300))
def test_garbage_is_refused_and_never_raises(data: bytes) -> None:
    result = open_receipt(data, "run-1", 7, "5Witness", verify_hash)
    assert refusal(result) is Reason.BAD_DOCUMENT


def test_size_is_bounded_on_both_sides() -> None:
    many = tuple(Entry(f"5{number:047d}", A, SIGNATURE) for number in range(1500))
    with pytest.raises(ValueError, match=f"the limit is {MAX_DOCUMENT_BYTES}"):
        Receipt("run-1", 7, many, ()).seal("5Witness", KEYS.sign)
    large = SEALED + b" " * MAX_DOCUMENT_BYTES
    result = open_receipt(large, "run-1", 7, "5Witness", verify_hash)
    assert refusal(result) is Reason.WRONG_SIZE


def test_what_an_honest_witness_cannot_spell_is_refused_by_readers() -> None:
    """A norm that is out of range must be made another, and a refusal, before it is sealed."""
    wrong = [float("nan"), float("inf"), -1.0, 1e31]
    for norm, why in [*((norm, "norm") for norm in wrong), *((norm, "") for norm in (0.0, *wrong))]:
        receipt = Receipt("run-1", 7, (), (Verdict("5Alice", 6, why, 0.0, 0.0, norm),))
        sealed = receipt.seal("5Witness", KEYS.sign)
        result = open_receipt(sealed, "run-1", 7, "5Witness", verify_hash)
        assert refusal(result) is Reason.BAD_DOCUMENT
