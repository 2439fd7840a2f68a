"""Nodes that are killed come back and go on as if nothing had been."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from network_kit import ROOT, Running, roots, running_network

from boltzmann.local.histories import disagreements, read_history
from boltzmann.local.plan import Plan

pytestmark = pytest.mark.scenario

EMPTY_WINDOWS = 5


def plan(folder: Path, *, validators: int) -> Plan:
    return Plan(
        miners=2,
        validators=validators,
        adversaries={},
        windows=0,
        train_blocks=3,
        exchange_blocks=9,
        block_time=0.7,
        epoch_windows=4,
        workdir=folder / "network",
    )


def require_one_line(running: Running) -> None:
    """No agreed update was left out anywhere, and none applied twice."""
    running.until(
        lambda: (
            not disagreements(
                {
                    item.member.name: read_history([item.events])
                    for item in running.network.processes
                }
            )
        ),
        "one model everywhere",
    )
    for item in running.network.processes:
        assert read_history([item.events]).faults == []


def test_a_miner_killed_after_its_upload_sends_no_second_one(tmp_path: Path) -> None:
    with running_network(plan(tmp_path, validators=1)) as running:
        running.until(lambda: running.events("miner0", "window"), "first upload")
        first = running.events("miner0", "window")[0]["window"]
        running.kill("miner0")
        running.restart("miner0")
        running.until(lambda: len(running.accepted("miner0")) >= 2, "deltas accepted again")
        sealed = [event["window"] for event in running.events("miner0", "sealed")]
        assert sealed.count(first) == 1
        assert not running.events("miner0", "error")
        # A slow machine's miner may miss the window in which it came back; none is refused.
        refused = running.events("validator0", "rejected")
        assert {event["reason"] for event in refused} <= {"absent"}
        assert first not in {event["window"] for event in refused}
        running.together_after(running.accepted("miner0")[-1])
        require_one_line(running)


def test_leader_miners_and_all_validators_die_in_turn(tmp_path: Path) -> None:
    with running_network(plan(tmp_path, validators=3)) as running:
        running.together_after(1)
        dead, window = kill_a_leader(running)
        others = [name for name in running.names if name != dead]
        # At most this window is empty: the next leader goes on.
        history = running.together_after(window + 1, *others)
        assert window + 1 in history
        running.restart(dead)
        last = max(running.together_after(window + 2))

        running.kill("miner0", "miner1")
        gone = running.network.plan.clock().open(last + 1 + EMPTY_WINDOWS)
        running.until(lambda: running.head() >= gone, "windows without a miner")
        running.restart("miner0", "miner1")
        back = max(running.together_after(last + 1 + EMPTY_WINDOWS))
        assert len(set(range(last + 1, back)) - set(roots(running.folder, "validator1"))) >= 4

        running.kill(*running.validators)
        running.restart(*running.validators)
        running.together_after(back + 2)
        require_one_line(running)
        moving = {
            (name, event["hotkey"]): event["moving"]
            for name in running.validators
            for event in running.events(name, "peer")
        }
        assert all(value > 0.0 for value in moving.values()), "a restart lost standings"


def kill_a_leader(running: Running) -> tuple[str, int]:
    """Kill whoever proposes next, at once; its name and the window."""
    start = running.network.plan.clock().window(running.head())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for name in running.validators:
            told = [e["window"] for e in running.events(name, "proposed") if e["window"] > start]
            if told:
                running.kill(name)
                return name, told[0]
        time.sleep(0.02)
    raise AssertionError("nobody has proposed within a minute")


def test_killed_at_named_stages_a_run_ends_with_the_same_model(tmp_path: Path) -> None:
    """Some of them: `python -m benchmarks.crashes` goes through all, for many seeds."""
    out = tmp_path / "crashes.json"
    command = [sys.executable, "-m", "benchmarks.crashes", "--seeds", "1", "--first-seed", "3"]
    done = subprocess.run(
        [*command, "--moments", "3", "--out", str(out)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(out.read_text())["seeds"]
    assert len(row["survived"]) == 6
    assert row["not_reached"] == []
    assert row["unequal_windows"] == []
    assert row["equal"]
    assert row["updates"] >= 4
