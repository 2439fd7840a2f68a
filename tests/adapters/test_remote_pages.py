"""Parquet on remote hosts: what is fetched, what is tried again, and what is refused."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from parquet_kit import TEXTS, a_hub, all_rows, open_hub, open_web, parquet_folder, write_parquet

from benchmarks.dataset_server import (
    DatasetServer,
    Request,
    Trouble,
)
from boltzmann.data.index import build_index
from boltzmann.data.local_files import LocalFiles
from boltzmann.data.parquet import IndexedPages
from boltzmann.data.range_client import RangeClient
from boltzmann.data.remote import open_remote
from boltzmann.errors import DataError, DataUnavailable

LONG = tuple(f"row {number} " + f"{number:05d} of text " * 100 for number in range(200))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[DatasetServer]:
    with a_hub(tmp_path) as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def once(*troubles: Trouble, only: str = ".parquet") -> Callable[[Request], Trouble | None]:
    """Each trouble for one request of a part of a file, then none."""
    left = list(troubles)
    lock = threading.Lock()

    def trouble(request: Request) -> Trouble | None:
        with lock:
            wanted = request.part is not None and request.path.endswith(only)
            return left.pop(0) if left and wanted else None

    return trouble


class TestWhatIsFetched:
    def test_footers_are_read_once_and_never_again(
        self, served: DatasetServer, cache: Path
    ) -> None:
        parquet_folder(served.folder)
        first = open_hub(served, "", 2, cache)
        tails = served.data_requests()
        assert sorted(request.path for request in tails) == [
            "/cdn/a.parquet",
            "/cdn/b.parquet",
            "/cdn/c/0.parquet",
            "/cdn/d.parquet",
        ]
        served.requests.clear()
        again = open_hub(served, "", 2, cache)
        assert served.requests == []
        assert again.fingerprint() == first.fingerprint()
        assert all_rows(again) == list(TEXTS[:22])

    def test_an_address_that_may_change_is_looked_over_unless_its_fingerprint_is_pinned(
        self, served: DatasetServer, cache: Path
    ) -> None:
        parquet_folder(served.folder)
        pinned = open_web(served, "", 1, cache).fingerprint()
        served.requests.clear()
        open_web(served, "", 1, cache, expected=pinned)
        assert served.requests == []
        write_parquet(served.folder / "e.parquet", TEXTS)
        other = open_web(served, "", 1, cache).fingerprint()
        assert other != pinned
        # The index is now of five files: a run that pins the four finds that out anew.
        assert open_web(served, "", 1, cache, expected=pinned).fingerprint() == other
        (served.folder / "e.parquet").unlink()
        assert open_web(served, "", 1, cache, expected=pinned).fingerprint() == pinned

    @pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
    def test_a_damaged_index_is_made_anew(
        self, damage: str, served: DatasetServer, cache: Path
    ) -> None:
        parquet_folder(served.folder)
        open_hub(served, "", 1, cache)
        [path] = cache.iterdir()
        whole = path.read_bytes()
        at = len(whole) - 9
        other = {"cut": whole[:at], "changed": whole[:at] + b"?" + whole[at + 1 :], "empty": b""}
        path.write_bytes(other[damage])
        served.requests.clear()
        assert all_rows(open_hub(served, "", 1, cache)) == list(TEXTS)
        assert len(served.data_requests()) > 4
        assert path.read_bytes() == whole

    def test_an_index_that_cannot_be_kept_is_named(
        self, served: DatasetServer, tmp_path: Path
    ) -> None:
        parquet_folder(served.folder)
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match=r"cannot be (kept at|read).*XDG_CACHE_HOME"):
            open_hub(served, "", 1, tmp_path / "file" / "cache")

    def test_a_page_costs_one_read_of_its_column_in_its_row_group(
        self, served: DatasetServer, cache: Path
    ) -> None:
        path = write_parquet(served.folder / "a.parquet", LONG, 50)
        pages = open_web(served, "a.parquet", 20, cache)
        served.requests.clear()
        for page, groups in ((0, 1), (1, 0), (2, 1), (9, 1), (4, 0)):
            before = len(served.data_requests())
            assert list(pages.rows(page)) == list(LONG[20 * page : 20 * page + 20])
            assert len(served.data_requests()) - before == groups
        footer = pq.read_metadata(path)
        chunks = [footer.row_group(group).column(1) for group in (0, 1, 3)]
        read = sum(last + 1 - first for _, (first, last) in parts(served))
        assert read == sum(chunk.total_compressed_size for chunk in chunks)

    def test_a_page_across_two_groups_costs_two_reads(
        self, served: DatasetServer, cache: Path
    ) -> None:
        write_parquet(served.folder / "a.parquet", LONG, 50)
        pages = open_hub(served, "a.parquet", 30, cache)
        served.requests.clear()
        assert list(pages.rows(1)) == list(LONG[30:60])
        assert len(served.data_requests()) == 2

    def test_the_hub_is_asked_once_for_the_place_of_a_file(
        self, served: DatasetServer, cache: Path
    ) -> None:
        write_parquet(served.folder / "a.parquet", LONG, 10)
        pages = open_hub(served, "a.parquet", 10, cache)
        assert all_rows(pages) == list(LONG)
        resolved = [r for r in served.requests if "/resolve/" in r.path]
        assert len(resolved) == 1 and len(served.data_requests()) == 21

    def test_a_place_that_has_run_out_is_asked_for_anew(
        self, served: DatasetServer, cache: Path
    ) -> None:
        write_parquet(served.folder / "a.parquet", LONG, 10)
        pages = open_hub(served, "a.parquet", 10, cache)
        served.signature = "second"
        assert all_rows(pages) == list(LONG)
        assert len([r for r in served.requests if "/resolve/" in r.path]) == 2

    def test_threads_share_one_read_of_a_group(self, served: DatasetServer, cache: Path) -> None:
        write_parquet(served.folder / "a.parquet", LONG, 100)
        pages = open_web(served, "a.parquet", 10, cache)
        served.requests.clear()
        threads = [threading.Thread(target=pages.rows, args=(page,)) for page in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(served.data_requests()) == 1

    def test_a_footer_longer_than_the_first_read_is_read_whole(
        self, served: DatasetServer, cache: Path
    ) -> None:
        path = write_parquet(served.folder / "a.parquet", LONG * 5, 1)
        pages = open_web(served, "a.parquet", 100, cache)
        lengths = [last + 1 - first for _, (first, last) in parts(served)]
        raw = path.read_bytes()
        footer = int.from_bytes(raw[-8:-4], "little") + 8
        assert footer > 1 << 16 and lengths == [4, 1 << 16, footer - (1 << 16)]
        assert list(pages.rows(3)) == list(LONG[100:])


def parts(served: DatasetServer) -> Sequence[tuple[str, tuple[int, int]]]:
    return [(r.path, r.part) for r in served.data_requests() if r.part is not None]


class TestTroubles:
    @pytest.mark.parametrize(
        "troubles",
        [
            [Trouble(status=429, headers={"Retry-After": "0"})],
            [Trouble(status=503), Trouble(status=500)],
            [Trouble(sent=0), Trouble(sent=7)],
        ],
        ids=["busy", "broken", "cut off"],
    )
    @pytest.mark.parametrize("kind", [open_web, open_hub], ids=["http", "hub"])
    def test_what_passes_is_tried_again(
        self,
        kind: Callable[..., IndexedPages],
        troubles: list[Trouble],
        served: DatasetServer,
        cache: Path,
    ) -> None:
        parquet_folder(served.folder)
        served.trouble = once(*troubles)
        pages = kind(served, "", 2, cache)
        served.trouble = once(*troubles)
        assert all_rows(pages) == list(TEXTS[:22])

    def test_a_host_that_asks_for_more_time_than_there_is_ends_the_read(
        self, served: DatasetServer, cache: Path
    ) -> None:
        parquet_folder(served.folder)
        pages = open_web(served, "a.parquet", 1, cache)
        served.trouble = lambda _: Trouble(status=429, headers={"Retry-After": "3600"})
        with pytest.raises(DataUnavailable, match=r"60 s \(1 tries, at last: its host answers 42"):
            pages.rows(0)

    def test_a_host_that_is_not_there_is_not_waited_for_long(self, cache: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            port = reserved.getsockname()[1]
        client = RangeClient(contact=0.2)
        with pytest.raises(DataUnavailable, match=r"within 0\.2 s .* copy of it"):
            open_remote(f"http://127.0.0.1:{port}/set", "text", 1, cache=cache, client=client)

    def test_a_host_that_falls_silent_ends_the_read(
        self, served: DatasetServer, cache: Path
    ) -> None:
        parquet_folder(served.folder)
        pages = open_web(served, "a.parquet", 1, cache, patience=0.5)
        silence = threading.Event()
        served.trouble = lambda _: Trouble(sent=5, hold=silence)
        try:
            with pytest.raises(DataError, match=r"could not be read within 0\.5 s"):
                pages.rows(0)
        finally:
            silence.set()
        served.trouble = lambda _: None
        assert pages.rows(0) == [TEXTS[0]]

    def test_a_file_that_is_another_now_is_refused(
        self, served: DatasetServer, cache: Path
    ) -> None:
        path = write_parquet(served.folder / "a.parquet", TEXTS)
        pages = open_web(served, "a.parquet", 1, cache)
        write_parquet(path, TEXTS[:6])
        with pytest.raises(DataError, match="has changed since it was opened: put the old file"):
            pages.rows(22)
        with pytest.raises(DataError, match="has changed since it was opened"):
            pages.rows(0)
        path.unlink()
        with pytest.raises(DataError, match=r"is not there .*404.*put the file back"):
            pages.rows(0)

    @pytest.mark.parametrize("tags", [True, False])
    def test_another_file_of_the_same_size_is_noticed_by_its_tag(
        self, tags: bool, served: DatasetServer, cache: Path
    ) -> None:
        served.tags = tags
        options: Any = {"compression": "none", "use_dictionary": False}
        path = write_parquet(served.folder / "a.parquet", TEXTS, **options)
        pages = open_web(served, "a.parquet", 1, cache)
        size = path.stat().st_size
        write_parquet(path, [text.replace("row", "ROW") for text in TEXTS], **options)
        assert path.stat().st_size == size
        if tags:
            with pytest.raises(DataError, match="has changed since it was opened"):
                pages.rows(0)
        else:  # as on this machine's disk, where the docstring of the fingerprint says so
            assert pages.rows(0) == [TEXTS[0].replace("row", "ROW")]

    def test_a_new_copy_of_the_same_file_is_as_good(
        self, served: DatasetServer, cache: Path
    ) -> None:
        path = write_parquet(served.folder / "a.parquet", TEXTS)
        pages = open_web(served, "a.parquet", 1, cache)
        path.touch()  # another ETag
        assert all_rows(pages) == list(TEXTS)

    def test_a_host_without_ranges_is_refused(self, served: DatasetServer, cache: Path) -> None:
        parquet_folder(served.folder)
        served.ranges = False
        with pytest.raises(DataError, match="does not serve parts of files"):
            open_web(served, "", 1, cache)

    def test_a_file_cut_short_is_refused(self, served: DatasetServer, cache: Path) -> None:
        path = write_parquet(served.folder / "a.parquet", TEXTS)
        whole = path.read_bytes()
        for length in (0, 3, 8, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            for kind in (open_web, open_hub):
                with pytest.raises(DataError, match="cut short or not a Parquet file"):
                    kind(served, "a.parquet", 1, cache / str(length))

    def test_a_wrong_column_is_named(self, served: DatasetServer, cache: Path) -> None:
        parquet_folder(served.folder)
        source = f"{served.url}/web/"
        with pytest.raises(DataError, match="no column 'body'; its columns are number, text"):
            open_remote(source, "body", 1, cache=cache)
        with pytest.raises(DataError, match="column 'number' holds int64, not text"):
            open_remote(source, "number", 1, cache=cache)

    def test_rows_that_are_missing_are_named(self, served: DatasetServer, cache: Path) -> None:
        write_parquet(served.folder / "a.parquet", LONG[:40], 20)
        with pytest.raises(DataError, match="has 40 rows, fewer than one page of 41"):
            open_web(served, "a.parquet", 41, cache)
        files = LocalFiles(served.folder)
        index = build_index(files, "text")
        promised = replace(index, row_starts=index.row_starts + np.array([0, 0, 1]))
        pages = IndexedPages(files, promised, 1)
        assert pages.rows(19) == [LONG[19]]
        with pytest.raises(DataError, match=r"row group 1 holds 20 rows where .* footer says 21"):
            pages.rows(20)
