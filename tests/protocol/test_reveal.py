"""Commit objects: pinned bytes, one meaning, and nothing that could bind to two deltas."""

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
    NO_SIGNATURE,
    A,
    B,
    constant,
    pledged,
    refusal,
    signed,
    tampered,
)

from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, digest
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.reveal import MAX_COMMIT_BYTES, Pledge, open_commit, seal_commit

KEYS = HashKeys("5Alice")
BODY: dict[str, Any] = {"run": "run-1", "sha256": A, "window": 7}
SEALED = seal_commit("run-1", 7, A, "5Alice", KEYS.sign)
PLEDGE = Pledge(A, pledged("5Alice", A, "run-1", 7))


def opened(body: Any) -> Pledge | Rejection:
    """What a reader makes of a body that the miner signed."""
    return open_commit(signed("commit", body, "5Alice"), "run-1", 7, "5Alice", verify_hash)


def test_a_sealed_commit_is_pinned() -> None:
    sealed = seal_commit("run-1", 7, A, "5Alice", constant)
    unsigned = {"body": BODY, "hotkey": "5Alice", "kind": "commit", "version": 1}
    whole = {**unsigned, "signature": bytes(range(64)).hex()}
    assert sealed == json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()
    assert digest(sealed) == "562e5af73a2f75ed5411d6673838e387e6cfaaf57bc4677781f8efaa694eacae"


@given(run=NAMES, window=COUNTS, sha256=DIGESTS, hotkey=NAMES)
def test_what_is_sealed_opens(run: str, window: int, sha256: str, hotkey: str) -> None:
    sealed = seal_commit(run, window, sha256, hotkey, HashKeys(hotkey).sign)
    pledge = open_commit(sealed, run, window, hotkey, verify_hash)
    assert pledge == Pledge(sha256, json.loads(sealed)["signature"])
    assert isinstance(pledge, Pledge)
    assert pledge.holds(run, window, hotkey, verify_hash)


def test_the_longest_commit_is_within_its_bound() -> None:
    sealed = seal_commit("r" * 32, LARGEST, A, "5" * 48, constant)
    assert len(sealed) <= MAX_COMMIT_BYTES


def test_a_commit_is_good_for_one_run_window_hotkey_and_kind() -> None:
    assert open_commit(SEALED, "run-1", 7, "5Alice", verify_hash) == PLEDGE
    elsewhere = [("run-2", 7, "5Alice"), ("run-1", 8, "5Alice"), ("run-1", 7, "5Bob")]
    reasons = [refusal(open_commit(SEALED, *place, verify_hash)) for place in elsewhere]
    assert reasons == [Reason.WRONG_RUN, Reason.WRONG_WINDOW, Reason.WRONG_HOTKEY]
    receipt = signed("receipt", BODY, "5Alice")
    assert refusal(open_commit(receipt, "run-1", 7, "5Alice", verify_hash)) is Reason.BAD_KIND


def test_another_hotkeys_signature_is_refused() -> None:
    stolen = seal_commit("run-1", 7, A, "5Alice", HashKeys("5Bob").sign)
    assert refusal(open_commit(stolen, "run-1", 7, "5Alice", verify_hash)) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("name", BODY)
def test_a_changed_field_breaks_the_signature(name: str) -> None:
    document = json.loads(SEALED)
    document["body"][name] = {"run": "run-2", "sha256": B, "window": 8}[name]
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    assert refusal(open_commit(data, "run-1", 7, "5Alice", verify_hash)) is Reason.BAD_SIGNATURE


MALFORMED = {"run": NO_NAME, "sha256": [*NO_DIGEST, ""], "window": NO_COUNT}


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
    for extra in ("", "sha512", "Window", "run "):
        assert refusal(opened({**BODY, extra: A})) is Reason.BAD_DOCUMENT


def test_a_doubled_field_is_refused() -> None:
    """A parser that takes the first of two and one that takes the last must not both accept."""
    text = SEALED.decode().replace('"sha256":', f'"sha256":"{B}","sha256":')
    assert refusal(open_commit(text.encode(), "run-1", 7, "5Alice", verify_hash)) is (
        Reason.BAD_DOCUMENT
    )


@given(body=tampered(BODY))
def test_a_tampered_body_is_refused_and_never_raises(body: dict[str, Any]) -> None:
    result = opened(body)
    if isinstance(result, Rejection):
        assert str(result).isprintable()
    else:
        assert body == {"run": "run-1", "sha256": result.sha256, "window": 7}
        assert result.holds("run-1", 7, "5Alice", verify_hash)


@given(place=st.integers(0, len(SEALED) - 1), mask=st.integers(1, 255))
def test_a_flipped_byte_is_refused(place: int, mask: int) -> None:
    data = bytearray(SEALED)
    data[place] ^= mask
    assert refusal(open_commit(bytes(data), "run-1", 7, "5Alice", verify_hash)) is not None


@given(data=st.binary(max_size=300))
def test_garbage_is_refused_and_never_raises(data: bytes) -> None:
    result = open_commit(data, "run-1", 7, "5Alice", verify_hash)
    assert refusal(result) is Reason.BAD_DOCUMENT


def test_what_is_cut_or_too_large_is_refused() -> None:
    for end in range(len(SEALED)):
        result = open_commit(SEALED[:end], "run-1", 7, "5Alice", verify_hash)
        assert refusal(result) is Reason.BAD_DOCUMENT
    large = SEALED + b" " * MAX_DOCUMENT_BYTES
    assert refusal(open_commit(large, "run-1", 7, "5Alice", verify_hash)) is Reason.WRONG_SIZE


def test_a_pledge_holds_for_its_sender_run_and_window_only() -> None:
    assert PLEDGE.holds("run-1", 7, "5Alice", verify_hash)
    for place in (("run-2", 7, "5Alice"), ("run-1", 8, "5Alice"), ("run-1", 7, "5Bob")):
        assert not PLEDGE.holds(*place, verify_hash)
    assert not Pledge(B, PLEDGE.signature).holds("run-1", 7, "5Alice", verify_hash)
    assert not Pledge(A, pledged("5Bob", A, "run-1", 7)).holds("run-1", 7, "5Alice", verify_hash)


def test_a_signature_under_another_kind_is_no_pledge() -> None:
    """A hotkey's receipt or ballot must not be turned into evidence against it."""
    for kind in ("receipt", "ballot", "manifest"):
        signature = json.loads(signed(kind, BODY, "5Alice"))["signature"]
        assert not Pledge(A, signature).holds("run-1", 7, "5Alice", verify_hash)


@pytest.mark.parametrize("signature", [s for s in [*NO_SIGNATURE, ""] if isinstance(s, str)])
def test_a_signature_spelled_otherwise_is_no_pledge(signature: str) -> None:
    assert not Pledge(A, signature).holds("run-1", 7, "5Alice", lambda *_: True)
