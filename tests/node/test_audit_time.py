"""No audit holds up a receipt: it is broken off when its block comes, and done later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from audit_scene import Scene, scene
from node_kit import CLOCK
from scripted_chain import DEADLINE_S, Keys

from boltzmann.node.audit import audit_until, plan
from boltzmann.node.round import Task
from boltzmann.node.validator import conclude
from boltzmann.protocol.points import Points
from boltzmann.train.engine import IsWanted, always
from boltzmann.train.gradients import Delta

ANNA, BERT = Keys("anna").hotkey, Keys("bert").hotkey


async def newcomers(at: Scene) -> None:
    """Anna's and bert's work is here, nobody knows them, and the control gradient is computed."""
    for name in ("anna", "bert"):
        at.upload(name, await at.work(name))
    await at.ingest()
    node = at.validator.node
    await plan(node, at.book, at.this)
    at.this.set_control(node, node.worker.compute(node.schedule.control(1)))


def slow_down(at: Scene, block: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let `block` come while a gradient's first page is computed; how far each gradient got."""
    node, loop = at.validator.node, asyncio.get_running_loop()
    compute, pages_done = node.worker.compute, list[int]()

    async def later() -> None:
        await at.script.advance(block)
        await node.blocks.until(block)

    def computing(
        pages: Sequence[int], points: Points | None = None, is_wanted: IsWanted = always
    ) -> Delta:
        pages_done.append(0)

        def asked() -> bool:
            if pages_done[-1] == 1 and node.blocks.latest < block:
                asyncio.run_coroutine_threadsafe(later(), loop).result(DEADLINE_S)
            answer = is_wanted()
            pages_done[-1] += answer
            return answer

        return compute(pages, points, asked)

    monkeypatch.setattr(node.worker, "compute", computing)
    return pages_done


async def break_off(at: Scene, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Audit newcomers until the receipt is due, which is while the first page is computed."""
    await newcomers(at)
    block = CLOCK.audit_by(1)
    pages_done = slow_down(at, block, monkeypatch)
    await audit_until(at.validator.node, at.book, at.this, block, newcomers=True)
    return pages_done


async def test_a_receipt_waits_for_no_page_but_one(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(s3, tmp_path) as at:
        assert await break_off(at, monkeypatch) == [1]
        assert {task.hotkey for task in at.this.queue} == {ANNA, BERT}
        assert at.validator.told.of("audited") == []
        assert (at.refusal("anna"), at.refusal("bert")) == (None, None)


async def test_what_was_broken_off_is_done_while_miners_train(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(s3, tmp_path) as at:
        node, theta = at.validator.node, at.validator.state.theta.copy()
        await break_off(at, monkeypatch)
        assert (at.validator.state.theta == theta).all()
        await at.script.advance(CLOCK.decide(1))
        await node.blocks.until(CLOCK.decide(1))
        await conclude(node, at.book, [at.this], CLOCK.close(2))
        assert at.this.queue == []
        assert (at.refusal("anna"), at.refusal("bert")) == ("", "")


async def test_the_control_gradient_is_broken_off_as_well(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(s3, tmp_path) as at:
        node = at.validator.node
        await newcomers(at)
        at.this.control = bytearray()
        at.this.queue = [Task(ANNA), Task(BERT)]
        block = node.blocks.latest + 1
        assert len(node.schedule.control(1)) > 1
        pages_done = slow_down(at, block, monkeypatch)
        await audit_until(node, at.book, at.this, block, newcomers=True)
        assert pages_done == [1]
        assert not at.this.control
        assert at.this.queue == [Task(ANNA), Task(BERT)]
