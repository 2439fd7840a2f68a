"""`boltzmann doctor` on a machine where things are right, and where each is wrong in turn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from machine_kit import Ended, closed_port, machine_in

from boltzmann.app.settings import settings_from
from boltzmann.errors import ConfigError

CASES: dict[str, tuple[Mapping[str, str], tuple[str, ...], str, str, str]] = {
    # changes, arguments, the check that finds it, its mark, what it says
    "well": ({}, (), "disk", "ok", "GB needed"),
    "no wallet": ({"BT_WALLET_NAME": "nobody"}, (), "wallet", "failed", "new-hotkey"),
    "no chain": (
        {"SUBTENSOR_NETWORK": "embedded:no-such-chain"},
        (),
        "chain",
        "failed",
        "no-such-chain",
    ),
    "unregistered": ({"BT_WALLET_NAME": "stranger"}, (), "registration", "failed", "stranger"),
    "no permit": ({}, ("--validator",), "permit", "failed", "stake more"),
    "no bucket": ({"BUCKET": "not-there"}, (), "bucket", "failed", "create it"),
    "silent bucket": (
        {"S3_ENDPOINT_URL": f"http://127.0.0.1:{closed_port()}"},
        (),
        "bucket",
        "failed",
        "does not answer",
    ),
    "open bucket": ({}, ("bucket",), "bucket writes", "warning", "anybody may write"),
    "another run": ({"RUN_HASH": "0" * 64}, (), "run", "failed", "update the pin"),
    "no device": ({"DEVICE": "meta"}, (), "device", "failed", "not supported"),
}
CHECKS = [
    *("wallet", "chain", "registration", "bucket", "bucket writes", "bucket overwrites", "clock"),
    *("run", "permit", "data", "device", "disk"),
]


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    folder = tmp_path_factory.mktemp("doctor")
    with machine_in(folder) as machine, ThreadPoolExecutor(2) as pool:
        running = {
            name: pool.submit(machine.boltzmann, name, changes, "doctor", *arguments, "--json")
            for name, (changes, arguments, *_) in CASES.items()
        }
        yield {name: future.result() for name, future in running.items()}


def findings(ended: Ended) -> dict[str, dict[str, str]]:
    rows = [json.loads(line) for line in ended.output.splitlines()]
    return {row["check"]: row for row in rows}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_found_where_it_is(endings: dict[str, Ended], name: str) -> None:
    _, _, check, mark, said = CASES[name]
    ended = endings[name]
    assert "Traceback" not in ended.errors
    assert "local-secret" not in ended.errors + ended.output
    found = findings(ended)
    assert found[check]["mark"] == mark
    assert said in found[check]["detail"]
    failed = [row["check"] for row in found.values() if row["mark"] == "failed"]
    assert failed == ([check] if mark == "failed" else [])
    assert ended.code == (1 if failed else 0)


def test_a_well_machine_has_a_line_for_everything(endings: dict[str, Ended]) -> None:
    found = findings(endings["well"])
    assert list(found) == CHECKS
    assert {row["mark"] for row in found.values()} <= {"ok", "skipped", "warning"}
    assert found["permit"]["mark"] == "skipped"


def test_what_needs_something_that_failed_is_skipped(endings: dict[str, Ended]) -> None:
    found = findings(endings["silent bucket"])
    assert [row["check"] for row in found.values() if row["mark"] == "skipped"] == [
        *("bucket details", "run", "permit", "data")
    ]


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from({}, {"NETUID": "7"}, tmp_path / ".env")
    for name in ("BUCKET", "S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert f"write {name}=... into" in str(caught.value)
