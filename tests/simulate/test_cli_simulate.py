"""The command: its options, scenario files, output and exit codes."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from boltzmann.cli.main import main
from boltzmann.cli.simulate import table
from boltzmann.simulate.results import PeerResult, SimulationResult

ROOT = Path(__file__).parent.parent.parent
ARGUMENTS = ("simulate", "--processes", "1", "--peers", "3", "--validators", "2", "--windows", "3")


def test_one_command_prints_who_got_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--adversary", "idle:1"]) == 0
    shown = capsys.readouterr()
    rows = {line.split()[0]: line.split() for line in shown.out.splitlines()}
    assert rows["honest"][1:5] == ["2", "0.000", "3.0", "3.0"]
    assert "nobody was paid yet" in shown.out
    assert rows["idle"][1:5] == ["1", "0.000", "0.0", "0.0"]
    assert "3 of 3 windows had an update; roots equal" in shown.out
    assert "window 3/3" in shown.err


def test_json_is_the_same_in_every_process_and_with_any_number_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tmp_path / "small.toml"
    scenario.write_text("peers = 3\nvalidators = 2\nwindows = 2\n[adversaries]\nhalf = 1\n")
    options = ["simulate", "--json", "--scenario", str(scenario), "--processes"]
    assert main([*options, "1"]) == 0
    shown = capsys.readouterr().out
    elsewhere = subprocess.run(
        [sys.executable, "-m", "boltzmann", *options, "2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    )
    assert elsewhere.stdout.decode() == shown
    document = json.loads(shown)
    assert (document["sound"], document["updates"], document["seed"]) == (True, 2, 1)
    assert [peer["kind"] for peer in document["peers"]] == ["honest", "honest", "half"]


def test_an_interrupted_simulation_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("boltzmann.simulate.run._MEMORY", tmp_path)

    def terminated(self: object, window: int, loss: float | None, accepted: int) -> None:
        assert list(tmp_path.iterdir())
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("boltzmann.cli.simulate.Progress.__call__", terminated)
    assert main([*ARGUMENTS]) == 130
    assert list(tmp_path.iterdir()) == []
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("peer = 3", "unknown key peer: use peers, validators"),
        ('peers = "3"', "peers must be a whole number, not '3'"),
        ("peers = true", "peers must be a whole number, not True"),
        ("audit_rate = 'x'", "audit_rate must be a number"),
        ("adversaries = 3", "adversaries must be a table"),
        ("[adversaries]\nhalf = 1.5", "adversaries.half must be a whole number"),
        ("[adversaries]\nnope = 1", "nope is unknown"),
        ("peers = ", "not valid TOML"),
        (None, "cannot be read"),
    ],
)
def test_scenarios_that_are_wrong(
    text: str | None, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.toml"
    if text is not None:
        path.write_text(text)
    assert main(["simulate", "--scenario", str(path)]) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--adversary", "half:many"], "the count after the colon must be a number"),
        (["--adversary", "nope"], "nope is unknown"),
        (["--windows", "0"], "windows must be at least 1"),
        (["--processes", "-1"], "--processes must be at least 1"),
    ],
)
def test_options_that_are_wrong(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *arguments]) == 1
    assert why in capsys.readouterr().err


def test_the_command_line_wins_over_the_scenario(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text("peers = 0\nvalidators = 2\nwindows = 50\nmoving_alpha = 1")
    options = ["--peers", "2", "--windows", "2", "--processes", "1"]
    assert main(["simulate", "--scenario", str(path), *options]) == 0
    assert "2 of 2 windows" in capsys.readouterr().out


def result(
    *, agreed: bool = True, refused: bool = False, paid: Mapping[str, float] | None = None
) -> SimulationResult:
    caught = 2 if refused else None
    honest = PeerResult("honest0", "honest", "5h", 4, 4, 9, {}, 0.5, None, caught)
    cheats = [
        PeerResult(f"late{i}", "late", f"5{i}", 4, 2, 3, {"gate": 2}, 0.1, 1, found, 1, i, 1.5)
        for i, found in enumerate((2, 4, None))
    ]
    return SimulationResult(
        (honest, *cheats),
        3,
        4,
        1,
        4,
        agreed,
        "ab" * 32,
        5.5,
        4.0,
        (None, 5.0),
        ("a note",),
        paid or {},
    )


def test_the_table_says_how_long_cheats_went_unnoticed() -> None:
    kinds = {kind.kind: kind for kind in result().kinds}
    late = kinds["late"]
    assert (late.delay_median, late.delay_p95, late.rejected) == (3, math.inf, 6)
    assert (late.bad, late.bad_after, kinds["honest"].bad) == (2.0, 1.0, 0.0)
    assert (late.work, kinds["honest"].work) == (1.5, None)
    assert late.pay == pytest.approx(0.2)
    assert kinds["honest"].delay_median is None
    lines = table(result()).splitlines()
    assert lines[1].split()[:5] == ["honest", "1", "1.000", "-", "4.0"]
    late_row = "late 3 0.200 1.5 4.0 2.0 2.0 1.0 3.0 6 3 never"
    assert lines[2].split() == late_row.split()
    assert "9 audits of honest work, of 0 miners some was refused" in lines
    assert json.loads(json.dumps(result().document()))["kinds"][1]["delay_p95"] == "never"


def test_the_table_says_what_hostile_validators_earn() -> None:
    assert "dividends" not in table(result(paid={"validator": 1.0}))
    shown = table(result(paid={"liar": 0.25, "validator": 0.9}))
    assert "1 for weights that are the consensus: honest 0.900, liar 0.250" in shown


def test_what_makes_a_simulation_unsound_is_said() -> None:
    assert result().is_sound
    assert not result(agreed=False).is_sound
    assert "roots DIFFER" in table(result(agreed=False))
    assert not result(refused=True).is_sound
    assert "work of the honest honest0 was refused" in table(result(refused=True))
