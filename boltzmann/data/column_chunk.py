"""Decodes one column's bytes of one row group, with nothing else of its file at hand.

A row group of a large set is found by three numbers, where its file's footer takes megabytes: all
footers of a set of thousands of files would not fit on a miner's disk, and fetching one per page
would cost as much as the page. pyarrow reads whole files only, so the chunk is wrapped into a file
of one column and one row group, whose footer is written here: Thrift's compact protocol, as the
Parquet format defines it (https://parquet.apache.org/docs/file-format/metadata).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MAGIC = b"PAR1"

# pyarrow's names, and the numbers of the format's CompressionCodec. The format has two kinds of
# LZ4, framed as in Hadoop (5) and raw (7); the decoder of the first reads the second as well.
CODECS = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "BROTLI": 4, "LZ4": 5, "ZSTD": 6}
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12  # Thrift's compact types
_BYTE_ARRAY, _OPTIONAL, _UTF8 = 6, 1, 0  # the format's Type, FieldRepetitionType, ConvertedType
_ENCODINGS = (0, 3, 8)  # named because the format asks for some; decoders read the pages' own


def decode(chunk: bytes, rows: int, codec: int, nullable: bool) -> Any:
    """The text column that `chunk` encodes, a `pyarrow.ChunkedArray` of strings.

    `chunk`: the column chunk from its first page (a dictionary's, if any) to its last; `codec`: one
    of CODECS. Raises: OSError or pyarrow.ArrowException for bytes that are no such chunk.
    """
    footer = _footer(rows, len(chunk), codec, nullable)
    parts = (MAGIC, chunk, footer, len(footer).to_bytes(4, "little"), MAGIC)
    with pq.ParquetFile(
        pa.BufferReader(b"".join(parts)), page_checksum_verification=True
    ) as opened:
        return opened.read(use_threads=False).column(0)


def _footer(rows: int, length: int, codec: int, nullable: bool) -> bytes:
    """The FileMetaData of one column of `rows` values in the `length` bytes after the magic."""
    root = _struct((4, _BINARY, _binary(b"schema")), (5, _I32, _integer(1)))
    leaf = _struct(
        (1, _I32, _integer(_BYTE_ARRAY)),
        (3, _I32, _integer(_OPTIONAL if nullable else 0)),
        (4, _BINARY, _binary(b"text")),
        (6, _I32, _integer(_UTF8)),
    )
    column = _struct(
        (1, _I32, _integer(_BYTE_ARRAY)),
        (2, _LIST, _list(_I32, [_integer(encoding) for encoding in _ENCODINGS])),
        (3, _LIST, _list(_BINARY, [_binary(b"text")])),
        (4, _I32, _integer(codec)),
        (5, _I64, _integer(rows)),
        (6, _I64, _integer(length)),
        (7, _I64, _integer(length)),
        (9, _I64, _integer(len(MAGIC))),
    )
    chunk = _struct((2, _I64, _integer(0)), (3, _STRUCT, column))
    group = _struct(
        (1, _LIST, _list(_STRUCT, [chunk])), (2, _I64, _integer(length)), (3, _I64, _integer(rows))
    )
    return _struct(
        (1, _I32, _integer(2)),
        (2, _LIST, _list(_STRUCT, [root, leaf])),
        (3, _I64, _integer(rows)),
        (4, _LIST, _list(_STRUCT, [group])),
    )


def _struct(*fields: tuple[int, int, bytes]) -> bytes:
    """Fields as (number, type, value), by rising numbers less than 16 apart."""
    out, last = bytearray(), 0
    for number, kind, value in fields:
        out.append((number - last) << 4 | kind)
        out += value
        last = number
    return bytes(out) + b"\0"


def _list(kind: int, items: Sequence[bytes]) -> bytes:
    """At most 14 items."""
    return bytes([len(items) << 4 | kind]) + b"".join(items)


def _binary(value: bytes) -> bytes:
    return _varint(len(value)) + value


def _integer(value: int) -> bytes:
    """Zigzag: an integer of at least 0 has its double."""
    return _varint(2 * value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
