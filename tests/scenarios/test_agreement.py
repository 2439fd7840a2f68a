"""Miners and validators that lie to the others: the honest majority goes on with one model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from network_kit import Rogue, Running, running_network

from boltzmann.local.plan import Plan

pytestmark = pytest.mark.scenario

HONEST = ("validator0", "validator1", "validator2", "miner0")


def plan(folder: Path, *, miners: int) -> Plan:
    return Plan(
        miners=miners,
        validators=3,
        adversaries={},
        windows=0,
        train_blocks=3,
        exchange_blocks=9,
        block_time=0.7,
        workdir=folder / "network",
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One honest miner; one too late, one that overwrites, one that shows two faces."""
    kinds = ("late", "overwrite", "twofaced")
    rogues = {
        f"miner{number}": Rogue("rogue_miner.py", {"ROGUE": kind})
        for number, kind in enumerate(kinds, 1)
    }
    folder = tmp_path_factory.mktemp("hostile")
    with running_network(plan(folder, miners=4), rogues) as running:
        running.together_after(4)
        yield running


def refusals(running: Running, miner: str, windows: set[int] | None = None) -> set[str]:
    hotkey = running.network.hotkeys[miner]
    return {
        event["reason"]
        for validator in running.validators
        for event in running.events(validator, "rejected")
        if event["hotkey"] == hotkey and (windows is None or event["window"] in windows)
    }


def seen_by_all(running: Running) -> set[int]:
    """The windows of which all three validators have read everything in time."""
    return {
        event["window"]
        for name in running.names
        for event in running.events(name, "applied")
        if len(event["receipts"]) == 3
    }


def test_all_hold_one_model_whatever_miners_show(hostile: Running) -> None:
    history = hostile.together_after(4)
    assert len(history) >= 3
    # But for the first windows, when a slow machine may not have audited it yet.
    assert set(sorted(history)[2:]) <= set(hostile.accepted("miner0"))
    assert not any(hostile.events(name, "undone") for name in hostile.names)


def test_a_delta_after_the_deadline_is_none(hostile: Running) -> None:
    assert hostile.events("miner1", "late")
    assert hostile.accepted("miner1") == []
    assert "absent" in refusals(hostile, "miner1")
    assert refusals(hostile, "miner1") <= {"absent", "uncommitted"}


def test_what_is_overwritten_later_changes_nothing(hostile: Running) -> None:
    assert hostile.events("miner2", "overwritten")
    assert len(hostile.accepted("miner2")) >= 2
    whole = seen_by_all(hostile)
    assert whole & set(hostile.accepted("miner2"))
    assert refusals(hostile, "miner2", whole) == set()


def test_a_miner_that_shows_two_versions_is_out(hostile: Running) -> None:
    # Every second reader is shown the other version: with all three witnesses it is proven.
    whole = seen_by_all(hostile)
    assert whole, "no window with the receipts of all"
    assert not whole & set(hostile.accepted("miner3"))
    assert "equivocated" in refusals(hostile, "miner3")


def against(running: Running) -> list[dict[str, Any]]:
    """The ballots that object to something from the first poisoned window on.

    Before it an honest update may do badly on somebody's held-out page.
    """
    poisoned = running.events("miner1", "poisoned")
    ballots = [e for v in running.validators for e in running.events(v, "ballot")]
    since = poisoned[0]["window"] if poisoned else sys.maxsize
    return [e for e in ballots if e["objection"] and e["window"] >= since]


def test_an_update_that_worsens_the_model_is_voted_down(tmp_path: Path) -> None:
    """Two of three miners gain trust, then send what undoes the learning."""
    rogues = dict.fromkeys(("miner1", "miner2"), Rogue("rogue_miner.py", {"ROGUE": "poison"}))
    with running_network(plan(tmp_path, miners=3), rogues) as running:
        running.until(lambda: against(running), "a vote against it")
        turn = min(e["window"] for e in against(running))
        history = running.together_after(turn + 1)
        assert running.accepted("miner1")
        assert {e["objection"] for e in against(running)} == {"loss"}
        assert all(e["loss_after"] > e["loss_before"] for e in against(running))
        # Whoever leads next in the same window fares no better.
        vetoed = [e for v in running.validators for e in running.events(v, "vetoed")]
        vetoed = [e for e in vetoed if e["window"] >= turn]
        assert turn in {e["window"] for e in vetoed}
        assert {objection for e in vetoed for objection in e["objections"].values()} == {"loss"}
        assert turn not in history
        # The audits of that window have told who it was.
        for miner in ("miner1", "miner2"):
            assert turn not in running.accepted(miner)
            running.until(lambda who=miner: "gate" in refusals(running, who), "its refusal")  # type: ignore[misc]


def test_a_lying_leader_costs_its_windows_and_nothing_else(tmp_path: Path) -> None:
    """First it proposes a wrong aggregate, later it withholds what it put on chain."""
    rogues = {"validator2": Rogue("rogue_validator.py", {})}
    with running_network(plan(tmp_path, miners=2), rogues) as running:

        def lies(kind: str) -> list[int]:
            """The windows in which it told this one."""
            return [e["window"] for e in running.events("validator2", "lied") if e["lie"] == kind]

        running.until(lambda: lies("withheld"), "both lies")
        # It tells the first one until it is voted down for it.
        wrong, withheld = lies("aggregate")[-1], lies("withheld")[0]
        honest = ("validator0", "validator1", "miner0", "miner1")
        history = running.together_after(max(wrong, withheld) + 1, *honest)
        objections = {
            (name, e["objection"])
            for name in ("validator0", "validator1")
            for e in running.events(name, "ballot")
            if e["window"] == wrong
        }
        assert {("validator0", "update"), ("validator1", "update")} <= objections
        assert withheld not in history
        assert any(
            e["window"] == withheld for name in honest for e in running.events(name, "withheld")
        )
        # Its own fork of one window was taken back as soon as the others went on without it.
        running.until(
            lambda: any(e["window"] == withheld for e in running.events("validator2", "undone")),
            "the liar's return",
        )
