"""The data benchmark's Parquet set, and servers of this machine to read it from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.data_text import rows
from benchmarks.dataset_server import COMMIT, REPOSITORY
from benchmarks.servers import open_place
from boltzmann.data.hub_source import parse_hub_source
from boltzmann.data.parquet import IndexedPages, ParquetPages
from boltzmann.data.remote import open_remote

SOURCES = ("local", "http", "s3", "hub", "hub, 100 ms")
FILES, GROUPS_PER_FILE, ROWS_PER_GROUP = 4, 2, 1000
GROUPS = FILES * GROUPS_PER_FILE

Opened = Callable[[], IndexedPages]


def write_set(folder: Path) -> None:
    """The files, with the columns of FineWeb-Edu, in the folders of its kind."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = GROUPS_PER_FILE * ROWS_PER_GROUP
    for number in range(FILES):
        path = folder / f"data/CC-MAIN-2024-{10 + number}/train-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        table: Any = pa.table(
            {
                "text": list(rows(count, seed=number)),
                "id": [f"<urn:uuid:{os.urandom(16).hex()}>" for _ in range(count)],
                "dump": [path.parent.name] * count,
                "url": [f"https://example.com/{os.urandom(12).hex()}" for _ in range(count)],
                "file_path": [f"s3://crawl/{os.urandom(40).hex()}" for _ in range(count)],
                "language": ["en"] * count,
                "language_score": [0.9] * count,
                "token_count": list(range(count)),
                "score": [3.1] * count,
                "int_score": [3] * count,
            }
        )
        pq.write_table(table, path, row_group_size=ROWS_PER_GROUP, compression="snappy")


@contextmanager
def open_source(name: str, folder: Path, rows_per_page: int) -> Iterator[Opened]:
    """Opens the set in `folder`/set by one of SOURCES; its footers have been read already."""
    with ExitStack() as stack:
        if name == "local":
            yield lambda: ParquetPages(folder / "set", "text", rows_per_page)
            return
        source: Any
        if name == "s3":
            place = stack.enter_context(open_place("moto", folder / "moto"))
            bucket = place.bucket("dataset")
            for path in (folder / "set").rglob("*.parquet"):
                bucket.put_file(path.relative_to(folder / "set").as_posix(), path)
            source = f"s3://dataset?endpoint={place.endpoint}"
        else:
            delay = ["0.1"] if name.endswith("ms") else []
            url = stack.enter_context(_serve(folder / "set", *delay))
            source = f"{url}/web/"
            if name.startswith("hub"):
                stack.enter_context(_hub_at(url))
                source = parse_hub_source(f"hf://datasets/{REPOSITORY}@{COMMIT}/data")
        cache = folder / "indexes"
        pinned = open_remote(source, "text", rows_per_page, cache=cache).fingerprint()
        yield lambda: open_remote(source, "text", rows_per_page, cache=cache, expected=pinned)


@contextmanager
def _serve(folder: Path, *delay: str) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.dataset_server", str(folder), *delay]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("the server has no pipes")
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()


@contextmanager
def _hub_at(url: str) -> Iterator[None]:
    before = os.environ.get("HF_ENDPOINT")
    os.environ["HF_ENDPOINT"] = url
    try:
        yield
    finally:
        os.environ.pop("HF_ENDPOINT")
        if before is not None:
            os.environ["HF_ENDPOINT"] = before
