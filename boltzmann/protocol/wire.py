"""Outside bytes become typed values here, with every bound checked: attackers write those bytes.

An object is, in this order (integers big-endian):

    magic "BLTZ" | version u8 | kind u8 | header length u16 | header | signature [64] | body

    header: run (u8 length, ASCII) | hotkey (u8 length, ASCII) | window u64 | base root [32] |
            body sha256 [32] | body length u64 | tokens u64 | codec u8

The sr25519 signature is the hotkey's, over a domain string, the first eight bytes and the header.
A reader knows run, hotkey, window and body length beforehand, hence the exact size of the object.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from boltzmann.protocol.codec import Codec
from boltzmann.protocol.rejection import Reason, Rejection

Floats = NDArray[np.float32]
Sign = Callable[[bytes], bytes]
VerifySignature = Callable[[str, bytes, bytes], bool]

MAGIC = b"BLTZ"
VERSION = 1
SIGNATURE_BYTES = 64
MAX_HEADER_BYTES = 4096
_DOMAIN = b"boltzmann object\x00"
_PREAMBLE = struct.Struct(">4sBBH")
_NUMBERS = struct.Struct(">Q32s32sQQB")
_LARGEST = float(np.finfo(np.float32).max)
_PIECE = 1 << 16  # values checked at a time: they stay in the processor's cache


class Kind(IntEnum):
    """What an object holds: one miner's delta, or a window's aggregated update."""

    DELTA = 1
    UPDATE = 2


@dataclass(frozen=True)
class Header:
    """What the sender signs. `tokens`: predicted tokens behind the values (0 for an update)."""

    kind: Kind
    run: str
    hotkey: str
    window: int
    base_root: bytes
    body_sha256: bytes
    body_bytes: int
    tokens: int
    codec: Codec


@dataclass(frozen=True)
class Expected:
    """What a reader knows before it reads. `limit`: the largest magnitude a value may have.

    The body holds the slice's `values`, then for each page its share on the audit points:
    `shares` is (pages, points).
    """

    kind: Kind
    run: str
    hotkey: str
    window: int
    base_root: bytes
    values: int
    codec: Codec
    limit: float
    shares: tuple[int, int] = (0, 0)

    @property
    def body_start(self) -> int:
        """The bytes before the body."""
        header = 2 + len(self.run) + len(self.hotkey) + _NUMBERS.size
        return _PREAMBLE.size + header + SIGNATURE_BYTES

    @property
    def slice_end(self) -> int:
        """The bytes before the shares."""
        return self.body_start + self.values * self.codec.width

    @property
    def body_bytes(self) -> int:
        """The exact size of the body."""
        pages, points = self.shares
        return (self.values + pages * points) * self.codec.width

    @property
    def object_bytes(self) -> int:
        """The exact size of the whole object."""
        return self.body_start + self.body_bytes


@dataclass(frozen=True)
class Checked:
    """An object that may be used: its header, and the sha256 of all its bytes."""

    header: Header
    sha256: str


@dataclass(frozen=True)
class Opened:
    """A checked object: header, the slice's values `[values] float32`, the pages' shares
    `[pages, points] float32`, and the sha256 of all its bytes."""

    header: Header
    values: Floats
    shares: Floats
    sha256: str


def seal(expected: Expected, tokens: int, body: bytes | bytearray, sign: Sign) -> bytes:
    """The object's bytes. Raises: ValueError if the body has not the expected length."""
    if len(body) != expected.body_bytes:
        raise ValueError(f"a body of {len(body)} bytes, not {expected.body_bytes}")
    run, hotkey = expected.run.encode("ascii"), expected.hotkey.encode("ascii")
    header = bytes([len(run)]) + run + bytes([len(hotkey)]) + hotkey
    header += _NUMBERS.pack(
        expected.window,
        expected.base_root,
        hashlib.sha256(body).digest(),
        len(body),
        tokens,
        expected.codec.code,
    )
    signed = _PREAMBLE.pack(MAGIC, VERSION, expected.kind, len(header)) + header
    return b"".join((signed, sign(_DOMAIN + signed), body))


def open_object(
    blob: bytes | memoryview, expected: Expected, verify: VerifySignature
) -> Opened | Rejection:
    """The object's values, or why it is refused."""
    checked = check_object(blob, expected, verify)
    if isinstance(checked, Rejection):
        return checked
    view = memoryview(blob)
    values = expected.codec.decode(view[expected.body_start : expected.slice_end])
    shares = expected.codec.decode(view[expected.slice_end :]).reshape(expected.shares)
    return Opened(checked.header, values, shares, checked.sha256)


def check_object(
    blob: bytes | memoryview, expected: Expected, verify: VerifySignature
) -> Checked | Rejection:
    """Every check of an object, without holding its values; else why it is refused.

    Cheap checks come first, arithmetic last; the first piece with a wrong value names the reason.
    """
    view = memoryview(blob)
    if len(view) != expected.object_bytes:
        return Rejection(Reason.WRONG_SIZE, f"{len(view)} bytes, not {expected.object_bytes}")
    parsed = _parse_header(view)
    if isinstance(parsed, Rejection):
        return parsed
    header, body_start = parsed
    mismatch = _check_header(header, expected)
    if mismatch is not None:
        return mismatch
    body = view[body_start:]
    if hashlib.sha256(body).digest() != header.body_sha256:
        return Rejection(Reason.BAD_DIGEST)
    signed = bytes(view[: body_start - SIGNATURE_BYTES])
    signature = bytes(view[body_start - SIGNATURE_BYTES : body_start])
    if not verify(header.hotkey, _DOMAIN + signed, signature):
        return Rejection(Reason.BAD_SIGNATURE)
    for values in header.codec.pieces(body, _PIECE):
        wrong = check_values(values, expected.limit)
        if wrong is not None:
            return wrong
    return Checked(header, hashlib.sha256(view).hexdigest())


def check_values(values: Floats, limit: float) -> Rejection | None:
    """None if all values are finite and within ±limit, whatever the limit."""
    limit = min(limit, _LARGEST)
    # Extremes need no temporary arrays; a NaN among the values is both of them.
    if bool(values.min(initial=0.0) >= -limit and values.max(initial=0.0) <= limit):
        return None
    if not bool(np.all(np.isfinite(values))):
        return Rejection(Reason.NOT_FINITE)
    return Rejection(Reason.TOO_LARGE, f"a magnitude beyond {limit:g}")


def _parse_header(view: memoryview) -> tuple[Header, int] | Rejection:
    """The header and where the body starts; whatever the bytes are, nothing raises."""
    if len(view) < _PREAMBLE.size:
        return Rejection(Reason.WRONG_SIZE, "shorter than the preamble")
    magic, version, kind, length = _PREAMBLE.unpack(view[: _PREAMBLE.size])
    if magic != MAGIC:
        return Rejection(Reason.BAD_MAGIC)
    if version != VERSION:
        return Rejection(Reason.BAD_VERSION, f"version {version}, not {VERSION}")
    if kind not in (Kind.DELTA, Kind.UPDATE):
        return Rejection(Reason.BAD_KIND, f"kind {kind}")
    body_start = _PREAMBLE.size + length + SIGNATURE_BYTES
    if length > MAX_HEADER_BYTES or len(view) < body_start:
        return Rejection(Reason.BAD_HEADER, f"a header of {length} bytes")
    return _read_fields(
        bytes(view[_PREAMBLE.size : _PREAMBLE.size + length]), Kind(kind), body_start
    )


def _read_fields(header: bytes, kind: Kind, body_start: int) -> tuple[Header, int] | Rejection:
    texts, offset = [], 0
    for _ in range(2):
        if offset >= len(header):
            return Rejection(Reason.BAD_HEADER, "cut short")
        end = offset + 1 + header[offset]
        text = header[offset + 1 : end]
        if end > len(header) or not text.isascii():
            return Rejection(Reason.BAD_HEADER, "a name that is cut short or not ASCII")
        texts.append(text.decode("ascii"))
        offset = end
    if len(header) - offset != _NUMBERS.size:
        return Rejection(Reason.BAD_HEADER, "not the length its fields need")
    window, base_root, digest, body_bytes, tokens, code = _NUMBERS.unpack(header[offset:])
    codec = next((c for c in Codec if c.code == code), None)
    if codec is None:
        return Rejection(Reason.BAD_HEADER, f"codec {code}")
    fields = Header(kind, texts[0], texts[1], window, base_root, digest, body_bytes, tokens, codec)
    return fields, body_start


def _check_header(header: Header, expected: Expected) -> Rejection | None:
    if header.kind != expected.kind:
        return Rejection(Reason.BAD_KIND, f"{header.kind.name}, not {expected.kind.name}")
    if header.run != expected.run:
        return Rejection(Reason.WRONG_RUN, repr(header.run))
    if header.hotkey != expected.hotkey:
        return Rejection(Reason.WRONG_HOTKEY, repr(header.hotkey))
    if header.window != expected.window:
        return Rejection(Reason.WRONG_WINDOW, f"window {header.window}, not {expected.window}")
    if header.base_root != expected.base_root:
        return Rejection(Reason.WRONG_BASE, f"root {header.base_root.hex()[:12]}")
    if header.codec != expected.codec:
        return Rejection(Reason.BAD_HEADER, f"codec {header.codec.value}")
    if header.body_bytes != expected.body_bytes:
        return Rejection(Reason.WRONG_SIZE, f"a body of {header.body_bytes} bytes")
    return None
