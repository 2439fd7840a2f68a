"""Sealed objects: pinned bytes, exact size, and a named reason for whatever was changed."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import HashKeys, array, flips, sample, verify_hash

from boltzmann.protocol.codec import Codec
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.wire import (
    Expected,
    Kind,
    Opened,
    check_values,
    open_object,
    seal,
)

FINITE = st.floats(width=32, min_value=-100, max_value=100)
NAMES = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=60)
KEYS = HashKeys("5Hotkey")
EXPECTED = Expected(Kind.DELTA, "run-1", "5Hotkey", 7, bytes(range(32)), 4, Codec.BF16, 10.0)
VALUES = [1.0, -2.5, 0.0, 3.140625]
BODY = Codec.BF16.encode(array(VALUES))
GOLDEN = (
    "424c545a010100670572756e2d310735486f746b6579000000000000000700010203040506070809"
    "0a0b0c0d0e0f101112131415161718191a1b1c1d1e1fd03d40f52114b3d5cc6aa2aee363d715b055"
    "fbe22e974e5a4d9e04d184cb80b4000000000000000800000000000004d20218e7f14b708b069166"
    "2895eef6578d5e9a94630f10a33f317b192a50852f446bd34e5fe24759d00e2f72087ab9c2053bd3"
    "6478c2f124ab953fd5fabc77e810c7803f20c000004940"
)

# Where each part of the golden object lies, and what changing a byte of it is called.
REGIONS: dict[str, tuple[int, int, set[Reason]]] = {
    "magic": (0, 4, {Reason.BAD_MAGIC}),
    "version": (4, 5, {Reason.BAD_VERSION}),
    "kind": (5, 6, {Reason.BAD_KIND}),
    "header length": (6, 8, {Reason.BAD_HEADER}),
    "run length": (8, 9, {Reason.BAD_HEADER}),
    "run": (9, 14, {Reason.WRONG_RUN, Reason.BAD_HEADER}),
    "hotkey length": (14, 15, {Reason.BAD_HEADER}),
    "hotkey": (15, 22, {Reason.WRONG_HOTKEY, Reason.BAD_HEADER}),
    "window": (22, 30, {Reason.WRONG_WINDOW}),
    "base root": (30, 62, {Reason.WRONG_BASE}),
    "body digest": (62, 94, {Reason.BAD_DIGEST}),
    "body length": (94, 102, {Reason.WRONG_SIZE}),
    "tokens": (102, 110, {Reason.BAD_SIGNATURE}),
    "codec": (110, 111, {Reason.BAD_HEADER}),
    "signature": (111, 175, {Reason.BAD_SIGNATURE}),
    "body": (175, 183, {Reason.BAD_DIGEST}),
}


@dataclass(frozen=True)
class Signer:
    """A hotkey that signs, and how its signatures are checked."""

    hotkey: str
    sign: Callable[[bytes], bytes]
    verify: Callable[[str, bytes, bytes], bool]


@pytest.fixture(params=["hash", "sr25519"])
def signer(request: pytest.FixtureRequest) -> Signer:
    if request.param == "hash":
        return Signer(KEYS.hotkey, KEYS.sign, verify_hash)
    keypair = pytest.importorskip("bittensor.sp_core").Keypair
    own = keypair.create_from_uri("//Miner")

    def verify(hotkey: str, message: bytes, signature: bytes) -> bool:
        return bool(keypair(ss58_address=hotkey).verify(message, signature))

    return Signer(own.ss58_address, own.sign, verify)


def refusal(blob: bytes, expected: Expected = EXPECTED) -> Reason | None:
    opened = open_object(blob, expected, verify_hash)
    return opened.reason if isinstance(opened, Rejection) else None


def test_a_sealed_delta_is_pinned() -> None:
    assert seal(EXPECTED, 1234, BODY, KEYS.sign).hex() == "".join(GOLDEN)


def test_a_sealed_delta_is_what_the_layout_says() -> None:
    header = struct.pack(
        ">B5sB7sQ32s32sQQB",
        *(5, b"run-1", 7, b"5Hotkey", 7, bytes(range(32))),
        *(hashlib.sha256(BODY).digest(), 8, 1234, 2),
    )
    signed = struct.pack(">4sBBH", b"BLTZ", 1, 1, len(header)) + header
    signature = KEYS.sign(b"boltzmann object\x00" + signed)
    assert seal(EXPECTED, 1234, BODY, KEYS.sign) == signed + signature + BODY


@given(
    kind=st.sampled_from(Kind),
    run=NAMES,
    hotkey=NAMES.filter(bool),
    window=st.integers(0, 2**64 - 1),
    root=st.binary(min_size=32, max_size=32),
    codec=st.sampled_from(Codec),
    tokens=st.integers(0, 2**64 - 1),
    values=st.lists(FINITE, max_size=30),
)
def test_what_is_sealed_opens_and_has_the_exact_size(
    kind: Kind,
    run: str,
    hotkey: str,
    window: int,
    root: bytes,
    codec: Codec,
    tokens: int,
    values: list[float],
) -> None:
    expected = Expected(kind, run, hotkey, window, root, len(values), codec, 100.0)
    body = codec.encode(array(values))
    blob = seal(expected, tokens, body, HashKeys(hotkey).sign)
    assert len(blob) == expected.object_bytes
    opened = open_object(memoryview(blob), expected, verify_hash)
    assert isinstance(opened, Opened)
    assert opened.values.tobytes() == codec.roundtrip(array(values)).tobytes()
    assert opened.sha256 == hashlib.sha256(blob).hexdigest()
    header = opened.header
    assert (header.kind, header.run, header.hotkey, header.window) == (kind, run, hotkey, window)
    assert (header.base_root, header.tokens, header.codec) == (root, tokens, codec)
    assert (header.body_bytes, header.body_sha256) == (len(body), hashlib.sha256(body).digest())


def test_regions_cover_the_object() -> None:
    bounds = [(start, end) for start, end, _ in REGIONS.values()]
    assert [start for start, _ in bounds] == [0, *(end for _, end in bounds[:-1])]
    assert bounds[-1][1] == EXPECTED.object_bytes == len("".join(GOLDEN)) // 2


@pytest.mark.parametrize("region", REGIONS)
def test_a_flipped_byte_is_refused_with_its_reason(region: str) -> None:
    blob = seal(EXPECTED, 1234, BODY, KEYS.sign)
    start, end, reasons = REGIONS[region]
    for mask in (0x01, 0x10, 0x80, 0xFF):
        for changed in flips(blob, start, end, mask):
            assert refusal(changed) in reasons


def test_names_are_refused_by_name_while_they_are_ascii() -> None:
    blob = seal(EXPECTED, 1234, BODY, KEYS.sign)
    assert {refusal(changed) for changed in flips(blob, 9, 14, 0x01)} == {Reason.WRONG_RUN}
    assert {refusal(changed) for changed in flips(blob, 15, 22, 0x01)} == {Reason.WRONG_HOTKEY}


def test_every_bit_counts_under_each_signature_scheme(signer: Signer) -> None:
    expected = replace(EXPECTED, hotkey=signer.hotkey)
    blob = seal(expected, 1234, BODY, signer.sign)
    assert isinstance(open_object(blob, expected, signer.verify), Opened)
    for bit in range(8):
        for changed in flips(blob, 0, len(blob), 1 << bit):
            assert isinstance(open_object(changed, expected, signer.verify), Rejection)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 100, 174, 175, 182])
def test_a_cut_object_has_the_wrong_size(length: int) -> None:
    assert refusal(seal(EXPECTED, 1234, BODY, KEYS.sign)[:length]) is Reason.WRONG_SIZE


@given(more=st.binary(min_size=1, max_size=300))
def test_an_extended_object_has_the_wrong_size(more: bytes) -> None:
    blob = seal(EXPECTED, 1234, BODY, KEYS.sign)
    assert refusal(blob + more) is refusal(more + blob) is Reason.WRONG_SIZE


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(EXPECTED, kind=Kind.UPDATE), Reason.BAD_KIND),
        (replace(EXPECTED, run="run-2"), Reason.WRONG_RUN),
        (replace(EXPECTED, hotkey="5HotkeX"), Reason.WRONG_HOTKEY),
        (replace(EXPECTED, window=8), Reason.WRONG_WINDOW),
        (replace(EXPECTED, base_root=bytes(32)), Reason.WRONG_BASE),
        (replace(EXPECTED, values=2, codec=Codec.FP32), Reason.BAD_HEADER),
        (replace(EXPECTED, values=5), Reason.WRONG_SIZE),
        (replace(EXPECTED, limit=3.0), Reason.TOO_LARGE),
    ],
)
def test_an_honest_object_in_the_wrong_place_is_refused(other: Expected, reason: Reason) -> None:
    assert refusal(seal(EXPECTED, 1234, BODY, KEYS.sign), other) is reason


def test_a_body_length_that_contradicts_the_object_is_refused() -> None:
    """The same size in all, but names and body divide it otherwise."""
    longer = replace(EXPECTED, run="run-1xx", values=3)
    blob = seal(longer, 1234, BODY[:6], KEYS.sign)
    assert len(blob) == EXPECTED.object_bytes
    assert refusal(blob) is Reason.WRONG_RUN


def test_another_hotkeys_signature_is_refused() -> None:
    assert refusal(seal(EXPECTED, 1234, BODY, HashKeys("5Other").sign)) is Reason.BAD_SIGNATURE


def test_a_signature_over_another_kind_of_message_is_refused() -> None:
    def sign_without_domain(message: bytes) -> bytes:
        return KEYS.sign(message.split(b"\x00", 1)[1])

    assert refusal(seal(EXPECTED, 1234, BODY, sign_without_domain)) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("limit", [10.0, 3.4e38, 1e300, float("inf")])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused_under_any_limit(
    codec: Codec, limit: float, bad: float
) -> None:
    expected = replace(EXPECTED, codec=codec, limit=limit)
    for place in range(4):
        values = array(VALUES)
        values[place] = bad
        blob = seal(expected, 0, codec.encode(values), KEYS.sign)
        assert refusal(blob, expected) is Reason.NOT_FINITE


def test_not_finite_is_named_before_too_large() -> None:
    wrong = check_values(array([1e6, float("nan"), float("inf")]), 1.0)
    assert wrong is not None
    assert wrong.reason is Reason.NOT_FINITE


@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20),
    limit=st.floats(2.0**-100, 2.0**120, width=32),
)
def test_magnitudes_are_bounded_on_both_sides(values: list[float], limit: float) -> None:
    wrong = check_values(array(values), limit)
    if all(abs(value) <= limit for value in values):
        assert wrong is None
    else:
        assert wrong is not None
        assert wrong.reason is Reason.TOO_LARGE


def test_the_limit_itself_is_allowed() -> None:
    assert check_values(array([10.0, -10.0]), 10.0) is None
    above = np.nextafter(np.float32(10), np.float32(11))
    for value in (float(above), -float(above)):
        assert check_values(array([value]), 10.0) is not None


def test_garbage_of_the_right_size_never_raises() -> None:
    """A peer chooses every byte; whatever parses far enough meets the next check."""
    blob = seal(EXPECTED, 1234, BODY, KEYS.sign)

    @given(
        tail=st.binary(min_size=len(blob), max_size=len(blob)),
        keep=st.integers(0, len(blob) - 1),
        length=st.integers(0, 2**16 - 1),
    )
    def attack(tail: bytes, keep: int, length: int) -> None:
        mixed = blob[:keep] + tail[keep:]
        relabelled = blob[:6] + struct.pack(">H", length) + tail[8:]
        for candidate in (tail, mixed, relabelled):
            if candidate != blob:
                assert isinstance(open_object(candidate, EXPECTED, verify_hash), Rejection)

    attack()


@given(blob=st.binary(max_size=400))
def test_garbage_of_any_size_never_raises(blob: bytes) -> None:
    assert isinstance(open_object(blob, EXPECTED, verify_hash), Rejection)


@given(names=st.binary(max_size=96))
def test_malformed_headers_that_are_signed_never_raise(names: bytes) -> None:
    """The attacker owns a hotkey: the signature is good, only the header is not."""
    signed = struct.pack(">4sBBH", b"BLTZ", 1, 1, len(names)) + names
    blob = signed + KEYS.sign(b"boltzmann object\x00" + signed)
    blob += bytes(EXPECTED.object_bytes - len(blob)) if len(blob) < EXPECTED.object_bytes else b""
    assert refusal(blob) in {Reason.BAD_HEADER, Reason.WRONG_SIZE}


def test_a_header_that_claims_more_than_the_object_is_refused() -> None:
    """Names that use up the body and the signature, so that every field still parses."""
    names = b"\x05run-1" + bytes([79]) + b"h" * 79
    numbers = struct.pack(">Q32s32sQQB", 7, bytes(range(32)), bytes(32), 8, 0, 2)
    blob = struct.pack(">4sBBH", b"BLTZ", 1, 1, 4096) + names + numbers
    assert len(blob) == EXPECTED.object_bytes
    assert refusal(blob) is Reason.BAD_HEADER


def test_a_remote_name_reaches_people_in_printable_form() -> None:
    sly = replace(EXPECTED, run="\x1b[2Jx")
    opened = open_object(seal(sly, 0, BODY, KEYS.sign), EXPECTED, verify_hash)
    assert isinstance(opened, Rejection)
    assert str(opened).isprintable()


@pytest.mark.parametrize("size", [0, 7, 9])
def test_sealing_refuses_a_body_of_another_length(size: int) -> None:
    with pytest.raises(ValueError, match=f"a body of {size} bytes, not 8"):
        seal(EXPECTED, 0, bytes(size), KEYS.sign)


def test_an_update_carries_many_values() -> None:
    values = array(sample("wire", 100_000))
    expected = replace(EXPECTED, kind=Kind.UPDATE, values=len(values), codec=Codec.FP32)
    blob = seal(expected, 0, Codec.FP32.encode(values), KEYS.sign)
    opened = open_object(blob, expected, verify_hash)
    assert isinstance(opened, Opened)
    assert opened.values.tobytes() == values.tobytes()
