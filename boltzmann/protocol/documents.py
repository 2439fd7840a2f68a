"""Signed JSON documents: one canonical spelling, one signature, bounded size.

    {"body": {...}, "hotkey": "5…", "kind": "manifest", "signature": "…", "version": 1}

Keys are sorted, there is no white space, text is ASCII with escapes, and numbers are integers:
fractions travel as hexadecimal text (`float.hex`), so that a document has exactly one spelling and
its sha256 names it. Values nest at most MAX_DEPTH deep: how deep a parser or an interpreter can go
depends on its version and on the caller's stack, which must not decide what is valid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from boltzmann.protocol.fields import Fields, Malformed
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.wire import Sign, VerifySignature

MAX_DOCUMENT_BYTES = 256 * 1024
MAX_DEPTH = 32
_VERSION = 1
_DOMAIN = b"boltzmann document\x00"
_LEAVES = (str, int, bool, type(None))


class OfWindow(Protocol):
    """What a document says of one window of one run."""

    @property
    def run(self) -> str: ...

    @property
    def window(self) -> int: ...


T = TypeVar("T", bound=OfWindow)


def canonical(value: object) -> bytes:
    """The one spelling of a JSON value. Raises: ValueError for a float or too deep a nesting."""
    _refuse_unspellable(value, MAX_DEPTH)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def seal_document(kind: str, body: Mapping[str, Any], hotkey: str, sign: Sign) -> bytes:
    """The signed document's bytes. Raises: ValueError beyond MAX_DOCUMENT_BYTES."""
    unsigned = {"body": body, "hotkey": hotkey, "kind": kind, "version": _VERSION}
    sealed = with_signature(kind, body, hotkey, sign(_DOMAIN + canonical(unsigned)).hex())
    if len(sealed) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"a {kind} of {len(sealed)} bytes; the limit is {MAX_DOCUMENT_BYTES}")
    return sealed


def with_signature(kind: str, body: Mapping[str, Any], hotkey: str, signature: str) -> bytes:
    """The document's bytes with a signature (hexadecimal) that was made elsewhere."""
    return canonical(
        {"body": body, "hotkey": hotkey, "kind": kind, "signature": signature, "version": _VERSION}
    )


def open_document(
    data: bytes, kind: str, hotkey: str, verify: VerifySignature
) -> dict[str, Any] | Rejection:
    """The body of a document of `kind` signed by `hotkey`, or why it is refused."""
    if len(data) > MAX_DOCUMENT_BYTES:
        return Rejection(Reason.WRONG_SIZE, f"a {kind} of {len(data)} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return Rejection(Reason.BAD_DOCUMENT, "not JSON")
    problem = _envelope_problem(document, data)
    if problem is not None:
        return problem
    if document["kind"] != kind:
        return Rejection(Reason.BAD_KIND, f"a {document['kind'][:20]!r}, not a {kind}")
    if document["hotkey"] != hotkey:
        return Rejection(Reason.WRONG_HOTKEY, repr(document["hotkey"][:64]))
    unsigned = {name: document[name] for name in ("body", "hotkey", "kind", "version")}
    if not verify(hotkey, _DOMAIN + canonical(unsigned), bytes.fromhex(document["signature"])):
        return Rejection(Reason.BAD_SIGNATURE)
    body: dict[str, Any] = document["body"]
    return body


def read_body(body: object, read: Callable[[Fields], T], run: str, window: int) -> T | Rejection:
    """What a body says by `read`, which raises Malformed, if it is of this run and window."""
    try:
        found = read(Fields(body))
    except Malformed as error:
        return Rejection(Reason.BAD_DOCUMENT, str(error))
    if found.run != run:
        return Rejection(Reason.WRONG_RUN, repr(found.run[:64]))
    if found.window != window:
        return Rejection(Reason.WRONG_WINDOW, f"window {found.window}, not {window}")
    return found


def digest(data: bytes | bytearray) -> str:
    """The sha256 of an object's bytes, in hexadecimal: its name in manifests and commitments."""
    return hashlib.sha256(data).hexdigest()


def _envelope_problem(document: object, data: bytes) -> Rejection | None:
    fields = {"body": dict, "hotkey": str, "kind": str, "signature": str, "version": int}
    if not isinstance(document, dict) or set(document) != set(fields):
        return Rejection(Reason.BAD_DOCUMENT, "not the envelope's fields")
    for name, kind in fields.items():
        if type(document[name]) is not kind:  # a bool is an int to isinstance
            return Rejection(Reason.BAD_DOCUMENT, f"{name} is not {kind.__name__}")
    if document["version"] != _VERSION:
        return Rejection(Reason.BAD_VERSION, f"version {document['version']}")
    signature = document["signature"]
    if len(signature) != 128 or any(c not in "0123456789abcdef" for c in signature):
        return Rejection(Reason.BAD_SIGNATURE, "not 64 bytes in hexadecimal")
    try:
        exact = canonical(document) == data
    except ValueError:
        exact = False
    return None if exact else Rejection(Reason.BAD_DOCUMENT, "not in canonical spelling")


def _refuse_unspellable(value: object, depth: int) -> None:
    if type(value) in _LEAVES:  # nearly all values are
        return
    if isinstance(value, float):
        raise ValueError("documents hold no floats; write them as float.hex() text")
    if isinstance(value, (Mapping, list, tuple)):
        if depth == 0:
            raise ValueError(f"documents nest at most {MAX_DEPTH} deep")
        for inner in value.values() if isinstance(value, Mapping) else value:
            _refuse_unspellable(inner, depth - 1)
