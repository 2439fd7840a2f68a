"""What every page source has in common: whole pages of rows, and a fingerprint of its text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

from boltzmann.errors import DataError
from boltzmann.ports import Pages


class Source(Pages, Protocol):
    """Pages that can say which text they are cut from."""

    def fingerprint(self) -> str:
        """64 hex digits that name this text; the run's config pins them as `data.revision`.

        Independent of `rows_per_page`.
        """
        ...


def whole_pages(rows: int, rows_per_page: int, place: str) -> int:
    """How many whole pages `rows` rows give; the rows after them belong to no page.

    Raises: DataError if there is not even one.
    """
    if rows_per_page < 1:
        raise DataError(f"{place}: rows_per_page is {rows_per_page}; it must be at least 1")
    if rows < rows_per_page:
        raise DataError(
            f"{place} has {rows} rows, fewer than one page of {rows_per_page}: "
            f"use fewer rows per page or more text"
        )
    return rows // rows_per_page


def page_rows(page: int, count: int, rows_per_page: int, place: str) -> range:
    """The row numbers of one page. Raises: DataError if there is no such page."""
    if not 0 <= page < count:
        raise DataError(f"{place} has pages 0 to {count - 1}, but page {page} was asked for")
    return range(page * rows_per_page, (page + 1) * rows_per_page)


def digest(fields: Iterable[bytes]) -> str:
    """SHA-256, as hex, over the fields, each after its length as 8 big-endian bytes."""
    hasher = hashlib.sha256()
    for field in fields:
        hasher.update(len(field).to_bytes(8, "big"))
        hasher.update(field)
    return hasher.hexdigest()
