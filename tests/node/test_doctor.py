"""`boltzmann doctor` on a machine where things are right, and where each is wrong in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
import torch
from machine_kit import Machine, closed_port, machine_in

from boltzmann.app.doctor import Finding, Mark, examine, examine_bucket
from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.app.settings import settings_from
from boltzmann.config import Precision
from boltzmann.errors import ConfigError
from boltzmann.local.network import ROOT
from boltzmann.local.plan import NETUID
from boltzmann.protocol.commitment import Role

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
    "owner": (
        {"BT_WALLET_NAME": "owner"},
        (),
        "registration",
        "failed",
        "take another hotkey",
    ),
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
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_in(tmp_path_factory.mktemp("doctor")) as found:
        yield found


def settings_on(machine: Machine, changes: Mapping[str, str]) -> NodeConfig:
    """Those of the network's guest, some changed."""
    return settings_from(
        {}, {"NETUID": str(NETUID), **changes}, machine.network.folder / "guest.env"
    )


async def findings(machine: Machine, name: str) -> dict[str, Finding]:
    changes, options, *_ = CASES[name]
    settings = settings_on(machine, changes)
    role = Role.VALIDATOR if "--validator" in options else Role.MINER
    checks = examine_bucket(settings) if "bucket" in options else examine(settings, role)
    return {finding.name.replace("_", " "): finding async for finding in checks}


@pytest.mark.parametrize("name", CASES)
async def test_what_is_wrong_is_found_where_it_is(machine: Machine, name: str) -> None:
    _, _, check, mark, said = CASES[name]
    found = await findings(machine, name)
    assert found[check].mark is Mark(mark)
    assert said in found[check].detail
    failed = [check for check, finding in found.items() if finding.mark is Mark.FAILED]
    assert failed == ([check] if mark == "failed" else [])
    assert not any("local-secret" in finding.detail for finding in found.values())


async def test_a_well_machine_has_a_line_for_everything(machine: Machine) -> None:
    found = await findings(machine, "well")
    assert list(found) == CHECKS
    assert Mark.FAILED not in {finding.mark for finding in found.values()}
    assert found["permit"].mark is Mark.SKIPPED


async def test_a_processor_that_is_slow_in_the_runs_precision_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = machine.network.plan.run_config()
    run = replace(config, model=replace(config.model, precision=Precision.BF16))
    find = AsyncMock(return_value=run)
    monkeypatch.setattr("boltzmann.app.doctor.find_run", find)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    settings = settings_on(machine, {"DEVICE": "cpu"})
    found = {finding.name: finding async for finding in examine(settings, Role.MINER)}
    assert found["device"].mark is Mark.WARNING
    said = "the run computes in bf16, for which this device has no instructions"
    assert said in found["device"].detail


async def test_what_needs_something_that_failed_is_skipped(machine: Machine) -> None:
    found = await findings(machine, "silent bucket")
    assert [check for check, finding in found.items() if finding.mark is Mark.SKIPPED] == [
        *("bucket details", "run", "permit", "data")
    ]


def test_the_command_says_the_same_and_ends_with_what_it_found(machine: Machine) -> None:
    well = machine.boltzmann("well", {}, "doctor", "bucket")
    assert (well.code, well.errors) == (0, "")
    assert [line.split()[0] for line in well.output.splitlines()] == ["ok", "warning", "ok", "ok"]
    ill = machine.boltzmann("ill", {"BUCKET": "not-there"}, "doctor", "bucket", "--json")
    rows = [json.loads(line) for line in ill.output.splitlines()]
    assert (ill.code, ill.errors) == (1, "")
    assert [(row["check"], row["mark"]) for row in rows] == [
        *(("bucket", "failed"), ("bucket details", "skipped"))
    ]


def test_a_settings_file_that_others_may_read_is_told(machine: Machine) -> None:
    (machine.folder("open") / ".env").chmod(0o640)
    ended = machine.start(
        ["-m", "boltzmann"], "open", {"PYTHONPATH": str(ROOT)}, "doctor", "bucket", again=True
    )
    assert ended.code == 0
    first = ended.output.splitlines()[0]
    assert first.startswith("warning  env file") and "chmod 600" in first


def test_without_settings_each_that_is_missing_has_a_line(machine: Machine) -> None:
    folder = machine.folder("bare")
    (folder / ".env").write_text("BUCKET=mine\n")
    ended = machine.start(
        ["-m", "boltzmann"], "bare", {"PYTHONPATH": str(ROOT)}, "doctor", "bucket", again=True
    )
    lines = ended.output.splitlines()
    assert ended.code == 1
    assert [line.split()[0] for line in lines] == ["failed"] * 3 + ["skipped"] * 3
    assert "S3_ENDPOINT_URL" in lines[0] and "boltzmann setup" in lines[3]
    assert "needs the settings named above" in lines[4]


def test_what_needs_no_missing_setting_is_looked_at(machine: Machine) -> None:
    env_file = machine.folder("half-set") / ".env"
    lines = env_file.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("BUCKET=")]
    env_file.write_text("\n".join([*kept, "ACTUAL_BATCH_SIZE=many", "WANDB_MODE=loud", ""]))
    ended = machine.start(
        ["-m", "boltzmann"], "half-set", {"PYTHONPATH": str(ROOT)}, "doctor", "--json", again=True
    )
    rows = {row["check"]: row for row in map(json.loads, ended.output.splitlines())}
    assert ended.code == 1
    told = [json.loads(line)["detail"] for line in ended.output.splitlines()][:3]
    assert "BUCKET is not set" in told[0]
    assert "must be a whole number, got 'many'" in told[1]
    assert "--wandb.mode must be" in told[2]
    marks = {check: row["mark"] for check, row in rows.items()}
    assert {check for check, mark in marks.items() if mark == "ok"} == {
        *("wallet", "chain", "registration", "device", "disk")
    }
    assert (marks["bucket"], marks["run"]) == ("skipped", "skipped")


def test_a_netuid_that_cannot_be_is_told_beside_the_rest(machine: Machine) -> None:
    ended = machine.boltzmann("odd netuid", {"NETUID": "70000"}, "doctor", "--json")
    rows = [json.loads(line) for line in ended.output.splitlines()]
    assert (ended.code, ended.errors) == (1, "")
    assert "must be 0 to 65535, got 70000" in rows[0]["detail"]
    marks = {row["check"]: row["mark"] for row in rows}
    assert (marks["chain"], marks["bucket"], marks["disk"]) == ("skipped", "ok", "ok")


def test_a_reader_that_has_seen_enough_gets_no_traceback(machine: Machine) -> None:
    folder = machine.folder("head")
    command = f"{sys.executable} -m boltzmann config reference | head -n 1"
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr) == ("# Configuration\n", "")


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from({}, {"NETUID": "7"}, tmp_path / ".env")
    for name in ("BUCKET", "S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert f"write {name}=... into" in str(caught.value)


def test_a_name_that_was_meant_for_a_setting_is_told(machine: Machine) -> None:
    folder = machine.folder("typed")
    (folder / ".env").write_text("BUCKET=mine\nS3_ENDPOINTURL=http://127.0.0.1:1\nMY_OWN=1\n")
    (folder / ".env").chmod(0o600)
    ended = machine.start(
        ["-m", "boltzmann"], "typed", {"PYTHONPATH": str(ROOT)}, "doctor", "bucket", again=True
    )
    (line,) = [line for line in ended.output.splitlines() if "no setting" in line]
    assert line.startswith("warning  env file") and line.endswith("is S3_ENDPOINT_URL meant?")
    assert "S3_ENDPOINTURL in" in line and "MY_OWN" not in ended.output
