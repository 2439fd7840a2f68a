"""Audits that would not be done in time wait: none may hold up the receipt of a window."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_scene import Scene, scene
from node_kit import CLOCK
from scripted_chain import Keys

from boltzmann.node.audit import audit_until, plan
from boltzmann.node.round import Task
from boltzmann.node.validator import conclude

ANNA, BERT = Keys("anna").hotkey, Keys("bert").hotkey
SLOW = 1e6  # seconds a page; blocks are a second apart in these scenes


async def newcomers(at: Scene) -> None:
    """Anna's and bert's work is here, and nobody knows them."""
    for name in ("anna", "bert"):
        at.upload(name, await at.work(name))
    await at.ingest()
    await plan(at.validator.node, at.book, at.this)


async def test_before_a_receipt_nothing_begins_that_would_not_end(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        node = at.validator.node
        await newcomers(at)
        queued = list(at.this.queue)
        node.worker.pace.seconds = SLOW
        await audit_until(node, at.book, at.this, CLOCK.receipts_by(1), newcomers=True)
        assert at.this.queue == queued
        assert at.validator.told.of("audited") == []
        node.worker.pace.seconds = 0.0
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=True)
        assert at.this.queue == []
        assert (at.refusal("anna"), at.refusal("bert")) == ("", "")


async def test_while_miners_train_one_slow_page_does_not_end_all_audits(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        node = at.validator.node
        await newcomers(at)
        await at.script.advance(CLOCK.decide(1))
        node.worker.pace.seconds, node.worker.pace.is_fresh = SLOW, True
        await conclude(node, at.book, [at.this], CLOCK.decide(1) + 1)
        assert (at.refusal("anna"), at.refusal("bert")) == ("", "")
        assert node.worker.pace.is_fresh
        assert node.worker.pace.seconds < 1.0


async def test_what_is_quick_goes_before_what_does_not_fit(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(s3, tmp_path) as at:
        node = at.validator.node
        await newcomers(at)
        full, spot = Task(ANNA), Task(BERT, 0)
        at.this.queue = [full, spot]
        at.this.set_control(node, node.worker.compute(node.schedule.control(1)))
        pages = len(at.this.pages[ANNA])
        assert pages > 1
        left = CLOCK.decide(1) - node.blocks.latest
        compute = node.worker.compute

        def computing(*given: object) -> object:
            done = compute(*given)  # type: ignore[arg-type]
            node.worker.pace.seconds = left / (pages - 0.5)
            return done

        monkeypatch.setattr(node.worker, "compute", computing)
        node.worker.pace.seconds = left / (pages - 0.5)
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert at.this.queue == [full]
        assert (at.refusal("anna"), at.refusal("bert")) == (None, "")
