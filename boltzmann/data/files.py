"""Parquet files wherever they lie: what every transport has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from boltzmann.errors import DataError

READERS = 16  # requests under way at once while a whole set is looked over

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class FileFacts:
    """One file: its name below the set's folder, its size in bytes, and a tag.

    The tag is whatever the transport has that changes with the file (an ETag, a time); it is
    compared, never understood. Empty: this transport has none.
    """

    name: str
    size: int
    tag: str


class FileChanged(DataError):
    """A file has another size or tag than before; whether its data is another is not known yet."""


class Files(Protocol):
    """A folder of Parquet files. Calls may come from several threads."""

    @property
    def place(self) -> str:
        """What messages call the folder."""
        ...

    def path(self, name: str) -> str:
        """What messages call one file."""
        ...

    def entries(self) -> tuple[FileFacts, ...]:
        """Every file whose name ends in .parquet, in the order of the names, at least one.

        Raises: DataError.
        """
        ...

    def look(self, name: str) -> FileFacts:
        """What one file is at present. Raises: DataError."""
        ...

    def read(self, file: FileFacts, start: int, length: int) -> bytes:
        """`length` bytes from `start`. Raises: FileChanged, DataError."""
        ...


def in_parallel(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`work` of each item, in order, by READERS threads; the first error ends the rest."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="dataset") as threads:
        under_way = [threads.submit(work, item) for item in items]
        try:
            return [one.result() for one in under_way]
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def changed(path: str) -> DataError:
    """What is said of a file that is another one now."""
    return DataError(
        f"{path} has changed since it was opened: put the old file back, or pin what is there now "
        f"in a new run"
    )
