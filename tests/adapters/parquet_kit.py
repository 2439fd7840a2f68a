"""Parquet files for tests of page sources, and the places they can be read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_servers import Place

from benchmarks.dataset_server import COMMIT, REPOSITORY, DatasetServer, serve_dataset
from boltzmann.data.hub_source import parse_hub_source
from boltzmann.data.parquet import IndexedPages, ParquetPages
from boltzmann.data.range_client import RangeClient
from boltzmann.data.remote import open_remote

TEXTS = tuple(f"row {number} " + "déjà vu " * (number % 5) for number in range(23))
KINDS = ("local", "http", "hub", "s3")
PATIENCE = 60.0  # seconds; far more than any test that ends well needs

Open = Callable[[Path, int], IndexedPages]


def write_parquet(path: Path, texts: Any, rows_per_group: int = 4, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    table = pa.table({"number": pa.array(range(len(values))), "text": values})
    pq.write_table(table, path, row_group_size=rows_per_group, **options)
    return path


def parquet_folder(folder: Path) -> Path:
    """TEXTS in three files, with an empty one between them and a folder within the folder."""
    write_parquet(folder / "a.parquet", TEXTS[:7])
    write_parquet(folder / "b.parquet", [])
    write_parquet(folder / "c" / "0.parquet", TEXTS[7:9])
    write_parquet(folder / "d.parquet", TEXTS[9:], rows_per_group=5)
    return folder


def upload(folder: Path, place: Place, bucket: str) -> None:
    """Every file below `folder` into a new public bucket, under its path."""
    store = place.store(bucket)
    store.ensure_bucket()
    for path in folder.rglob("*.parquet"):
        store.put_file(path.relative_to(folder).as_posix(), path)


def open_web(
    served: DatasetServer, path: str, rows: int, cache: Path, **options: Any
) -> IndexedPages:
    """Pages of what lies at `path` below the server's folder, by its plain addresses."""
    client = RangeClient(patience=options.pop("patience", PATIENCE))
    address = f"{served.url}/web/{path}"
    return open_remote(address, "text", rows, cache=cache, client=client, **options)


def open_hub(
    served: DatasetServer, path: str, rows: int, cache: Path, **options: Any
) -> IndexedPages:
    """The same by the addresses of the hub; HF_ENDPOINT must name the server."""
    source = parse_hub_source(f"hf://datasets/{REPOSITORY}@{COMMIT}/{path}")
    assert source is not None
    client = RangeClient(patience=options.pop("patience", PATIENCE))
    return open_remote(source, "text", rows, cache=cache, client=client, **options)


@contextmanager
def a_hub(folder: Path) -> Iterator[DatasetServer]:
    """A server of `folder`/files that this process takes for the hub, where it has no account."""
    (folder / "files").mkdir()
    with serve_dataset(folder / "files") as served, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", served.url)
        patch.setenv("HF_TOKEN", "")
        patch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(folder / "no-token"))
        yield served


def all_rows(pages: IndexedPages) -> list[str]:
    return [row for page in range(pages.count) for row in pages.rows(page)]


@contextmanager
def places(root: Path, s3: Place, cache: Path, kind: str) -> Iterator[Open]:
    """Opens folders below `root` by one of KINDS; `s3` is a running service."""
    with ExitStack() as stack:
        if kind == "local":
            yield lambda folder, rows: ParquetPages(folder, "text", rows)
            return
        if kind == "s3":
            made: list[str] = []

            def open_s3(folder: Path, rows: int) -> IndexedPages:
                made.append(f"{root.name.replace('_', '-').lower()[:40]}-{len(made)}")
                upload(folder, s3, made[-1])
                address = f"s3://{made[-1]}?endpoint={s3.endpoint}"
                return open_remote(address, "text", rows, cache=cache)

            yield open_s3
            return
        served = stack.enter_context(serve_dataset(root))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("HF_ENDPOINT", served.url)
        open_there = open_web if kind == "http" else open_hub
        yield lambda folder, rows: open_there(
            served, folder.relative_to(root).as_posix().lstrip("."), rows, cache
        )
