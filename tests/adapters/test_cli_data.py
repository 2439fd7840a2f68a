"""`boltzmann data` as it is typed, and a run's data by way of its config: against a local hub."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parquet_kit import a_hub, parquet_folder, write_parquet

from benchmarks.dataset_server import COMMIT, REPOSITORY, DatasetServer
from boltzmann.app.machine import open_data
from boltzmann.cli.main import main
from boltzmann.config import RunConfig
from boltzmann.data.parquet import ParquetPages
from boltzmann.errors import DataError
from boltzmann.local.plan import Plan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = f"hf://datasets/{REPOSITORY}/data"
PINNED = f"hf://datasets/{REPOSITORY}@{COMMIT}/data"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatasetServer]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    with a_hub(tmp_path) as server:
        parquet_folder(server.folder / "data")
        yield server


def run_of(data: dict[str, Any]) -> RunConfig:
    config = Plan().run_config()
    return replace(config, data=replace(config.data, rows_per_page=1, **data))


def pinned(source: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["data", "pin", source]) == 0
    data: dict[str, Any] = tomllib.loads(capsys.readouterr().out)["data"]
    return data


def test_what_pin_prints_is_a_runs_data(
    served: DatasetServer, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pinned(SOURCE, capsys)
    whole = ParquetPages(served.folder / "data", "text", 1)
    assert data == {"source": PINNED, "revision": whole.fingerprint(), "column": "text"}
    schedule, load = open_data(run_of(data))
    assert schedule.total_pages == whole.count
    with load([3, 0]) as batches:
        read = [batch.tokens[0].tolist() for batch in batches]
    ends = [1] * 256  # a page shorter than a sequence is filled up
    texts = [[byte + 3 for byte in whole.rows(page)[0].encode()] for page in (3, 0)]
    assert read == [(text + ends)[:256] for text in texts]


def test_a_copy_serves_the_run_and_another_text_does_not(
    served: DatasetServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_of(pinned(SOURCE, capsys))
    path = tmp_path / "run.toml"
    path.write_bytes(config.encode())
    copy = f"parquet:{parquet_folder(tmp_path / 'copy')}"
    served.requests.clear()
    for source, shown in (([], PINNED), (["--data.source", copy], copy)):
        assert main(["data", "check", "--config", str(path), *source]) == 0
        out = capsys.readouterr().out
        assert f"{shown} is the run's data: 23 pages of 1 rows" in out
        assert "read 8 of them" in out
    served.requests.clear()
    open_data(config, copy)
    assert served.requests == []
    write_parquet(tmp_path / "copy" / "a.parquet", ["another"])
    assert main(["data", "check", "--config", str(path), "--data.source", copy]) == 1
    assert "copy the files of the run's owner" in capsys.readouterr().err
    with pytest.raises(DataError, match="copy the files of the run's owner"):
        open_data(config, copy)


def test_what_cannot_be_checked_is_named(
    served: DatasetServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--config", str(tmp_path / "none.toml")]) == 1
    assert "none.toml cannot be read" in capsys.readouterr().err
    assert main(["data", "pin", f"hf://datasets/{REPOSITORY}@main"]) == 1
    assert "names main, which may move" in capsys.readouterr().err
    served.token = "hf_right"
    assert main(["data", "pin", SOURCE]) == 1
    assert "is gated: accept its terms at" in capsys.readouterr().err
