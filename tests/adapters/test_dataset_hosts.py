"""Each kind of remote host: what its addresses mean, and what each says when it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from parquet_kit import (
    PATIENCE,
    TEXTS,
    a_hub,
    all_rows,
    open_hub,
    open_web,
    parquet_folder,
    upload,
    write_parquet,
)
from store_servers import KEYS, Place, moto_behind, self_signed

from benchmarks.dataset_server import COMMIT, REPOSITORY, DatasetServer, serve_dataset
from boltzmann.data.hub_host import HubHost
from boltzmann.data.hub_source import HubSource
from boltzmann.data.open import fingerprint, open_pages
from boltzmann.data.parquet import IndexedPages
from boltzmann.data.range_client import RangeClient
from boltzmann.data.remote import open_remote
from boltzmann.errors import DataError, DataUnavailable


@pytest.fixture
def served(tmp_path: Path) -> Iterator[DatasetServer]:
    with a_hub(tmp_path) as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class TestWeb:
    def test_a_list_of_files_is_as_good_as_a_listing(
        self, served: DatasetServer, cache: Path
    ) -> None:
        parquet_folder(served.folder)
        names = ["d.parquet", "c/0.parquet", "a.parquet", "README.md", "b.parquet", ""]
        (served.folder / "files.txt").write_text("\n".join(names))
        listed = open_web(served, "files.txt", 1, cache)
        found = open_web(served, "", 1, cache)
        assert listed.fingerprint() == found.fingerprint()
        assert all_rows(listed) == list(TEXTS)

    def test_what_is_not_there_is_named(self, served: DatasetServer, cache: Path) -> None:
        with pytest.raises(DataError, match=r"holds no \*\.parquet file"):
            open_web(served, "", 1, cache)
        for path in ("none/", "none.txt", "none.parquet"):
            with pytest.raises(DataError, match=f"{path} is not there"):
                open_web(served, path, 1, cache)

    def test_a_file_listed_but_missing_is_named(self, served: DatasetServer, cache: Path) -> None:
        parquet_folder(served.folder)
        (served.folder / "files.txt").write_text("a.parquet\nz.parquet\n")
        with pytest.raises(DataError, match=r"z\.parquet is not there"):
            open_web(served, "files.txt", 1, cache)

    @pytest.mark.parametrize("address", ["http://", "http://h/p?x=1", "https://me@h/p", "https:/h"])
    def test_an_address_that_is_none_is_refused(self, address: str) -> None:
        with pytest.raises(DataError, match=r"is not the address of|names no page source"):
            open_pages(address, revision="ab" * 32, rows_per_page=1)

    def test_https_trusts_the_authorities_that_boto3_trusts(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = self_signed(tmp_path)
        parquet_folder(tmp_path / "set")
        with serve_dataset(tmp_path, certificate) as served:
            source = f"{served.url}/web/set"
            assert source.startswith("https:")
            with pytest.raises(DataUnavailable, match="certificate verify failed"):
                open_remote(source, "text", 1, cache=cache, client=RangeClient(contact=0.2))
            monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate[0]))
            pages = open_remote(source, "text", 1, cache=cache)
            assert all_rows(pages) == list(TEXTS)


class TestS3:
    def test_a_private_bucket_is_read_by_this_machines_keys(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def signed_only(environ: dict[str, object]) -> str | None:
            signed = "HTTP_AUTHORIZATION" in environ or "X-Amz-Signature" in str(
                environ["QUERY_STRING"]
            )
            return None if signed else "403 Forbidden"

        parquet_folder(tmp_path / "data")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with moto_behind(tmp_path, signed_only) as place:
            upload(tmp_path / "data", place, "private")
            source = f"s3://private?endpoint={place.endpoint}"
            with pytest.raises(DataError, match=r"may not be listed.*set AWS_ACCESS_KEY_ID"):
                open_remote(source, "text", 1, cache=tmp_path / "cache")
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
            pages = open_remote(source, "text", 1, cache=tmp_path / "cache")
            assert all_rows(pages) == list(TEXTS)
            # With the index at hand the bucket is not listed: the first read finds out.
            pinned = pages.fingerprint()
            again = open_remote(source, "text", 1, cache=tmp_path / "cache", expected=pinned)
            assert all_rows(again) == list(TEXTS)

    def test_folders_files_and_what_is_not_there(self, s3: str, tmp_path: Path) -> None:
        parquet_folder(tmp_path / "data")
        place = Place(s3, s3)
        upload(tmp_path, place, "public-dataset")
        folder = s3_pages(place, "public-dataset/data/c", tmp_path)
        file = s3_pages(place, "public-dataset/data/c/0.parquet", tmp_path)
        assert all_rows(folder) == all_rows(file) == list(TEXTS[7:9])
        assert folder.fingerprint() == file.fingerprint()
        for path, said in (
            ("public-dataset/none", r"holds no \*\.parquet file"),
            ("public-dataset/none.parquet", "is not there"),
            ("nobodys-bucket", "is not there"),
        ):
            with pytest.raises(DataError, match=said):
                s3_pages(place, path, tmp_path)

    @pytest.mark.parametrize("source", ["s3://", "s3://b/p?x=1", "s3:///p"])
    def test_an_address_that_is_none_is_refused(self, source: str) -> None:
        with pytest.raises(DataError, match="is not s3://BUCKET/PREFIX"):
            open_pages(source, revision="ab" * 32, rows_per_page=1)


def s3_pages(place: Place, path: str, folder: Path) -> IndexedPages:
    source = f"s3://{path}?endpoint={place.endpoint}"
    return open_remote(source, "text", 1, cache=folder / "cache")


class TestHub:
    def test_the_loopback_hub_is_one_to_the_hubs_own_library(self, served: DatasetServer) -> None:
        parquet_folder(served.folder)
        served.card = {"configs": [{"config_name": "default", "data_files": "*.parquet"}]}
        hub = HfApi(endpoint=served.url, token=False)
        info = hub.dataset_info(REPOSITORY, revision=COMMIT, expand=["sha", "cardData"])
        assert info.sha == COMMIT
        assert info.card_data is not None and info.card_data["configs"] == served.card["configs"]
        tree = hub.list_repo_tree(REPOSITORY, repo_type="dataset", revision=COMMIT, recursive=True)
        listed = [(f.path, f.size, f.lfs.sha256) for f in tree if isinstance(f, RepoFile) and f.lfs]
        source = HubSource(REPOSITORY, COMMIT, "**")
        client = RangeClient(patience=PATIENCE)
        ours = HubHost(source, client).entries(client)
        assert [(file.name, file.size, file.tag) for file in ours] == listed
        served.token = "hf_right"
        with pytest.raises(GatedRepoError):
            hub.dataset_info(REPOSITORY, revision=COMMIT)
        with pytest.raises(RevisionNotFoundError):
            HfApi(endpoint=served.url, token="hf_right").dataset_info(REPOSITORY, revision="other")

    def test_a_gated_dataset_needs_a_token_that_goes_to_the_hub_alone(
        self, served: DatasetServer, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parquet_folder(served.folder)
        served.token = "hf_right"
        gate = re.escape(f"accept its terms at {served.url}/datasets/{REPOSITORY}")
        for token in ("", "hf_wrong"):
            monkeypatch.setenv("HF_TOKEN", token)
            with pytest.raises(DataError, match=f"is gated: {gate} .*HF_TOKEN"):
                open_hub(served, "", 1, cache)
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        served.requests.clear()
        pages = open_hub(served, "", 1, cache)
        assert all_rows(pages) == list(TEXTS)
        sent = {("/cdn/" in r.path, r.authorization) for r in served.requests}
        assert sent == {(False, "Bearer hf_right"), (True, "")}
        # The index is at hand, the right to read is gone.
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        with pytest.raises(DataError, match="is gated"):
            open_hub(served, "", 1, cache).rows(0)

    def test_paths_globs_and_configurations(self, served: DatasetServer, cache: Path) -> None:
        for number, name in enumerate(("data/x/0", "data/y/0", "data/y/1", "sample/10/0")):
            write_parquet(served.folder / f"{name}.parquet", [f"{number}"])
        (served.folder / "README.md").write_text("a dataset")
        served.card = {
            "configs": [
                {"config_name": "default", "data_files": [{"split": "train", "path": "data/*/*"}]},
                {
                    "config_name": "small",
                    "data_files": [
                        {"split": "test", "path": "data/x/*"},
                        {"split": "train", "path": ["sample/10/*"]},
                    ],
                },
            ]
        }
        rows = {
            "": ["0", "1", "2"],
            "data": ["0", "1", "2"],
            "data/y": ["1", "2"],
            "data/*/0.parquet": ["0", "1"],
            "**/0.parquet": ["0", "1", "3"],
            "data/y/1.parquet": ["2"],
            "small": ["3"],
        }
        for path, expected in rows.items():
            assert all_rows(open_hub(served, path, 1, cache)) == expected, path
        for path, said in (("none", "nothing of this name"), ("data/z*", "holds no")):
            with pytest.raises(DataError, match=said):
                open_hub(served, path, 1, cache)

    def test_a_copy_serves_the_same_run(self, served: DatasetServer, cache: Path) -> None:
        parquet_folder(served.folder / "data")
        source = f"hf://datasets/{REPOSITORY}@{COMMIT}/data"
        pinned = fingerprint(source, cache=cache)
        for name in (source, f"parquet:{served.folder}/data", f"{served.url}/web/data"):
            pages = open_pages(name, revision=pinned, rows_per_page=4, cache=cache)
            assert list(pages.rows(1)) == list(TEXTS[4:8])
        write_parquet(served.folder / "data" / "a.parquet", TEXTS)
        with pytest.raises(DataError, match=f"the run's config pins {pinned}: copy the files"):
            open_pages(
                f"{served.url}/web/data", revision=pinned, rows_per_page=4, cache=cache / "2"
            )

    def test_a_commit_is_pinned_by_the_source_or_the_revision(
        self, served: DatasetServer, cache: Path
    ) -> None:
        parquet_folder(served.folder)
        bare = f"hf://datasets/{REPOSITORY}"
        pages = open_pages(bare, revision=COMMIT, rows_per_page=2, cache=cache)
        assert list(pages.rows(0)) == list(TEXTS[:2])
        for revision in ("", "ab" * 32):
            with pytest.raises(DataError, match=f'set data.revision to a commit, as "{COMMIT}"'):
                open_pages(bare, revision=revision, rows_per_page=2, cache=cache)
        with pytest.raises(DataError, match="no commit of the dataset"):
            fingerprint(bare, cache=cache)
        refused = {
            (f"{bare}@main", COMMIT): "names main, which may move",
            (f"{bare}@{'0' * 40}", COMMIT): "name one commit",
            (f"{bare}@{'0' * 40}", "ab" * 32): f"the dataset has no commit {'0' * 40}",
            (f"parquet:{served.folder}", COMMIT): "pin the data's fingerprint",
            ("hf://datasets/set", COMMIT): "is not hf://datasets/OWNER/NAME",
            (f"hf://datasets/another/set@{COMMIT}", ""): "there is no dataset another/set",
        }
        for (source, revision), said in refused.items():
            with pytest.raises(DataError, match=re.escape(said)):
                open_pages(source, revision=revision, rows_per_page=2, cache=cache)

    def test_presets_are_whole_sources_but_for_the_commit(
        self, served: DatasetServer, cache: Path
    ) -> None:
        for preset, repository in (
            ("fineweb-edu", "HuggingFaceFW/fineweb-edu"),
            ("dclm", "mlfoundations/dclm-baseline-1.0-parquet"),
        ):
            # The loopback hub has another dataset: what is asked for shows in what it refuses.
            with pytest.raises(DataError, match=f"there is no dataset {repository} at"):
                open_pages(preset, revision=COMMIT, rows_per_page=1, cache=cache)
            with pytest.raises(DataError, match=f"there is no dataset {repository} at"):
                open_pages(f"{preset}@{COMMIT}", revision="ab" * 32, rows_per_page=1, cache=cache)
