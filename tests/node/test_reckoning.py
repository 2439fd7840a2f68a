"""What audits come to where something went wrong in between: a kill, a NaN, a window broken off."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from audit_scene import scene
from node_kit import CLOCK
from scripted_chain import Keys

from boltzmann.node.book import Book
from boltzmann.node.examine import Finding
from boltzmann.node.reckoning import record, settle
from boltzmann.node.round import Task
from boltzmann.node.validator import conclude
from boltzmann.protocol.receipts import Verdict
from boltzmann.protocol.rejection import Reason, Rejection

WRONG = Rejection(Reason.GATE, "rho")


async def test_a_conviction_outlives_a_kill_before_it_was_settled(s3: str, tmp_path: Path) -> None:
    """The window's audits are done again, and cost nothing twice."""
    async with scene(s3, tmp_path) as at:
        anna, node = Keys("anna").hotkey, at.validator.node
        at.upload("anna", (await at.work("anna")).times(2.0))
        assert (await at.judge())["anna"] == "norm"
        at.book.save()
        owed = at.standing("anna")
        book = Book(tmp_path / "standings.json")
        again = replace(at.this, failed=[], passed=set(), unpaid=set(), queue=[], credited={})
        finding = Finding(0.1, 0.1, WRONG, 2.0, 1.0)
        for _ in range(2):  # by lot, and again as somebody else has told
            record(node, book, again, Task(anna), finding)
        assert [verdict.hotkey for verdict in again.failed] == [anna]
        settle(node, book, again)
        assert book.on_probation(anna)
        assert book[anna] == owed


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf, 1e39])
async def test_what_a_machine_got_wrong_leaves_its_receipts_readable(
    s3: str, tmp_path: Path, figure: float
) -> None:
    async with scene(s3, tmp_path) as at:
        anna, node = Keys("anna").hotkey, at.validator.node
        finding = Finding(figure, figure, WRONG, figure, figure)
        record(node, at.book, at.this, Task(anna), finding)
        verdict = at.verdict("anna")
        assert verdict == Verdict(anna, 1, "gate", 0.0, 0.0, 0.0)
        assert (at.standing("anna").score, at.standing("anna").gate) == (0.0, 0.0)
        at.book.save()
        assert Book(tmp_path / "standings.json").standings == at.book.standings


async def test_a_round_is_concluded_once_also_if_its_successor_broke_off(
    s3: str, tmp_path: Path
) -> None:
    """By then a member may have lost its slot, and its standing with it."""
    async with scene(s3, tmp_path) as at:
        at.upload("anna", await at.work("anna"))
        await at.judge()
        await at.script.advance(CLOCK.decide(1))
        node, rounds = at.validator.node, [at.this]
        await conclude(node, at.book, rounds, CLOCK.decide(1) + 1)
        told = len(at.validator.told.of("peer"))
        assert told > 0
        left = Keys("anna").hotkey
        at.book.enrol(neuron for neuron in at.script.neurons if neuron.hotkey != left)
        await conclude(node, at.book, rounds, CLOCK.decide(1) + 1)
        assert len(at.validator.told.of("peer")) == told
