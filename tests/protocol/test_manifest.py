"""Manifests: pinned bytes, round trips, and malformed fields of every kind refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import HashKeys, verify_hash

from boltzmann.protocol.documents import digest, seal_document
from boltzmann.protocol.manifest import Accepted, Manifest, open_manifest
from boltzmann.protocol.rejection import Reason, Rejection

LEADER = HashKeys("5Leader")
A, B, C = "a1" * 32, "b2" * 32, "c3" * 32
MANIFEST = Manifest(
    run="run-1",
    window=7,
    parent=A,
    parent_window=5,
    accepted=(Accepted("5Alice", B), Accepted("5Bob", C)),
    norm_limit=0.75,
    update=B,
    update_bytes=1234,
    root=C,
)
BODY: dict[str, Any] = {
    "accepted": [["5Alice", B], ["5Bob", C]],
    "norm_limit": "0x1.8000000000000p-1",
    "parent": A,
    "parent_window": 5,
    "root": C,
    "run": "run-1",
    "update": B,
    "update_bytes": 1234,
    "window": 7,
}

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
NUMBERS = st.integers(0, 2**63 - 1)
NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)
LIMITS = st.floats(min_value=0, exclude_min=True, allow_nan=False)
ENTRIES = st.dictionaries(NAMES, DIGESTS, max_size=4).map(
    lambda entries: tuple(Accepted(hotkey, entries[hotkey]) for hotkey in sorted(entries))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=6) | DIGESTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def opened(body: dict[str, Any]) -> Manifest | Rejection:
    """What a reader makes of a body that the leader signed."""
    sealed = seal_document("manifest", body, LEADER.hotkey, LEADER.sign)
    return open_manifest(sealed, "run-1", 7, LEADER.hotkey, verify_hash)


def refusal(result: Manifest | Rejection) -> Reason | None:
    return result.reason if isinstance(result, Rejection) else None


def test_a_sealed_manifest_is_pinned() -> None:
    sealed = MANIFEST.seal(LEADER.hotkey, LEADER.sign)
    unsigned = {"body": BODY, "hotkey": "5Leader", "kind": "manifest", "version": 1}
    text = json.dumps(unsigned, sort_keys=True, separators=(",", ":"))
    signature = LEADER.sign(b"boltzmann document\x00" + text.encode()).hex()
    full = json.dumps({**unsigned, "signature": signature}, sort_keys=True, separators=(",", ":"))
    assert sealed == full.encode()
    assert len(sealed) == 694
    assert digest(sealed) == "6f37489bbdce75e76e76d83d8a8fabedc1fc75462c10baa20c56771dd758b63b"


@given(
    run=NAMES,
    window=st.integers(1, 2**63 - 1),
    back=st.integers(1, 2**63 - 1),
    parent=st.just("") | DIGESTS,
    accepted=ENTRIES,
    norm_limit=LIMITS,
    update=DIGESTS,
    size=NUMBERS,
    root=DIGESTS,
)
def test_what_is_sealed_opens(
    run: str,
    window: int,
    back: int,
    parent: str,
    accepted: tuple[Accepted, ...],
    norm_limit: float,
    update: str,
    size: int,
    root: str,
) -> None:
    parent_window = max(0, window - back)
    manifest = Manifest(
        run, window, parent, parent_window, accepted, norm_limit, update, size, root
    )
    sealed = manifest.seal(LEADER.hotkey, LEADER.sign)
    assert open_manifest(sealed, run, window, LEADER.hotkey, verify_hash) == manifest
    assert manifest.is_genesis == (parent == "")


def test_the_plain_body_is_the_manifest() -> None:
    assert opened(BODY) == MANIFEST


MALFORMED: dict[str, list[Any]] = {
    "run": ["", 1, None, ["run-1"], "run\n1", "rün", "\ud800"],
    "window": ["7", True, None, -1, 2**63, [7]],
    "parent": [None, 0, "a1", "A1" * 32, "a1" * 33, " " + "a1" * 31 + "a", "g" * 64, ["a1"] * 32],
    "parent_window": ["5", False, None, -1, 2**63, 7, 8],
    "root": ["", None, 1, "C3" * 32, "c3" * 31, "٣" * 64, ["c"] * 64],
    "update": ["", None, 1, "0x" + "b" * 62, ["b"] * 64],
    "update_bytes": ["1234", True, None, -1, 2**63],
    "norm_limit": [
        *("nan", "-nan", "0x0.0p+0", "-0x0.0p+0", "-0x1.0000000000000p+0", "-inf"),
        *("", "x", None, 1, True, [], {}, "0x1p99999", "9" * 5000),
        *("0x1p-1", "0x1.8p-1", "0X1.8000000000000P-1", " 0x1.8000000000000p-1", "0.75"),
        *("infinity", "Inf", "+inf"),
    ],
    "accepted": [
        *(None, 1, "", "ab", {}, {"5A": B}, True),
        *([["5Alice"]], [["5Alice", B, C]], [["5Alice", B[:-1]]], [["5Alice", B.upper()]]),
        *([[B]], ["5Alice"], [{"5Alice": 0, B: 0}], [None], [[None, B]], [["5Alice", None]]),
        *([["", B]], [["5\n", B]], [["\ud800", B]], [[["5Alice"], B]]),
        *([["5Bob", B], ["5Alice", B]], [["5Bob", B], ["5Bob", C]]),
    ],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in MALFORMED.items() for value in values],
    ids=lambda value: ascii(value)[:30],
)
def test_a_malformed_field_is_refused(field: str, value: Any) -> None:
    assert refusal(opened({**BODY, field: value})) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize("field", BODY)
def test_a_missing_field_is_refused(field: str) -> None:
    body = {name: value for name, value in BODY.items() if name != field}
    assert refusal(opened(body)) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize("extra", ["more", "self", "is_genesis", "", "__class__"])
def test_an_extra_field_is_refused(extra: str) -> None:
    assert refusal(opened({**BODY, extra: 1})) is Reason.BAD_DOCUMENT


@given(body=st.dictionaries(st.sampled_from([*BODY, "x"]), JSON))
def test_any_fields_are_refused_and_never_raise(body: dict[str, Any]) -> None:
    assert refusal(opened(body)) is Reason.BAD_DOCUMENT


@given(field=st.sampled_from(list(BODY)), value=JSON)
def test_any_value_of_one_field_never_raises(field: str, value: Any) -> None:
    result = opened({**BODY, field: value})
    if isinstance(result, Manifest):
        assert result.seal(LEADER.hotkey, LEADER.sign) == seal_document(
            "manifest", {**BODY, field: value}, LEADER.hotkey, LEADER.sign
        )
    else:
        assert str(result).isprintable()


@given(data=st.binary(max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    result = open_manifest(data, "run-1", 7, LEADER.hotkey, verify_hash)
    assert refusal(result) is Reason.BAD_DOCUMENT


def test_a_manifest_belongs_to_one_run_window_and_leader() -> None:
    sealed = MANIFEST.seal(LEADER.hotkey, LEADER.sign)
    at = [("run-2", 7, "5Leader"), ("run-1", 8, "5Leader"), ("run-1", 7, "5Other")]
    reasons = [refusal(open_manifest(sealed, *place, verify_hash)) for place in at]
    assert reasons == [Reason.WRONG_RUN, Reason.WRONG_WINDOW, Reason.WRONG_HOTKEY]
    forged = MANIFEST.seal(LEADER.hotkey, HashKeys("5Other").sign)
    assert refusal(open_manifest(forged, "run-1", 7, "5Leader", verify_hash)) is (
        Reason.BAD_SIGNATURE
    )


def test_a_document_of_another_kind_is_no_manifest() -> None:
    sealed = seal_document("receipts", BODY, LEADER.hotkey, LEADER.sign)
    result = open_manifest(sealed, "run-1", 7, LEADER.hotkey, verify_hash)
    assert refusal(result) is Reason.BAD_KIND


def test_a_parent_comes_before_its_child_except_at_genesis() -> None:
    assert refusal(opened({**BODY, "parent_window": 6})) is None
    assert refusal(opened({**BODY, "parent_window": 7})) is Reason.BAD_DOCUMENT
    genesis = opened({**BODY, "parent": "", "parent_window": 7})
    assert isinstance(genesis, Manifest)
    assert genesis.is_genesis


def test_no_limit_yet_is_spelled_inf() -> None:
    unlimited = opened({**BODY, "norm_limit": "inf"})
    assert isinstance(unlimited, Manifest)
    assert unlimited.norm_limit == float("inf")
