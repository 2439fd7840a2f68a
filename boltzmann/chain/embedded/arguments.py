"""Call arguments from a client's Python values to the canonical JSON that is signed and stored.

This is the embedded chain's SCALE: the one place where a caller's values become typed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bittensor.sp_core import ss58_decode

from boltzmann.chain.embedded.commitments import MAX_FIELD_BYTES

Encode = Callable[[object], Any]


class BadArgument(ValueError):
    """An argument that has no encoding in the call's type."""


def unsigned(bits: int) -> Encode:
    """An encoder of integers in [0, 2^bits)."""

    def encode(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
            raise BadArgument(f"{value!r} is not an integer of {bits} bits")
        return value

    return encode


def vector_of(element: Encode) -> Encode:
    """An encoder of lists."""

    def encode(value: object) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise BadArgument(f"{value!r} is not a list")
        return [element(one) for one in value]

    return encode


def byte_string(most: int) -> Encode:
    """An encoder of up to `most` bytes, given as such or as 0x hex."""

    def encode(value: object) -> str:
        data = _bytes(value)
        if len(data) > most:
            raise BadArgument(f"{len(data)} bytes are more than the {most} there is room for")
        return "0x" + data.hex()

    return encode


def address(value: object) -> str:
    """An account's ss58 address."""
    if not isinstance(value, str):
        raise BadArgument(f"{value!r} is not an ss58 address")
    try:
        ss58_decode(value)
    except ValueError as error:
        raise BadArgument(f"{value!r} is not an ss58 address: {error}") from error
    return value


def commitment_info(value: object) -> dict[str, Any]:
    """{"fields": [{"RawN": N bytes, or their 0x hex}, ...]} with N from 0 to 128."""
    if not isinstance(value, Mapping) or set(value) != {"fields"}:
        raise BadArgument(f'{value!r} is not a commitment: it has "fields" and nothing else')
    return {"fields": vector_of(_raw_field)(value["fields"])}


def _raw_field(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) != 1:
        raise BadArgument(f"{value!r} is not a commitment field: one variant and its value")
    ((variant, content),) = value.items()
    data = _bytes(content)
    if len(data) > MAX_FIELD_BYTES or variant != f"Raw{len(data)}":
        raise BadArgument(
            f"commitment field {variant!r} with {len(data)} bytes: the embedded chain takes Raw0 to"
            f" Raw{MAX_FIELD_BYTES} with as many bytes as the name says"
        )
    return {str(variant): "0x" + data.hex()}


def _bytes(value: object) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return bytes.fromhex(value[2:])
        except ValueError as error:
            raise BadArgument(f"{value!r} is not hex") from error
    raise BadArgument(f"{value!r} is neither bytes nor 0x hex")
