"""Documents changed as an adversary would change them, who signs with the right key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from reference import HashKeys

from boltzmann.protocol.documents import MAX_DEPTH, seal_document
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.reveal import seal_commit

A, B, C, D = "a1" * 32, "b2" * 32, "c3" * 32, "d4" * 32
SIGNATURE = bytes(range(64)).hex()
LARGEST = 2**63 - 1

NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
COUNTS = st.integers(0, LARGEST)
# The spellings and near-spellings of fields, so that what is random is often nearly right.
WORDS = st.sampled_from(
    [
        *("", "5Alice", "gate", "loss", A, SIGNATURE, "0x1.0p+0", "0x1.0000000000000p+0", "inf"),
        *("0x0.0p+0", "0x1.fffffffffffffp+1023", "0x0.0000000000001p-1022"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=6) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)

NO_NAME: list[Any] = ["", "é", "5\n", "\ud800", "\x7f", None, True, 5, ["5Alice"], {"5Alice": 1}]
NO_DIGEST: list[Any] = [
    *(A.upper(), A[:-1], A + "a", "0x" + A[2:], " " + A[1:], "g" * 64, "\uff11" * 64),
    *(None, False, 0, [A], {A: A}),
]
NO_SIGNATURE: list[Any] = [
    *(A, SIGNATURE.upper(), SIGNATURE[:-1], SIGNATURE + "0", "g" * 128, " " + SIGNATURE[1:]),
    *(None, True, 0, [SIGNATURE], {SIGNATURE: 1}),
]
NO_COUNT: list[Any] = [-1, 2**63, 2**70, True, False, None, "7", "", [7], {}]
NO_NUMBER: list[Any] = [
    *("nan", "NaN", "-nan", "1.5", "", "infinity", "Inf", "+inf", " inf", "0x1.8p+0", "0x1.8p0"),
    *(
        "0X1.8000000000000P+0",
        "0x1.8000000000000P+0",
        "0x1.8000000000000p+00",
        "1.8000000000000p+0",
    ),
    *("0x1.8000000000000p+0 ", "+0x1.8000000000000p+0", "0x3.0000000000000p-1", "0x1p99999"),
    *("0x0p+0", "0x0.0000000000000p+0", "0x1.80000000000000p+0", "é", "\ud800"),
    *(None, True, 0, 1, [], ["0x1.8000000000000p+0"], {}),
]

Path = tuple[int | str, ...]


def signed(kind: str, body: Any, hotkey: str) -> bytes:
    """A document with any body at all, under the hotkey's own signature."""
    return seal_document(kind, body, hotkey, HashKeys(hotkey).sign)


def constant(message: bytes) -> bytes:
    """A signature that does not depend on what is signed, for pinned bytes."""
    return bytes(range(64))


def pledged(hotkey: str, sha256: str, run: str, window: int) -> str:
    """The signature of the hotkey's own commit to this digest."""
    sealed = seal_commit(run, window, sha256, hotkey, HashKeys(hotkey).sign)
    return str(json.loads(sealed)["signature"])


def refusal(result: object) -> Reason | None:
    """The reason if it was refused, None if it opened."""
    return result.reason if isinstance(result, Rejection) else None


def places(value: Any, path: Path = ()) -> list[Path]:
    """The paths of everything inside a JSON value, but not of the value itself."""
    inner: Sequence[tuple[int | str, Any]] = ()
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [place for key, v in inner for place in ((*path, key), *places(v, (*path, key)))]


def changed(value: Any, path: Path, new: Any) -> Any:
    """A copy of a JSON value with another value at one path."""
    if not path:
        return new
    key, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {k: changed(v, rest, new) if k == key else v for k, v in value.items()}
    return [changed(v, rest, new) if k == key else v for k, v in enumerate(value)]


def tampered(body: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The body with one place, or two, replaced by any JSON value."""
    one = st.tuples(st.sampled_from(places(body)), JSON)
    return st.lists(one, min_size=1, max_size=2, unique_by=lambda change: change[0]).map(
        lambda changes: _all(body, changes)
    )


def nested(levels: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


DEEP = nested(MAX_DEPTH - 6)  # as deep as fits everywhere inside a signed document


def _all(body: dict[str, Any], changes: list[tuple[Path, Any]]) -> Any:
    result: Any = body
    for path, new in changes:
        if path in places(result):
            result = changed(result, path, new)
    return result
