"""scripts/supervise.sh: a node is started again when it crashes, and only then."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "supervise.sh"
DEADLINE_S = 60.0
# Stands in for miner.py: each start takes the next code from a file; `wait` runs until it is told.
PROGRAM = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
codes = pathlib.Path("codes")
first, *rest = codes.read_text().split()
codes.write_text(" ".join(rest))
with open("starts", "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if first == "wait":
    while True:
        time.sleep(0.05)
if first == "killed":
    import os
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(first))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "miner.py").write_text(PROGRAM)
    return tmp_path


def start(home: Path, codes: str, command: str) -> subprocess.Popen[str]:
    (home / "codes").write_text(codes)
    return subprocess.Popen(
        ["bash", "-c", f". {shlex.quote(str(SCRIPT))}; {command}"],
        cwd=home,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(home: Path, codes: str) -> tuple[int, list[str], str]:
    process = start(home, codes, "keep_running miner --netuid 7 --bucket 'a b'")
    _, errors = process.communicate(timeout=DEADLINE_S)
    return process.returncode, (home / "starts").read_text().splitlines(), errors


def test_a_crash_is_followed_by_another_start_with_the_same_options(home: Path) -> None:
    code, starts, errors = ended(home, "killed 3 0")
    assert code == 0
    assert starts == ["--netuid 7 --bucket a b"] * 3
    assert "the miner ended with code 137; starting it again in 1 s" in errors
    assert "the miner ended with code 3; starting it again in 2 s" in errors


def test_a_node_that_cannot_start_is_not_started_again(home: Path) -> None:
    code, starts, _ = ended(home, "1 0")
    assert (code, len(starts)) == (1, 1)


def test_a_node_that_was_up_once_outlives_an_outage(home: Path) -> None:
    process = start(home, "3 1 1 0", "START_SECONDS=0; keep_running miner")
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert len((home / "starts").read_text().splitlines()) == 4


def test_an_interrupt_reaches_the_node_and_ends_both(home: Path) -> None:
    process = start(home, "wait 0", "keep_running miner")
    until = time.monotonic() + DEADLINE_S
    while not (home / "starts").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert len((home / "starts").read_text().splitlines()) == 1


def test_a_services_options_are_quoted_as_systemd_reads_them(home: Path) -> None:
    process = start(home, "", "service_unit miner --bucket 'a \"b\" 50% $HOME' --netuid 7")
    unit, _ = process.communicate(timeout=DEADLINE_S)
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert line == (
        f'ExecStart="{home}/.venv/bin/python" "{home}/miner.py" "--bucket" '
        '"a \\"b\\" 50%% $$HOME" "--netuid" "7"'
    )
    assert f"WorkingDirectory={home}" in unit
    assert "Restart=on-failure" in unit
    assert "StartLimitIntervalSec=0" in unit  # an outage may last for hours


def test_without_a_service_manager_it_says_what_to_do(home: Path) -> None:
    process = start(home, "", "PATH= install_service miner")
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "leave --service out" in errors
