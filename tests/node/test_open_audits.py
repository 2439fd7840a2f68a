"""Spot audits that fail narrowly: a full audit decides, and when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from audit_scene import Scene, scene, trusting
from node_kit import CLOCK, Made
from numpy.linalg import norm
from scripted_chain import Keys

from boltzmann.audit.verdicts import _outcome
from boltzmann.node.audit import audit_until, decide_open, plan
from boltzmann.node.book import Book
from boltzmann.node.examine import Finding
from boltzmann.node.reckoning import settle
from boltzmann.node.round import Task
from boltzmann.node.validator import conclude

NARROW = 0.985  # a page's rho: it fails alone, and in the mean with an honest one passes


def blurred(at: Scene, work: Made, rho: float, pages: int) -> Made:
    """So much noise on the first pages' shares, wherever no sum tells, that their gate is `rho`."""
    on_points, _ = at.this.points.meet(at.this.chosen)
    control = at.this.control_points
    shares = work.shares.copy()
    for share in shares[:pages]:
        noise = np.random.default_rng(2).standard_normal(len(share)).astype(np.float32)
        noise[on_points] = 0.0
        own = share - control * ((control @ share) / (control @ control))
        share += noise * np.float32(np.sqrt(rho**-2 - 1) * norm(own) / norm(noise))
    return replace(work, shares=shares)


async def test_what_fails_a_spot_audit_narrowly_is_decided_by_a_full_one(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        blurs = {"anna": (NARROW, 1), "bert": (NARROW, 2), "carl": (0.5, 1), "dora": (1.0, 0)}
        for name, (rho, pages) in blurs.items():
            at.upload(name, blurred(at, await at.work(name), rho, pages))
        node = trusting(at)
        await at.ingest()
        assert at.this.refused == {}
        at.this.queue = [Task(Keys(name).hotkey, 0) for name in blurs]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert [at.refusal(name) for name in blurs] == ["", "", "gate", ""]  # of window 0
        assert [task.hotkey for task in at.this.open] == [Keys(n).hotkey for n in ("anna", "bert")]
        await decide_open(node, at.book, at.this, CLOCK.decide(1))
        assert [at.refusal(name) for name in blurs] == ["", "gate", "gate", ""]
        verdicts = {name: at.verdict(name) for name in blurs}
        first = {name: at.this.pages[Keys(name).hotkey][0] for name in blurs}
        assert {name: verdict and verdict.page for name, verdict in verdicts.items()} == {
            "anna": -1,
            "bert": -1,
            "carl": first["carl"],
            "dora": first["dora"],
        }
        told = [(e["hotkey"], e["pages"]) for e in at.validator.told.of("audited")]
        places = {"carl": 1, "dora": 1, "anna": 2, "bert": 2}
        assert told == [(Keys(name).hotkey, pages) for name, pages in places.items()], (
            "what takes all pages comes last"
        )
        details = {e["hotkey"]: e["detail"] for e in at.validator.told.of("rejected")}
        assert details[Keys("bert").hotkey].startswith("mean of the pages: rho 0.9")
        assert at.standing("anna").debt == 0.0
        # Whoever looks again later finds the page's figures, and what all pages made of it.
        for name, reason in (("anna", ""), ("bert", "gate")):
            found = await _outcome(node, at.this, Task(Keys(name).hotkey, 0))
            assert isinstance(found, Finding)
            assert (found.page, found.is_open) == (first[name], False)
            assert 0.9 < found.gate < 0.999
            assert (found.refusal.reason.value if found.refusal else "") == reason


async def test_where_no_time_is_left_nothing_moves_and_the_next_audit_is_full(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert"):
            at.upload(name, blurred(at, await at.work(name), NARROW, 1 if name == "anna" else 0))
        node, anna, bert = trusting(at), Keys("anna").hotkey, Keys("bert").hotkey
        await at.ingest()
        at.this.queue = [Task(anna, 0), Task(bert, 0)]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        await decide_open(node, at.book, at.this, node.blocks.latest)  # no time at all
        assert at.this.open == [Task(anna)]
        settle(node, at.book, at.this)
        assert at.standing("anna").moving == 0.0 < at.standing("bert").moving
        assert at.standing("anna").debt == 0.0
        assert at.book.trusts(anna, 0)
        await plan(node, at.book, at.this)
        assert Task(anna) in at.this.queue
        assert Task(bert) not in at.this.queue
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert at.book.unsettled == set()


async def test_what_an_older_round_left_open_waits_for_the_newer_ones_audits(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert"):
            at.upload(name, await at.work(name))
        node, anna, bert = trusting(at), Keys("anna").hotkey, Keys("bert").hotkey
        await at.ingest()
        older = replace(at.this, open=[Task(anna)], queue=[])
        at.this.queue = [Task(bert, 0)]
        await at.script.advance(CLOCK.decide(1))
        await conclude(node, at.book, [older, at.this], CLOCK.decide(1) + 1)
        assert [e["hotkey"] for e in at.validator.told.of("audited")] == [bert, anna]
        assert at.standing("bert").moving > 0.0
        again = Book(tmp_path / "standings.json")
        assert again.standings == at.book.standings, "what was credited outlives a kill"


async def test_what_an_update_or_an_alarm_waits_for_is_decided_at_once(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert", "carl"):
            at.upload(name, blurred(at, await at.work(name), NARROW, 1))
        node = trusting(at)
        anna, bert, carl = (Keys(name).hotkey for name in ("anna", "bert", "carl"))
        await at.ingest()
        lapsed = replace(
            node, run=replace(node.run, rewards=replace(node.run.rewards, trust_windows=0))
        )
        at.this.queue = [Task(anna, 0)]
        await audit_until(lapsed, at.book, at.this, CLOCK.decide(1), newcomers=True)
        assert anna in at.this.passed
        # An alarm about a blurred page: all pages pass, but not by so much that it was a lie.
        at.this.queue = [Task(bert, 0, "5Val"), Task(carl, 0)]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=True)
        assert at.book.trusts(bert, 0)
        assert not at.book.is_muted("5Val", 1)
        assert at.this.queue == [Task(carl, 0)], "who is trusted can wait"
        assert at.this.open == []
