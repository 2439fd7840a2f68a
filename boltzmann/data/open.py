"""A page source by its name in the run's config, checked against the fingerprint it pins."""

from __future__ import annotations

import platform
from pathlib import Path

from boltzmann.data.bundled import BundledPages
from boltzmann.data.source import Source
from boltzmann.errors import DataError
from boltzmann.ports import Pages


def open_pages(source: str, *, revision: str, rows_per_page: int, column: str = "text") -> Pages:
    """The pages of `source`: "bundled", "parquet:PATH" or "disk:PATH" (a file or folder).

    Raises: DataError if it cannot be read, or its fingerprint is not `revision`.
    """
    pages = _open_source(source, rows_per_page, column)
    found = pages.fingerprint()
    if not revision:
        raise DataError(
            f"the run's config pins no revision for the data {source}: "
            f'set data.revision = "{found}", the fingerprint of the copy on this machine'
        )
    if found != revision:
        raise DataError(
            f"the data {source} has the fingerprint {found} on this machine, but the run's config "
            f"pins {revision}: {_mend(source)}"
        )
    return pages


def fingerprint(source: str, *, column: str = "text") -> str:
    """What a run's config pins as `data.revision` for this machine's copy of `source`.

    Raises: DataError if it cannot be read.
    """
    return _open_source(source, 1, column).fingerprint()


def _open_source(source: str, rows_per_page: int, column: str) -> Source:
    if source == "bundled":
        return BundledPages(rows_per_page)
    kind, _, place = source.partition(":")
    if kind not in ("parquet", "disk") or not place:
        raise DataError(f"{source!r} names no page source: use bundled, parquet:PATH or disk:PATH")
    path = Path(place).expanduser()
    if not path.exists():
        raise DataError(f"the data {source} is not on this machine: {path.absolute()} is not there")
    # pyarrow takes .3 s and datasets .8 s to import, so they wait until they are asked for.
    if kind == "parquet":
        from boltzmann.data.parquet import ParquetPages

        return ParquetPages(path, column, rows_per_page)
    from boltzmann.data.hf_folder import SavedDatasetPages

    return SavedDatasetPages(path, column, rows_per_page)


def _mend(source: str) -> str:
    if source == "bundled":
        return (
            f"the bundled text changes with Python's version, which here is "
            f"{platform.python_version()}; run every node with the Python of the run's owner"
        )
    return "copy the files of the run's owner, with their names"
