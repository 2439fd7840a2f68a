"""What a node does when it is ending is not cut off by a second interruption."""

from __future__ import annotations

import asyncio

import pytest
from scripted_chain import DEADLINE_S

from boltzmann.errors import NoRoom
from boltzmann.node.endure import to_the_end


async def test_it_is_carried_out_however_often_it_is_cancelled() -> None:
    begun, may_end, steps = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        begun.set()
        await may_end.wait()
        steps.append("saved")

    task = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.wait({task}, timeout=0.01)
        assert not task.done()
    may_end.set()
    await asyncio.wait_for(task, DEADLINE_S)
    assert steps == ["saved"]


async def test_its_own_trouble_is_told() -> None:
    async def work() -> None:
        raise NoRoom("full")

    with pytest.raises(NoRoom, match="full"):
        await to_the_end(work())
