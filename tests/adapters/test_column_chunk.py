"""A column chunk decodes as pyarrow decodes the whole file, whatever wrote it."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from boltzmann.data.column_chunk import CODECS, decode

TEXTS = [f"row {number} " + "déjà vu " * (number % 5) for number in range(1000)]
WRITERS: dict[str, dict[str, Any]] = {
    "dictionary": {},
    "plain": {"use_dictionary": False},
    "delta": {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
    "second page version": {"data_page_version": "2.0"},
    "many pages": {"data_page_size": 100, "write_batch_size": 10, "write_page_checksum": True},
    "page index": {"write_page_index": True},
}


def chunks(table: Any, **options: Any) -> list[tuple[bytes, int, int]]:
    """Each row group's bytes of the column, its rows and its codec."""
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=300, **options)
    found = []
    for group in range(pq.read_metadata(file).num_row_groups):
        facts = pq.read_metadata(file).row_group(group)
        chunk = facts.column(0)
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        raw = file.getvalue()[start : start + chunk.total_compressed_size]
        found.append((raw, facts.num_rows, CODECS[chunk.compression]))
    return found


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
@pytest.mark.parametrize("nullable", [True, False], ids=["nulls", "no nulls"])
def test_every_codec_and_encoding_comes_back(codec: str, writer: str, nullable: bool) -> None:
    texts = [None if nullable and text.endswith("7 ") else text for text in TEXTS]
    schema = pa.schema([pa.field("text", pa.string(), nullable=nullable)])
    table = pa.table({"text": pa.array(texts, pa.string())}, schema=schema)
    read: list[str | None] = []
    for raw, rows, number in chunks(table, compression=codec, **WRITERS[writer]):
        read += decode(raw, rows, number, nullable).to_pylist()
    assert read == texts


def test_a_chunk_with_fewer_rows_than_its_footer_says_is_told() -> None:
    [(raw, rows, codec), *_] = chunks(pa.table({"text": TEXTS}))
    assert len(decode(raw, rows + 1, codec, True)) == rows


@pytest.mark.parametrize("keep", [0, 5, 400])
def test_bytes_that_are_no_chunk_are_refused(keep: int) -> None:
    [(raw, rows, codec), *_] = chunks(pa.table({"text": TEXTS}), compression="zstd")
    with pytest.raises((OSError, pa.ArrowException)):
        decode(raw[:keep] + b"\0" * 50, rows, codec, True)
