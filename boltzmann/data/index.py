"""Where every row group's text lies, for a whole set of Parquet files: 25 bytes a row group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boltzmann.data.files import FileFacts, Files, in_parallel
from boltzmann.data.footers import Footer, read_footer
from boltzmann.data.source import digest


@dataclass(frozen=True)
class IndexedFile:
    """One file as it was when its footer was read; `nullable`: its column may have nulls."""

    facts: FileFacts
    footer_sha256: bytes
    nullable: bool


@dataclass(frozen=True, eq=False)
class Index:
    """All row groups of all files, one after the other.

    `file_groups`: `[files + 1] int64`, each file's first group; `row_starts`: `[groups + 1] int64`,
    each group's first row in the whole set; `chunk_starts`, `chunk_bytes`: `[groups] int64`, where
    the column lies in its file, in bytes; `codecs`: `[groups] uint8`, numbers of the format.
    """

    column: str
    files: tuple[IndexedFile, ...]
    file_groups: NDArray[np.int64]
    row_starts: NDArray[np.int64]
    chunk_starts: NDArray[np.int64]
    chunk_bytes: NDArray[np.int64]
    codecs: NDArray[np.uint8]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.row_starts[-1])

    @property
    def nbytes(self) -> int:
        """What the arrays take in memory, in bytes."""
        arrays = (self.file_groups, self.row_starts, self.chunk_starts, self.chunk_bytes)
        return sum(array.nbytes for array in arrays) + self.codecs.nbytes

    def group_of(self, row: int) -> int:
        """The group that holds `row`, which is one of 0 to `rows` - 1."""
        # Empty groups start where the next one does; `right` finds the last of them.
        return int(np.searchsorted(self.row_starts, row, side="right")) - 1

    def file_of(self, group: int) -> tuple[IndexedFile, int]:
        """The file of a group, and the group's number within it."""
        file = int(np.searchsorted(self.file_groups, group, side="right")) - 1
        return self.files[file], group - int(self.file_groups[file])

    def fingerprint(self) -> str:
        """The digest of the column's name and each file's name, size and footer.

        A footer holds the schema, row counts, and each row group's sizes and value ranges. Data
        changed behind an unchanged footer is not noticed here: the node that has it computes
        other gradients and fails its audits. Copies must keep the files' names.
        """
        fields = [self.column.encode()]
        for file in self.files:
            size = file.facts.size.to_bytes(8, "big")
            fields += [file.facts.name.encode(), size, file.footer_sha256]
        return digest(fields)


def build_index(files: Files, column: str) -> Index:
    """The index of every file, each footer read once, many at a time.

    Raises: DataError from the transport, for a file that is not whole Parquet, and for a column
    that is not there or not text.
    """
    listed = files.entries()
    footers = in_parallel(lambda file: read_footer(files, file, column), listed)
    return _joined(column, listed, footers)


def _joined(column: str, listed: Sequence[FileFacts], footers: Sequence[Footer]) -> Index:
    groups = np.concatenate([footer.groups for footer in footers])
    counts = [len(footer.groups) for footer in footers]
    return Index(
        column,
        tuple(
            IndexedFile(facts, footer.sha256, footer.nullable)
            for facts, footer in zip(listed, footers, strict=True)
        ),
        np.cumsum([0, *counts], dtype=np.int64),
        np.concatenate([[0], np.cumsum(groups[:, 0])]).astype(np.int64),
        np.ascontiguousarray(groups[:, 1]),
        np.ascontiguousarray(groups[:, 2]),
        groups[:, 3].astype(np.uint8),
    )
