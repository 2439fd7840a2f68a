"""Parquet files on this machine, read a row group at a time."""

from __future__ import annotations

import hashlib
import os
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from boltzmann.data.source import digest, page_rows, whole_pages
from boltzmann.errors import DataError

_MAGIC = b"PAR1"
_TAIL_BYTES = 8  # the footer's length, little-endian, then the magic


@dataclass(frozen=True, eq=False)
class _File:
    """One file as it was when it was opened. `group_starts`: `[groups + 1] int64`, in rows."""

    path: Path
    name: str
    size: int
    footer_sha256: bytes
    group_starts: NDArray[np.int64]

    @property
    def rows(self) -> int:
        return int(self.group_starts[-1])


class ParquetPages:
    """Pages of one text column of a folder of `*.parquet` files (searched to any depth), or of
    named files, in the order of their names relative to their common folder. A null is empty text.

    Footers are read once; they are not kept, because one of 1,000 row groups and 10 columns takes
    8 MB in memory and 5 ms to read again. At most one row group's column is held, so a page costs
    the reading of the row groups it lies in. Calls may come from several threads.

    Raises: DataError if there is no file, a file is not whole Parquet, the column is not there or
    not text, or there is less than one page.
    """

    def __init__(self, source: Path | Sequence[Path], column: str, rows_per_page: int) -> None:
        self._column = column
        self._rows_per_page = rows_per_page
        self._files = tuple(_open(path, name, column) for path, name in _named_files(source))
        self._place = ", ".join(str(file.path) for file in self._files[:3])
        if len(self._files) > 3:
            self._place += f" and {len(self._files) - 3} more files"
        starts = tuple(accumulate((file.rows for file in self._files), initial=0))
        self._file_starts = starts[:-1]
        self._count = whole_pages(starts[-1], rows_per_page, self._place)
        self._lock = threading.Lock()
        self._held: tuple[_File, int, Any] | None = None

    @property
    def count(self) -> int:
        """How many whole pages there are."""
        return self._count

    def fingerprint(self) -> str:
        """The digest of the column's name and each file's name, size and footer.

        A footer holds the schema, row counts, and each row group's sizes and value ranges. Data
        changed behind an unchanged footer is not noticed here: the node that has it computes
        other gradients and fails its audits. Copies must keep the files' names.
        """
        fields = [self._column.encode()]
        for file in self._files:
            fields += [file.name.encode(), file.size.to_bytes(8, "big"), file.footer_sha256]
        return digest(fields)

    def rows(self, page: int) -> Sequence[str]:
        """The texts of one page's rows, in order. Raises: DataError."""
        numbers = page_rows(page, self._count, self._rows_per_page, self._place)
        texts: list[str] = []
        row = numbers.start
        while row < numbers.stop:
            # Empty files and groups start where the next one does; `right` finds the last of them.
            number = bisect_right(self._file_starts, row) - 1
            file, row_in_file = self._files[number], row - self._file_starts[number]
            group = int(np.searchsorted(file.group_starts, row_in_file, side="right")) - 1
            start, stop = int(file.group_starts[group]), int(file.group_starts[group + 1])
            take = min(numbers.stop - row, stop - row_in_file)
            texts += self._texts(file, group, row_in_file - start, take)
            row += take
        return texts

    def _texts(self, file: _File, group: int, start: int, take: int) -> list[str]:
        with self._lock:
            if self._held is None or self._held[:2] != (file, group):
                self._held = None  # never two groups in memory
                self._held = (file, group, _read_group(file, group, self._column))
            values = self._held[2]
        try:
            return [text or "" for text in values.slice(start, take).to_pylist()]
        except UnicodeDecodeError as error:
            raise DataError(
                f"{file.path}: column {self._column!r} of row group {group} is not UTF-8 text "
                f"({error}); write the file again from text"
            ) from error


def _named_files(source: Path | Sequence[Path]) -> list[tuple[Path, str]]:
    """(path, name relative to the common folder), in the order of the names."""
    if isinstance(source, Path) and source.is_dir():
        root, files = source, [path for path in source.rglob("*.parquet") if path.is_file()]
        if not files:
            raise DataError(f"{source} holds no *.parquet file: name the folder that does")
    else:
        files = [source] if isinstance(source, Path) else list(source)
        if not files:
            raise DataError("no Parquet file was named: name a folder or at least one file")
        root = Path(os.path.commonpath([path.parent for path in files]))
    return sorted(((p, p.relative_to(root).as_posix()) for p in files), key=lambda pair: pair[1])


def _open(path: Path, name: str, column: str) -> _File:
    try:
        size, footer = _footer(path)
        metadata = pq.read_metadata(pa.BufferReader(footer))
        schema = metadata.schema.to_arrow_schema()
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    if column not in schema.names:
        names = ", ".join(schema.names)
        raise DataError(f"{path} has no column {column!r}; its columns are {names}: name one")
    if not _is_text(schema.field(column).type):
        raise DataError(
            f"{path}: column {column!r} holds {schema.field(column).type}, not text: "
            f"name a string column"
        )
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    starts = np.cumsum([0, *rows], dtype=np.int64)
    return _File(path, name, size, hashlib.sha256(footer).digest(), starts)


def _footer(path: Path) -> tuple[int, bytes]:
    """The file's size, and its footer with the tail. Raises: OSError, DataError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
        length = int.from_bytes(tail[:4], "little") + _TAIL_BYTES
        if tail[4:] != _MAGIC or length + len(_MAGIC) > size:
            raise DataError(f"{path} is cut short or not a Parquet file: copy it again")
        file.seek(size - length)
        return size, file.read()


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _read_group(file: _File, group: int, column: str) -> Any:
    """One row group's column, a `pyarrow.ChunkedArray`. Raises: DataError."""
    try:
        with pq.ParquetFile(file.path, page_checksum_verification=True) as opened:
            values = opened.read_row_group(group, columns=[column]).column(0)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file.path, error) from error
    if len(values) != file.group_starts[group + 1] - file.group_starts[group]:
        raise DataError(f"{file.path} has changed since it was opened: put the old file back")
    return values


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{path} cannot be read as Parquet ({reason}): copy it again")
