"""Signed documents: one spelling, one signature, and nothing a peer writes can raise."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import HashKeys, verify_hash

from boltzmann.protocol.documents import (
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    canonical,
    digest,
    open_document,
    seal_document,
)
from boltzmann.protocol.rejection import Reason, Rejection

KEYS = HashKeys("5Hotkey")
TEXT = st.text(st.characters(codec=None), max_size=10)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(TEXT, VALUES, max_size=5)
BODY = {"window": 7, "text": "é\n", "list": [1, None, True]}


def sealed_text(text: str) -> bytes:
    """A document whose unsigned spelling the attacker writes by hand and signs properly."""
    signature = KEYS.sign(b"boltzmann document\x00" + text.encode()).hex()
    head, tail = text.split(',"version"')
    return f'{head},"signature":"{signature}","version"{tail}'.encode()


def refusal(data: bytes, kind: str = "test", hotkey: str = "5Hotkey") -> Reason | None:
    opened = open_document(data, kind, hotkey, verify_hash)
    return opened.reason if isinstance(opened, Rejection) else None


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def test_a_sealed_document_is_pinned() -> None:
    unsigned = (
        r'{"body":{"list":[1,null,true],"text":"\u00e9\n","window":7},'
        r'"hotkey":"5Hotkey","kind":"test","version":1}'
    )
    sealed = seal_document("test", BODY, "5Hotkey", KEYS.sign)
    assert sealed == sealed_text(unsigned)
    assert (
        digest(sealed)
        == hashlib.sha256(sealed).hexdigest()
        == "9d580f7907e2a72e531551594fb737585841baba37219a789ee2ff897572c615"
    )


@given(body=BODIES)
def test_what_is_sealed_opens(body: dict[str, Any]) -> None:
    sealed = seal_document("test", body, "5Hotkey", KEYS.sign)
    assert open_document(sealed, "test", "5Hotkey", verify_hash) == body


@given(value=VALUES)
def test_the_spelling_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    def reversed_keys(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: reversed_keys(part[key]) for key in reversed(list(part))}
        return [reversed_keys(item) for item in part] if isinstance(part, list) else part

    assert canonical(reversed_keys(value)) == canonical(value)
    assert json.loads(canonical(value)) == value


HEAD = '"hotkey":"5Hotkey","kind":"test"'
SPELLINGS = {
    "a space": '{"body":{"a": 1},' + HEAD + ',"version":1}',
    "unsorted keys": '{"body":{"b":1,"a":1},' + HEAD + ',"version":1}',
    "unsorted envelope": '{"hotkey":"5Hotkey","body":{},"kind":"test","version":1}',
    "a duplicate key": '{"body":{"a":1,"a":1},' + HEAD + ',"version":1}',
    "a fraction": '{"body":{"a":1.5},' + HEAD + ',"version":1}',
    "an exponent": '{"body":{"a":1e2},' + HEAD + ',"version":1}',
    "NaN": '{"body":{"a":NaN},' + HEAD + ',"version":1}',
    "infinity": '{"body":{"a":[-Infinity]},' + HEAD + ',"version":1}',
    "minus zero": '{"body":{"a":-0},' + HEAD + ',"version":1}',
    "a raw umlaut": '{"body":{"a":"ü"},' + HEAD + ',"version":1}',
    "a needless escape": r'{"body":{"a":"\u0061"},' + HEAD + ',"version":1}',
    "an upper-case escape": r'{"body":{"a":"\u00FC"},' + HEAD + ',"version":1}',
    "an escaped slash": r'{"body":{"a":"\/"},' + HEAD + ',"version":1}',
    "a boolean version": '{"body":{},' + HEAD + ',"version":true}',
    "a fractional version": '{"body":{},' + HEAD + ',"version":1.0}',
    "a list for a body": '{"body":[],' + HEAD + ',"version":1}',
    "an extra field": '{"body":{},' + HEAD + ',"more":1,"version":1}',
    "a missing field": '{"body":{},"hotkey":"5Hotkey","version":1}',
    "a number for a hotkey": '{"body":{},"hotkey":5,"kind":"test","version":1}',
    "an endless number": '{"body":{"a":' + "9" * 5000 + "}," + HEAD + ',"version":1}',
    "a final newline": '{"body":{},' + HEAD + ',"version":1}\n',
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_another_spelling_is_refused_even_if_it_is_signed(name: str) -> None:
    assert refusal(sealed_text(SPELLINGS[name])) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le"])
def test_another_encoding_is_refused(encoding: str) -> None:
    sealed = seal_document("test", BODY, "5Hotkey", KEYS.sign)
    assert refusal(sealed.decode().encode(encoding)) is Reason.BAD_DOCUMENT


def test_nesting_ends_at_the_same_depth_wherever_it_is_called_from() -> None:
    def from_below(frames: int, data: bytes) -> Reason | None:
        return from_below(frames - 1, data) if frames else refusal(data)

    deepest = seal_document("test", {"a": nested(MAX_DEPTH - 2)}, "5Hotkey", KEYS.sign)
    text = deepest.decode().replace("[0]", "[[0]]")
    for frames in (0, 100, 500):
        assert from_below(frames, deepest) is None
        assert from_below(frames, text.encode()) is Reason.BAD_DOCUMENT
    with pytest.raises(ValueError, match="at most 32 deep"):
        seal_document("test", {"a": nested(MAX_DEPTH - 1)}, "5Hotkey", KEYS.sign)


@pytest.mark.parametrize("levels", [MAX_DEPTH, 300, 5000, 100_000])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused_and_never_raises(levels: int, left: str, right: str) -> None:
    inner = left * levels + "0" + right * levels
    text = '{"body":{"a":' + inner + "}," + HEAD + ',"version":1}'
    data = sealed_text(text)
    expected = Reason.WRONG_SIZE if len(data) > MAX_DOCUMENT_BYTES else Reason.BAD_DOCUMENT
    assert refusal(data) is expected


@given(place=st.integers(0, 10**6), mask=st.integers(1, 255))
def test_a_flipped_byte_is_refused(place: int, mask: int) -> None:
    sealed = bytearray(seal_document("test", BODY, "5Hotkey", KEYS.sign))
    sealed[place % len(sealed)] ^= mask
    assert refusal(bytes(sealed)) in {
        Reason.BAD_DOCUMENT,
        Reason.BAD_SIGNATURE,
        Reason.BAD_KIND,
        Reason.WRONG_HOTKEY,
        Reason.BAD_VERSION,
    }


def test_a_cut_or_extended_document_is_refused() -> None:
    sealed = seal_document("test", BODY, "5Hotkey", KEYS.sign)
    for changed in [sealed[:end] for end in range(len(sealed))] + [sealed + b" ", sealed + sealed]:
        assert refusal(changed) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"window":7', '"window":8', Reason.BAD_SIGNATURE),
        ('"version":1', '"version":2', Reason.BAD_VERSION),
        ('"kind":"test"', '"kind":"fest"', Reason.BAD_KIND),
        ("5Hotkey", "5Hotkez", Reason.WRONG_HOTKEY),
        ('"signature":"', '"signature":"A', Reason.BAD_SIGNATURE),
        ('"signature":"', '"signature":"0', Reason.BAD_SIGNATURE),
    ],
)
def test_a_changed_field_is_refused_by_name(old: str, new: str, reason: Reason) -> None:
    text = seal_document("test", BODY, "5Hotkey", KEYS.sign).decode()
    assert old in text
    assert refusal(text.replace(old, new).encode()) is reason


def test_a_signature_has_one_spelling() -> None:
    """Whoever relays a document must not be able to give it a second sha256."""
    signature = json.loads(seal_document("test", BODY, "5Hotkey", KEYS.sign))["signature"]
    text = seal_document("test", BODY, "5Hotkey", KEYS.sign).decode()
    spellings = [
        signature.replace("a", "A", 1),
        signature.upper(),
        signature[:-1],
        signature[:-2],
        "",
        signature + "00",
    ]
    spellings += [signature[:62] + " " + signature[63:], "0x" + signature[2:]]
    assert signature not in spellings
    for other in spellings:
        assert refusal(text.replace(signature, other).encode()) is Reason.BAD_SIGNATURE


def test_a_document_is_good_for_one_kind_and_one_hotkey_only() -> None:
    sealed = seal_document("test", BODY, "5Hotkey", KEYS.sign)
    assert refusal(sealed) is None
    assert refusal(sealed, kind="tests") is Reason.BAD_KIND
    assert refusal(sealed, hotkey="5Other") is Reason.WRONG_HOTKEY
    forged = seal_document("test", BODY, "5Hotkey", HashKeys("5Other").sign)
    assert refusal(forged) is Reason.BAD_SIGNATURE


@given(data=st.binary(max_size=200) | VALUES.map(canonical))
def test_garbage_never_raises(data: bytes) -> None:
    assert refusal(data) is Reason.BAD_DOCUMENT


@given(
    fields=st.fixed_dictionaries(
        {
            "body": VALUES,
            "hotkey": VALUES | st.just("5Hotkey"),
            "kind": VALUES | st.just("test"),
            "signature": VALUES | st.just("0" * 128),
            "version": VALUES | st.just(1),
        }
    )
)
def test_any_envelope_is_refused_in_printable_words(fields: dict[str, Any]) -> None:
    opened = open_document(canonical(fields), "test", "5Hotkey", verify_hash)
    assert isinstance(opened, Rejection)
    assert str(opened).isprintable()


def test_surrogates_and_control_characters_cannot_break_a_log() -> None:
    for name in ("\ud800", "\x1b[2J", "a\nb"):
        for document in (
            seal_document(name, {}, "5Hotkey", KEYS.sign),
            seal_document("test", {}, name, KEYS.sign),
        ):
            opened = open_document(document, "test", "5Hotkey", verify_hash)
            assert isinstance(opened, Rejection)
            assert str(opened).isprintable()


def test_size_is_bounded_on_both_sides() -> None:
    frame = len(seal_document("test", {"a": ""}, "5Hotkey", KEYS.sign))
    room = MAX_DOCUMENT_BYTES - frame
    largest = seal_document("test", {"a": "x" * room}, "5Hotkey", KEYS.sign)
    assert len(largest) == MAX_DOCUMENT_BYTES
    assert refusal(largest) is None
    assert refusal(largest + b"x") is Reason.WRONG_SIZE
    with pytest.raises(ValueError, match="the limit is"):
        seal_document("test", {"a": "x" * (room + 1)}, "5Hotkey", KEYS.sign)


@pytest.mark.parametrize("value", [1.0, float("nan"), [1, [2.5]], {"a": {"b": -0.0}}, (0.5,)])
def test_floats_cannot_be_spelled(value: object) -> None:
    with pytest.raises(ValueError, match=r"float\.hex"):
        canonical(value)
