"""A page source by its name in the run's config, checked against what the config pins."""

from __future__ import annotations

import platform
from pathlib import Path

from boltzmann.data.bundled import BundledPages
from boltzmann.data.hub_source import HubSource, is_commit, parse_hub_source, preset_column
from boltzmann.data.source import Source
from boltzmann.errors import DataError
from boltzmann.ports import Pages

_KINDS = (
    "bundled, parquet:PATH, disk:PATH, https://HOST/PATH, s3://BUCKET/PREFIX or "
    "hf://datasets/OWNER/NAME"
)


def open_pages(
    source: str,
    *,
    revision: str,
    rows_per_page: int,
    column: str = "text",
    cache: Path | None = None,
) -> Pages:
    """The pages of `source`: one of _KINDS, or a preset (boltzmann.data.hub_source.PRESETS).

    `revision`: the fingerprint of the data, or, for a dataset of the hub that names no commit
    itself, the commit; `cache`: the folder of the indexes of remote sets, None for the user's.

    Raises: DataError if it cannot be read, or is not what `revision` pins.
    """
    hub = parse_hub_source(source)
    if hub is not None:
        hub = _pinned(hub, revision)
    elif is_commit(revision):
        raise DataError(
            f"the run's config pins the commit {revision} of a dataset of the hub, by which the "
            f"data {source} cannot be checked: pin the data's fingerprint"
        )
    expected = "" if is_commit(revision) else revision
    pages = _open_source(source, hub, rows_per_page, column, expected, cache)
    if hub is not None and not expected:
        return pages
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


def fingerprint(source: str, *, column: str = "text", cache: Path | None = None) -> str:
    """What a run's config pins as `data.revision` for `source` as it is now.

    Raises: DataError if it cannot be read.
    """
    hub = parse_hub_source(source)
    if hub is not None:
        hub = _pinned(hub, "")
    return _open_source(source, hub, 1, column, "", cache).fingerprint()


def pin(source: str, *, column: str = "text", cache: Path | None = None) -> tuple[str, str]:
    """What a run's config says as `data.source` and `data.revision` to mean `source` as it is now.

    A dataset of the hub is named with its newest commit, unless it names one. Raises: DataError.
    """
    hub = parse_hub_source(source)
    if hub is not None:
        source = (hub if hub.revision else _newest(hub)).text
    return source, fingerprint(source, column=column, cache=cache)


def _pinned(hub: HubSource, revision: str) -> HubSource:
    """The dataset at its commit. Raises: DataError naming the newest one where none is pinned."""
    at = hub.at(revision)
    if at.revision:
        return at
    newest = _newest(hub)
    raise DataError(
        f"no commit of the dataset {hub.repository} is pinned: set data.revision to a commit, as "
        f'"{newest.revision}", its newest, or data.source to "{newest.text}" and data.revision to '
        f"the data's fingerprint"
    )


def _newest(hub: HubSource) -> HubSource:
    from boltzmann.data.hub_host import HubHost
    from boltzmann.data.range_client import RangeClient

    return HubSource(hub.repository, HubHost(hub, RangeClient()).newest_commit(), hub.path)


def _open_source(
    source: str,
    hub: HubSource | None,
    rows_per_page: int,
    column: str,
    expected: str,
    cache: Path | None,
) -> Source:
    if source == "bundled":
        return BundledPages(rows_per_page)
    kind, _, place = source.partition(":")
    if hub is not None or (kind in ("http", "https", "s3") and place.startswith("//")):
        from boltzmann.data.remote import open_remote

        if column == "text":  # the default of a config that names none
            column = preset_column(source) or column
        return open_remote(hub or source, column, rows_per_page, expected=expected, cache=cache)
    if kind not in ("parquet", "disk") or not place:
        raise DataError(f"{source!r} names no page source: use {_KINDS}")
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
