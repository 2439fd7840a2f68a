"""Opens Parquet on a remote host by way of its index, which is made once on each machine."""

from __future__ import annotations

from pathlib import Path

from boltzmann.data.files import Files
from boltzmann.data.hub_host import HubHost, hub_endpoint
from boltzmann.data.hub_source import HubSource
from boltzmann.data.index import Index, build_index
from boltzmann.data.index_file import cache_folder, index_path, load_index, save_index
from boltzmann.data.parquet import IndexedPages
from boltzmann.data.range_client import RangeClient
from boltzmann.data.remote_files import RemoteFiles
from boltzmann.data.s3_host import S3Host
from boltzmann.data.web_host import WebHost


def open_remote(
    source: HubSource | str,
    column: str,
    rows_per_page: int,
    *,
    expected: str = "",
    cache: Path | None = None,
    client: RangeClient | None = None,
) -> IndexedPages:
    """Pages of a dataset of the hub at a commit, or of an http(s):// or s3:// address.

    The index of a commit never changes. Another address's counts only as long as it has the
    fingerprint `expected`, so without one it is made anew, as it is when it is damaged.

    Raises: DataError.
    """
    client = client or RangeClient()
    files: Files
    if isinstance(source, HubSource):
        files = RemoteFiles(HubHost(source, client), client)
        name = f"{hub_endpoint()} {source.text}"
    elif source.startswith("s3:"):
        files, name = RemoteFiles(S3Host(source), client), source
    else:
        files, name = RemoteFiles(WebHost(source), client), source
    fixed = isinstance(source, HubSource)
    path = index_path(cache or cache_folder(), name, column)
    kept = load_index(path) if fixed or expected else None
    if kept is not None and (not expected or kept.fingerprint() == expected):
        return IndexedPages(files, kept, rows_per_page)
    return IndexedPages(files, _made(files, column, path), rows_per_page)


def _made(files: Files, column: str, path: Path) -> Index:
    index = build_index(files, column)
    save_index(path, index)
    return index
