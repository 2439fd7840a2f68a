"""Page sources: one contract for all of them, then what each must refuse."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pydoc_data.topics import topics

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parquet_kit import KINDS, TEXTS, parquet_folder, places, write_parquet
from store_servers import Place

from boltzmann.data.bundled import ROW_BYTES, BundledPages
from boltzmann.data.hf_folder import SavedDatasetPages
from boltzmann.data.open import fingerprint, open_pages
from boltzmann.data.parquet import ParquetPages
from boltzmann.data.source import Source
from boltzmann.errors import DataError


def saved_dataset(folder: Path) -> Path:
    datasets.disable_progress_bars()
    data = datasets.Dataset.from_dict({"text": list(TEXTS), "number": list(range(len(TEXTS)))})
    data.save_to_disk(str(folder), num_shards=3)
    return folder


def bundled_rows() -> tuple[str, ...]:
    pages = BundledPages(1)
    return tuple(pages.rows(page)[0] for page in range(pages.count))


Make = Callable[[Path, int], Source]
Contract = tuple[Make, Callable[[], tuple[str, ...]]]
NAMES = ("bundled", "saved", *KINDS)


@pytest.fixture(params=NAMES)
def source(
    request: pytest.FixtureRequest, s3: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Contract]]:
    """A folder to make sources in, how one is made, and the rows it holds."""
    root, name = tmp_path_factory.mktemp("source"), request.param
    if name == "bundled":
        yield root, (lambda _, rows: BundledPages(rows), bundled_rows)
    elif name == "saved":
        make: Make = lambda p, rows: SavedDatasetPages(saved_dataset(p), "text", rows)  # noqa: E731
        yield root, (make, lambda: TEXTS)
    else:
        with places(root, Place(s3, s3), tmp_path_factory.mktemp("cache"), name) as opened:
            yield root, (lambda p, rows: opened(parquet_folder(p), rows), lambda: TEXTS)


class TestEverySource:
    def test_pages_are_runs_of_rows_and_the_tail_is_dropped(
        self, source: tuple[Path, Contract]
    ) -> None:
        root, (make, expected) = source
        pages, texts = make(root, 3), expected()
        assert pages.count == len(texts) // 3
        for page in reversed(range(pages.count)):
            assert list(pages.rows(page)) == list(texts[3 * page : 3 * page + 3])

    def test_there_is_no_page_beyond_the_last(self, source: tuple[Path, Contract]) -> None:
        root, (make, _) = source
        pages = make(root, 3)
        for page in (-1, pages.count):
            with pytest.raises(DataError, match=f"page {page} was asked for"):
                pages.rows(page)

    def test_less_than_one_page_is_refused(self, source: tuple[Path, Contract]) -> None:
        root, (make, _) = source
        with pytest.raises(DataError, match="fewer than one page of 1000000"):
            make(root, 1_000_000)
        with pytest.raises(DataError, match="must be at least 1"):
            make(root, 0)

    def test_the_fingerprint_is_of_the_text_alone(self, source: tuple[Path, Contract]) -> None:
        root, (make, _) = source
        one, other = make(root / "one", 3), make(root / "other", 5)
        assert one.fingerprint() == other.fingerprint()
        assert len(bytes.fromhex(one.fingerprint())) == 32

    def test_threads_may_share_it(self, source: tuple[Path, Contract]) -> None:
        root, (make, _) = source
        pages = make(root, 2)
        alone = [list(pages.rows(page)) for page in range(pages.count)]
        order = [page for page in range(pages.count) for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            together = [list(rows) for rows in threads.map(pages.rows, order)]
        assert together == [alone[page] for page in order]


def test_the_same_files_have_the_same_fingerprint_wherever_they_lie(
    s3: str, tmp_path: Path
) -> None:
    parquet_folder(tmp_path / "data")
    seen = {}
    for kind in KINDS:
        with places(tmp_path, Place(s3, s3), tmp_path / f"cache-{kind}", kind) as opened:
            seen[kind] = opened(tmp_path / "data", 1).fingerprint()
    assert len(seen) == 4 and set(seen.values()) == {seen["local"]}


class TestBundled:
    def test_rows_hold_all_the_text_in_key_order(self) -> None:
        everything = "".join(text for _, text in sorted(topics.items()))
        assert "".join(bundled_rows()).replace("\n", "") == everything.replace("\n", "")

    def test_rows_are_whole_lines_of_at_most_a_row_and_never_blank(self) -> None:
        lines = {line for text in topics.values() for line in text.split("\n")}
        for row in bundled_rows():
            assert row.strip() and len(row.encode()) <= ROW_BYTES
            assert set(row.split("\n")) <= lines

    def test_its_fingerprint_is_over_every_row_after_its_length(self) -> None:
        rows = [row.encode() for row in bundled_rows()]
        stream = b"".join(len(row).to_bytes(8, "big") + row for row in rows)
        assert BundledPages(7).fingerprint() == hashlib.sha256(stream).hexdigest()


class TestParquet:
    @settings(max_examples=30)
    @given(
        files=st.lists(st.lists(st.none() | st.text(max_size=8), max_size=12), max_size=4),
        rows_per_group=st.integers(1, 5),
        rows_per_page=st.integers(1, 6),
    )
    def test_pages_do_not_depend_on_files_and_row_groups(
        self, files: list[list[str | None]], rows_per_group: int, rows_per_page: int
    ) -> None:
        texts = [text or "" for rows in files for text in rows]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for number, rows in enumerate(files):
                write_parquet(folder / f"{number}.parquet", rows, rows_per_group)
            if len(texts) < rows_per_page:
                with pytest.raises(DataError):
                    ParquetPages(folder, "text", rows_per_page)
                return
            pages = ParquetPages(folder, "text", rows_per_page)
            read = [row for page in range(pages.count) for row in pages.rows(page)]
            assert read == texts[: pages.count * rows_per_page]

    @pytest.mark.parametrize(
        "kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str
    )
    def test_every_kind_of_string_column_is_text(self, kind: object, tmp_path: Path) -> None:
        values = pa.array(["x", None, "y"], pa.string()).cast(kind)
        pages = ParquetPages(write_parquet(tmp_path / "a.parquet", values), "text", 3)
        assert list(pages.rows(0)) == ["x", "", "y"]

    def test_named_files_are_as_good_as_their_folder(self, tmp_path: Path) -> None:
        folder = ParquetPages(parquet_folder(tmp_path), "text", 3)
        files = ParquetPages(sorted(tmp_path.rglob("*.parquet"), reverse=True), "text", 3)
        assert files.fingerprint() == folder.fingerprint()
        assert files.rows(2) == folder.rows(2)

    def test_the_fingerprint_tells_other_text_names_and_columns_apart(self, tmp_path: Path) -> None:
        plain = [f"row {number}" for number in range(8)]
        seen = set()
        for name, replaced in (("a", "row 3"), ("b", "row 3"), ("a", "row x")):
            folder = tmp_path / f"{name}-{replaced}"
            folder.mkdir()
            texts = [replaced if text == "row 3" else text for text in plain]  # of equal length
            table = pa.table({"text": texts, "title": plain})
            pq.write_table(table, folder / f"{name}.parquet", compression="none")
            for column in ("text", "title"):
                seen.add(ParquetPages(folder, column, 1).fingerprint())
        assert len(seen) == 6

    def test_only_the_row_groups_of_a_page_are_read(self, tmp_path: Path) -> None:
        # Plain text in the file: only the page's checksum can tell that a byte of it has changed.
        path = write_parquet(
            tmp_path / "a.parquet",
            TEXTS,
            compression="none",
            use_dictionary=False,
            write_page_checksum=True,
        )
        damaged = bytearray(path.read_bytes())
        damaged[damaged.index(b"row 2")] ^= 1
        path.write_bytes(damaged)
        pages = ParquetPages(path, "text", 2)
        assert list(pages.rows(2)) == list(TEXTS[4:6])
        with pytest.raises(DataError, match="cannot be read as Parquet"):
            pages.rows(1)

    def test_a_file_cut_short_is_refused(self, tmp_path: Path) -> None:
        path = write_parquet(tmp_path / "a.parquet", TEXTS)
        whole = path.read_bytes()
        for length in (0, 3, 8, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(DataError, match="cut short or not a Parquet file"):
                ParquetPages(path, "text", 1)

    def test_a_file_that_changes_while_it_is_used_is_refused(self, tmp_path: Path) -> None:
        path = write_parquet(tmp_path / "a.parquet", TEXTS)
        pages = ParquetPages(path, "text", 4)
        write_parquet(path, TEXTS[:6], rows_per_group=3)
        with pytest.raises(DataError, match="has changed since it was opened"):
            pages.rows(0)
        path.unlink()
        with pytest.raises(DataError, match="cannot be read as Parquet"):
            pages.rows(1)

    def test_text_that_is_not_utf8_is_refused(self, tmp_path: Path) -> None:
        raw = pa.array([b"\xff\xfe", b"fine"], pa.binary())
        values = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
        pages = ParquetPages(write_parquet(tmp_path / "a.parquet", values), "text", 1)
        with pytest.raises(DataError, match="is not UTF-8 text"):
            pages.rows(0)

    def test_what_cannot_be_a_source_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"holds no \*\.parquet file"):
            ParquetPages(tmp_path, "text", 1)
        with pytest.raises(DataError, match="no Parquet file was named"):
            ParquetPages([], "text", 1)
        write_parquet(tmp_path / "a.parquet", TEXTS)
        with pytest.raises(DataError, match="no column 'body'; its columns are number, text"):
            ParquetPages(tmp_path, "body", 1)
        with pytest.raises(DataError, match="column 'number' holds int64, not text"):
            ParquetPages(tmp_path, "number", 1)


class TestSavedDataset:
    def test_nulls_are_empty_text(self, tmp_path: Path) -> None:
        datasets.Dataset.from_dict({"text": ["a", None, "b"]}).save_to_disk(str(tmp_path / "d"))
        pages = SavedDatasetPages(tmp_path / "d", "text", 3)
        assert list(pages.rows(0)) == ["a", "", "b"]

    def test_the_fingerprint_tells_other_text_apart_but_not_other_shards(
        self, tmp_path: Path
    ) -> None:
        def of(texts: tuple[str, ...], shards: int) -> str:
            folder = tmp_path / f"saved-{len(list(tmp_path.iterdir()))}"
            datasets.Dataset.from_dict({"text": texts}).save_to_disk(str(folder), num_shards=shards)
            return SavedDatasetPages(folder, "text", 1).fingerprint()

        many = tuple(f"{number:06d}" for number in range(2000))
        longer = (*many[:1001], "1001 is longer", *many[1002:])  # no sampled row
        assert of(many, 1) == of(many, 3)
        assert len({of(many, 1), of(longer, 1), of(many[::-1], 1), of(many[:-1], 1)}) == 4

    def test_what_cannot_be_a_source_is_named(self, tmp_path: Path) -> None:
        folder = saved_dataset(tmp_path / "one")
        with pytest.raises(DataError, match="no column 'body'; its columns are text, number"):
            SavedDatasetPages(folder, "body", 1)
        with pytest.raises(DataError, match="column 'number' holds"):
            SavedDatasetPages(folder, "number", 1)
        with pytest.raises(DataError, match="is not a whole folder"):
            SavedDatasetPages(tmp_path, "text", 1)
        splits = datasets.DatasetDict({"train": datasets.load_from_disk(str(folder))})
        splits.save_to_disk(str(tmp_path / "splits"))
        with pytest.raises(DataError, match=f"name the folder of one, of {tmp_path}/splits/train"):
            SavedDatasetPages(tmp_path / "splits", "text", 1)

    @pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
    def test_a_file_cut_short_is_refused(self, keep: float, tmp_path: Path) -> None:
        path = next(saved_dataset(tmp_path).glob("data-00001*.arrow"))
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * keep)])
        with pytest.raises(DataError, match="is not a whole folder"):
            SavedDatasetPages(tmp_path, "text", 1)


class TestOpenPages:
    def test_each_kind_opens_under_its_fingerprint(self, tmp_path: Path) -> None:
        kinds = {
            "bundled": bundled_rows()[0],
            f"parquet:{parquet_folder(tmp_path / 'p')}": TEXTS[0],
            f"disk:{saved_dataset(tmp_path / 'd')}": TEXTS[0],
        }
        for source, first in kinds.items():
            pages = open_pages(source, revision=fingerprint(source), rows_per_page=2)
            assert pages.rows(0)[0] == first

    def test_another_text_than_the_runs_is_refused_with_both_fingerprints(
        self, tmp_path: Path
    ) -> None:
        source = f"parquet:{parquet_folder(tmp_path)}"
        with pytest.raises(DataError) as refused:
            open_pages(source, revision="ab" * 32, rows_per_page=1)
        for part in (fingerprint(source), "ab" * 32, "copy the files of the run's owner"):
            assert part in str(refused.value)
        with pytest.raises(DataError, match="run every node with the Python of the run's owner"):
            open_pages("bundled", revision="ab" * 32, rows_per_page=1)

    def test_a_run_must_pin_a_revision(self) -> None:
        with pytest.raises(DataError, match=f'data.revision = "{fingerprint("bundled")}"'):
            open_pages("bundled", revision="", rows_per_page=1)

    @pytest.mark.parametrize("source", ["", "parquet:", "hub:x", "bundled:x"])
    def test_an_unknown_source_is_refused(self, source: str) -> None:
        with pytest.raises(DataError, match="use bundled, parquet:PATH, disk:PATH"):
            open_pages(source, revision="x", rows_per_page=1)

    def test_a_missing_path_is_refused(self, tmp_path: Path) -> None:
        for kind in ("parquet", "disk"):
            with pytest.raises(DataError, match="is not there"):
                open_pages(f"{kind}:{tmp_path / 'none'}", revision="x", rows_per_page=1)
