"""Pages of Parquet files, read a row group at a time, wherever the files lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from boltzmann.data.column_chunk import decode
from boltzmann.data.files import FileChanged, FileFacts, Files, changed
from boltzmann.data.footers import read_footer, unreadable
from boltzmann.data.held_groups import HeldGroups
from boltzmann.data.index import Index, IndexedFile, build_index
from boltzmann.data.local_files import LocalFiles
from boltzmann.data.source import page_rows, whole_pages
from boltzmann.errors import DataError


class IndexedPages:
    """Pages of the text column that an index was made of. A null is empty text.

    A page costs one read of each row group it lies in, of that column alone, unless the group is
    still held. Calls may come from several threads.

    Raises: DataError if there is less than one page.
    """

    def __init__(self, files: Files, index: Index, rows_per_page: int) -> None:
        self._files = files
        self._index = index
        self._rows_per_page = rows_per_page
        self._count = whole_pages(index.rows, rows_per_page, files.place)
        self._held = HeldGroups()
        self._seen: dict[str, FileFacts] = {}  # files that got another tag and the same footer

    @property
    def count(self) -> int:
        """How many whole pages there are."""
        return self._count

    def fingerprint(self) -> str:
        """See `Index.fingerprint`: the same files have the same one, wherever they lie."""
        return self._index.fingerprint()

    def rows(self, page: int) -> Sequence[str]:
        """The texts of one page's rows, in order. Raises: DataError."""
        numbers = page_rows(page, self._count, self._rows_per_page, self._files.place)
        texts: list[str] = []
        row = numbers.start
        while row < numbers.stop:
            group = self._index.group_of(row)
            start, stop = (int(at) for at in self._index.row_starts[group : group + 2])
            take = min(numbers.stop, stop) - row
            texts += self._texts(group, row - start, take)
            row += take
        return texts

    def _texts(self, group: int, start: int, take: int) -> list[str]:
        values = self._held.get(group, lambda: self._read(group))
        try:
            return [text or "" for text in values.slice(start, take).to_pylist()]
        except UnicodeDecodeError as error:
            file, number = self._index.file_of(group)
            raise DataError(
                f"{self._files.path(file.facts.name)}: column {self._index.column!r} of row group "
                f"{number} is not UTF-8 text ({error}); write the file again from text"
            ) from error

    def _read(self, group: int) -> Any:
        """One row group's column, a `pyarrow.ChunkedArray`. Raises: DataError."""
        index = self._index
        file, number = index.file_of(group)
        path = self._files.path(file.facts.name)
        rows = int(index.row_starts[group + 1] - index.row_starts[group])
        chunk = self._chunk(file, int(index.chunk_starts[group]), int(index.chunk_bytes[group]))
        try:
            values = decode(chunk, rows, int(index.codecs[group]), file.nullable)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(path, error) from error
        if len(values) != rows:
            raise DataError(
                f"{path}: row group {number} holds {len(values)} rows where the file's footer says "
                f"{rows}: copy the file again"
            )
        return values

    def _chunk(self, file: IndexedFile, start: int, length: int) -> bytes:
        facts = self._seen.get(file.facts.name, file.facts)
        try:
            return self._files.read(facts, start, length)
        except FileChanged:
            return self._files.read(self._same(file), start, length)

    def _same(self, file: IndexedFile) -> FileFacts:
        """What a file is now that its tag is another: a new copy of the same, or not.

        Servers of one host may give one file different tags, and a file that was copied again gets
        a new one. What a run pins is the footer, so that decides. Raises: DataError.
        """
        facts = self._files.look(file.facts.name)
        if facts.size != file.facts.size:
            raise changed(self._files.path(facts.name))
        if read_footer(self._files, facts, self._index.column).sha256 != file.footer_sha256:
            raise changed(self._files.path(facts.name))
        self._seen[facts.name] = facts
        return facts


class ParquetPages(IndexedPages):
    """Pages of one text column of a folder of `*.parquet` files (searched to any depth), or of
    named files, in the order of their names relative to their common folder.

    Raises: DataError if there is no file, a file is not whole Parquet, the column is not there or
    not text, or there is less than one page.
    """

    def __init__(self, source: Path | Sequence[Path], column: str, rows_per_page: int) -> None:
        files = LocalFiles(source)
        super().__init__(files, build_index(files, column), rows_per_page)
