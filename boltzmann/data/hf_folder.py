"""A folder that `datasets.Dataset.save_to_disk` wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from boltzmann.data.source import digest, page_rows, whole_pages
from boltzmann.errors import DataError

_SAMPLED_ROWS = 256
_ROWS_PER_READ = 65_536


class SavedDatasetPages:
    """Pages of one text column of a saved dataset, memory-mapped. A null is empty text.

    Raises: DataError if the folder is not one whole saved dataset, the column is not there or not
    text, or there is less than one page.
    """

    def __init__(self, folder: Path, column: str, rows_per_page: int) -> None:
        dataset = _load(folder)
        if column not in dataset.column_names:
            names = ", ".join(dataset.column_names)
            raise DataError(f"{folder} has no column {column!r}; its columns are {names}: name one")
        kind = dataset.features[column]
        if getattr(kind, "dtype", None) not in ("string", "large_string"):
            raise DataError(f"{folder}: column {column!r} holds {kind}: name a string column")
        self._column = column
        self._place = str(folder)
        self._rows_per_page = rows_per_page
        # Other columns may hold images, which a slice of the whole dataset would decode.
        self._dataset = dataset.select_columns([column]).with_format("arrow")
        self._count = whole_pages(len(dataset), rows_per_page, self._place)

    @property
    def count(self) -> int:
        """How many whole pages there are."""
        return self._count

    def rows(self, page: int) -> Sequence[str]:
        """The texts of one page's rows, in order. Raises: DataError."""
        numbers = page_rows(page, self._count, self._rows_per_page, self._place)
        return self._texts(numbers.start, numbers.stop)

    def fingerprint(self) -> str:
        """The digest of the column's name, every row's length in bytes (int64, little-endian) and
        the text of up to 256 evenly spaced rows.

        It does not depend on how the rows are spread over files. Lengths are 4 bytes a row to
        read, so it stays quick where hashing all text would take a second per gigabyte. An edit
        that keeps all lengths and no sampled row is not noticed here: the node that has it
        computes other gradients and fails its audits.
        """
        rows = len(self._dataset)
        samples = min(rows, _SAMPLED_ROWS)
        fields = [self._column.encode(), b"".join(self._lengths())]
        for number in (sample * rows // samples for sample in range(samples)):
            fields += [text.encode() for text in self._texts(number, number + 1)]
        return digest(fields)

    def _lengths(self) -> Iterator[bytes]:
        for table in self._dataset.iter(batch_size=_ROWS_PER_READ):
            lengths = pc.fill_null(pc.binary_length(table.column(self._column)), 0)
            yield lengths.to_numpy().astype(np.dtype("<i8")).tobytes()

    def _texts(self, start: int, stop: int) -> list[str]:
        values = self._dataset[start:stop].column(self._column)
        try:
            return [text or "" for text in values.to_pylist()]
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._place}: column {self._column!r} is not UTF-8 text in rows {start} to "
                f"{stop - 1} ({error}); save the dataset again from text"
            ) from error


def _load(folder: Path) -> Any:
    """The `datasets.Dataset` of a folder. Raises: DataError."""
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{folder} is not a whole folder of datasets' save_to_disk ({reason}): copy it again"
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        splits = ", ".join(str(folder / name) for name in loaded)
        raise DataError(f"{folder} holds several splits: name the folder of one, of {splits}")
    return loaded
