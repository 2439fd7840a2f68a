"""What one file's footer says of the text column: which rows are where."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from boltzmann.data.column_chunk import CODECS, MAGIC
from boltzmann.data.files import FileFacts, Files
from boltzmann.errors import DataError

_TAIL_BYTES = 8  # the footer's length, little-endian, then the magic
_FIRST_READ = 1 << 16  # bytes of the end that are asked for at first: many footers are smaller


@dataclass(frozen=True, eq=False)
class Footer:
    """One file's footer, boiled down to the column's chunks.

    `sha256`: of the footer and the tail after it; `groups`: `[row groups, 4] int64`, each its rows,
    the chunk's first byte, its length in bytes, and its codec's number.
    """

    sha256: bytes
    nullable: bool
    groups: NDArray[np.int64]


def read_footer(files: Files, file: FileFacts, column: str) -> Footer:
    """The footer of one file, by one read of its end, two if it is long.

    Raises: DataError if the file is not whole Parquet or has no such column of text.
    """
    path = files.path(file.name)
    raw = _raw_footer(files, file)
    try:
        metadata = pq.read_metadata(pa.BufferReader(raw))
        schema = metadata.schema.to_arrow_schema()
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error
    if column not in schema.names:
        names = ", ".join(schema.names)
        raise DataError(f"{path} has no column {column!r}; its columns are {names}: name one")
    kind = schema.field(column).type
    if not _is_text(kind):
        raise DataError(f"{path}: column {column!r} holds {kind}, not text: name a string column")
    leaves = [metadata.schema.column(leaf) for leaf in range(metadata.num_columns)]
    number = next(leaf for leaf, found in enumerate(leaves) if found.path == column)
    groups = np.array(
        [_group(metadata.row_group(g), number, path) for g in range(metadata.num_row_groups)],
        dtype=np.int64,
    ).reshape(-1, 4)
    if (groups[:, 1] + groups[:, 2] > file.size).any() or (groups < 0).any():
        raise _cut_short(path)
    nullable = leaves[number].max_definition_level > 0
    return Footer(hashlib.sha256(raw).digest(), nullable, groups)


def unreadable(path: str, error: Exception) -> DataError:
    """What is said of bytes that pyarrow does not take."""
    reason = " ".join(str(error).split())
    return DataError(f"{path} cannot be read as Parquet ({reason}): copy it again")


def _raw_footer(files: Files, file: FileFacts) -> bytes:
    """The footer with the tail. Raises: DataError."""
    if file.size < _TAIL_BYTES:
        raise _cut_short(files.path(file.name))
    have = min(file.size, _FIRST_READ)
    end = files.read(file, file.size - have, have)
    length = int.from_bytes(end[-_TAIL_BYTES:-4], "little") + _TAIL_BYTES
    if end[-4:] != MAGIC or length + len(MAGIC) > file.size:
        raise _cut_short(files.path(file.name))
    if length > have:
        end = files.read(file, file.size - length, length - have) + end
    return end[-length:]


def _group(group: Any, number: int, path: str) -> tuple[int, int, int, int]:
    """Rows, first byte, length and codec of a row group's column chunk. Raises: DataError."""
    chunk = group.column(number)
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    if chunk.compression not in CODECS:
        raise DataError(
            f"{path} is compressed by {chunk.compression}, which this program does not read: "
            f"write it with zstd or snappy"
        )
    return group.num_rows, start, chunk.total_compressed_size, CODECS[chunk.compression]


def _cut_short(path: str) -> DataError:
    return DataError(f"{path} is cut short or not a Parquet file: copy it again")


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)
