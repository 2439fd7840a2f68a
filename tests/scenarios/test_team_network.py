"""A miner of two processes under torchrun beside ordinary nodes: its work is as good as theirs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from network_kit import DEADLINE_S, ROOT, Running, release, roots, small_plan

from boltzmann.local.network import prepared
from boltzmann.local.plan import GUEST
from boltzmann.train.checkpoint import DESCRIPTOR

pytestmark = pytest.mark.scenario

SIZE = 2


@dataclass(frozen=True)
class Team:
    """The network, torchrun in the folder `home`, and what it prints."""

    running: Running
    launcher: subprocess.Popen[bytes]
    home: Path
    log: Path


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    plan = small_plan(folder / "network", miners=1, validators=2, block_time=0.8)
    home, log = folder / "home", folder / "torchrun.log"
    home.mkdir()
    with ExitStack() as stack:
        running = Running(stack.enter_context(prepared(plan)))
        shutil.copy(running.folder / "guest.env", home / ".env")
        started = []

        def start() -> None:
            started.append(torchrun(home, log))
            stack.callback(end, started[0])

        release(running, {}, start)
        yield Team(running, started[0], home, log)


def torchrun(home: Path, log: Path) -> subprocess.Popen[bytes]:
    """`torchrun --nproc-per-node 2 miner.py --netuid 220`, on a free port."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(SIZE), str(ROOT / "miner.py"), "--netuid", "220"]
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=home,
            env={**kept, "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def end(launcher: subprocess.Popen[bytes]) -> None:
    """Kill what still runs of it."""
    if launcher.poll() is not None:
        return
    below = psutil.Process(launcher.pid).children(recursive=True)
    launcher.kill()
    launcher.wait()
    for process in below:
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have seen the launcher go
            process.kill()


def alive(team: Team) -> bool:
    assert team.launcher.poll() is None, team.log.read_text()
    return True


def test_its_deltas_pass_the_audits_of_ordinary_validators(team: Team) -> None:
    running = team.running
    running.until(lambda: alive(team) and len(running.accepted(GUEST)) >= 2, "its deltas accepted")
    hotkey = running.network.hotkeys[GUEST]
    audits = [
        event["reason"]
        for validator in running.validators
        for event in running.events(validator, "audited")
        if event["hotkey"] == hotkey
    ]
    assert audits and set(audits) == {""}


def test_it_holds_the_others_model(team: Team) -> None:
    running = team.running
    last = running.accepted(GUEST)[-1]
    running.until(lambda: alive(team) and running.applied(GUEST, last), "its own update")
    history = running.together_after(last)
    mine = roots(running.folder, GUEST)
    assert mine.items() <= history.items()
    assert last in mine


def test_interrupted_it_saves_its_state_and_all_of_it_ends(team: Team) -> None:
    below = psutil.Process(team.launcher.pid).children(recursive=True)
    assert len(below) >= SIZE
    team.launcher.send_signal(signal.SIGINT)
    team.launcher.wait(DEADLINE_S)
    assert not psutil.wait_procs(below, timeout=10)[1]
    (stopped,) = team.running.events(GUEST, "stopped")
    assert stopped["reason"] == "interrupted"
    files = (team.running.folder / "nodes" / GUEST).glob(f"*/*/state/{DESCRIPTOR}")
    assert len(list(files)) == 1


def test_it_goes_on_from_there_and_saves_again_if_one_of_it_is_killed(team: Team) -> None:
    running, log = team.running, team.log.with_name("again.log")
    launcher = torchrun(team.home, log)
    try:
        running.until(lambda: len(running.events(GUEST, "started")) == 2, "its return")
        restored = running.events(GUEST, "restored")[-1]
        assert restored["head"]
        running.until(
            lambda: max(roots(running.folder, GUEST)) > restored["window"], "a further update"
        )
        helper(launcher).kill()
        assert launcher.wait(DEADLINE_S) != 0
    finally:
        end(launcher)
    assert len(running.events(GUEST, "stopped")) == 2
    assert "[rank0]: Traceback" not in log.read_text()


def helper(launcher: subprocess.Popen[bytes]) -> psutil.Process:
    """The process that only computes."""
    below = psutil.Process(launcher.pid).children(recursive=True)
    (found,) = [one for one in below if one.environ().get("RANK") == "1"]
    return found
