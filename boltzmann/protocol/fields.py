"""Reading the fields of a peer's document: each has one type, one spelling and a bound."""

from __future__ import annotations

import math
from typing import Any

_HEX = frozenset("0123456789abcdef")
_LARGEST = 2**63


class Malformed(ValueError):
    """A field that is missing, of another type, or spelled in another way; says which."""


class Fields:
    """The fields of one object, each taken once; `end` refuses what nobody asked for."""

    def __init__(self, values: object) -> None:
        if type(values) is not dict:
            raise Malformed("not an object")
        self._left: dict[str, Any] = dict(values)

    def take(self, name: str) -> Any:
        """The bare value. Raises: Malformed, as all below do."""
        if name not in self._left:
            raise Malformed(f"{name} is missing")
        return self._left.pop(name)

    def name(self, name: str) -> str:
        """Text that is safe to show and to sort."""
        return checked(name, is_name, self.take(name))

    def word(self, name: str) -> str:
        """As `name`, or empty."""
        return checked(name, lambda v: v == "" or is_name(v), self.take(name))

    def digest(self, name: str) -> str:
        """A sha256 in hexadecimal."""
        return checked(name, is_digest, self.take(name))

    def digest_or_none(self, name: str) -> str:
        """As `digest`, or empty."""
        return checked(name, lambda v: v == "" or is_digest(v), self.take(name))

    def signature_or_none(self, name: str) -> str:
        """64 bytes in hexadecimal, or empty."""
        return checked(name, lambda v: v == "" or is_hex(v, 128), self.take(name))

    def count(self, name: str) -> int:
        """A whole number from 0 on."""
        value = self.take(name)
        if not is_count(value):
            raise Malformed(f"{name} is no count")
        return int(value)

    def whole(self, name: str, *, least: int) -> int:
        """A whole number from `least` on."""
        value = self.take(name)
        if type(value) is not int or not least <= value < _LARGEST:
            raise Malformed(f"{name} is no whole number from {least} on")
        return value

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if type(value) is not bool:
            raise Malformed(f"{name} is neither true nor false")
        return value

    def real(self, name: str) -> float:
        """A number as `float.hex` spells it; infinity is one, NaN is none."""
        return real(name, self.take(name))

    def rows(self, name: str, width: int) -> list[list[Any]]:
        """A list of lists of `width` values."""
        rows = self.take(name)
        # Texts and objects unpack as well: only lists are the one spelling.
        if type(rows) is not list or any(type(r) is not list or len(r) != width for r in rows):
            raise Malformed(f"{name} is not a list of rows of {width}")
        return rows

    def end(self) -> None:
        """Raises: Malformed if a field was not asked for."""
        if self._left:
            raise Malformed(f"unknown fields {str(sorted(map(str, self._left)))[:64]}")


def checked(name: str, test: Any, value: Any) -> str:
    """`value` if it is text that passes the test. Raises: Malformed."""
    if not isinstance(value, str) or not test(value):
        raise Malformed(f"{name} is malformed")
    return value


def real(name: str, value: object) -> float:
    """The number behind its one spelling. Raises: Malformed."""
    try:
        number = float.fromhex(value) if isinstance(value, str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if math.isnan(number) or number.hex() != value:
        raise Malformed(f"{name} is not spelled as a number")
    return number


def sorted_unique(name: str, hotkeys: list[str]) -> None:
    """Raises: Malformed unless the hotkeys come in increasing order."""
    if hotkeys != sorted(set(hotkeys)):
        raise Malformed(f"{name} is not in increasing order of hotkeys")


def is_name(text: object) -> bool:
    """Whether a peer's text is safe to show and to sort: printable ASCII, not empty."""
    return isinstance(text, str) and text != "" and text.isascii() and text.isprintable()


def is_digest(text: object) -> bool:
    return is_hex(text, 64)


def is_hex(text: object, length: int) -> bool:
    """Whether a text is of so many lower-case hexadecimal digits."""
    return isinstance(text, str) and len(text) == length and _HEX.issuperset(text)


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _LARGEST
