"""Waiting for blocks: nobody misses one, and the stream's end is everybody's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from node_kit import Record
from scripted_chain import DEADLINE_S, Script, ScriptedChain

from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.node import blocks as blocks_module
from boltzmann.node.blocks import Blocks
from boltzmann.protocol.chainview import Head


@asynccontextmanager
async def watching(chain: ScriptedChain) -> AsyncIterator[tuple[Blocks, Record]]:
    told = Record()
    blocks = Blocks(chain, told)
    await blocks.start()
    try:
        yield blocks, told
    finally:
        await blocks.close()


@pytest.fixture
def script() -> Script:
    return Script(height=10)


@pytest.fixture
def chain(script: Script) -> ScriptedChain:
    return ScriptedChain(script, "5Anybody")


async def test_a_block_that_is_there_is_not_waited_for(chain: ScriptedChain) -> None:
    async with watching(chain) as (blocks, told):
        assert blocks.latest == 10
        assert await blocks.until(3) == 10
        assert await blocks.until(10) == 10
        assert told.events == []


async def test_everybody_who_waits_is_woken_at_the_own_height(
    script: Script, chain: ScriptedChain
) -> None:
    async with watching(chain) as (blocks, _):
        waiting = {number: asyncio.create_task(blocks.until(number)) for number in (11, 12, 14)}
        waiting |= {100 + n: asyncio.create_task(blocks.until(12)) for n in range(3)}
        await script.advance(12)
        for number in (11, 12, 100, 101, 102):
            assert await asyncio.wait_for(waiting[number], DEADLINE_S) >= 11
        assert not waiting[14].done()
        await script.advance(14)
        assert await asyncio.wait_for(waiting[14], DEADLINE_S) == 14


async def test_a_head_that_comes_while_one_begins_to_wait_is_not_missed(
    script: Script, chain: ScriptedChain
) -> None:
    async with watching(chain) as (blocks, told):
        script.height = 11  # the watch, in its first step, comes between asking and waiting
        assert await blocks.until(11) == 11
        assert told.events == []  # so nothing ran into the silence


async def test_the_hash_comes_with_the_block(script: Script, chain: ScriptedChain) -> None:
    async with watching(chain) as (blocks, _):
        asked = asyncio.create_task(blocks.hash(12))
        await script.advance(11)
        await blocks.until(11)
        assert not asked.done()
        await script.advance(12)
        assert await asyncio.wait_for(asked, DEADLINE_S) == script.hash(12)


async def test_work_is_given_up_when_its_block_is_here(
    script: Script, chain: ScriptedChain
) -> None:
    async with watching(chain) as (blocks, _):
        ended = asyncio.Event()

        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        task = asyncio.create_task(blocks.before(12, hang()))
        await script.advance(11)
        await blocks.until(11)
        assert not task.done()
        await script.advance(12)
        with pytest.raises(ChainUnavailable, match="no answer before block 12"):
            await asyncio.wait_for(task, DEADLINE_S)
        assert ended.is_set()


async def test_work_that_ends_first_gives_its_result(chain: ScriptedChain) -> None:
    async def fail() -> int:
        raise ChainRefused("NoPermit", "no")

    async with watching(chain) as (blocks, _):
        assert await blocks.before(99, chain.commit([b"one"])) == 11
        with pytest.raises(ChainRefused, match="NoPermit"):
            await blocks.before(99, fail())


async def test_silence_is_told_with_what_is_waited_for(
    script: Script, chain: ScriptedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks_module, "_SILENCE_S", 0.01)
    async with watching(chain) as (blocks, told):
        waiting = asyncio.create_task(blocks.until(12))
        first = await told.seen("waiting")
        assert first["what"] == "block 12, now 10"
        later = await told.seen("waiting", seconds=0.03)
        assert later["seconds"] == pytest.approx(3 * first["seconds"])
        await script.advance(12)
        assert await asyncio.wait_for(waiting, DEADLINE_S) == 12


@pytest.mark.parametrize("error", [ChainRefused("Gone", "no subnet"), ChainUnavailable("dead")])
async def test_what_ends_the_stream_reaches_all_who_wait_and_who_come_later(
    script: Script, chain: ScriptedChain, error: Exception
) -> None:
    async with watching(chain) as (blocks, told):
        waiting = [asyncio.create_task(blocks.until(number)) for number in (11, 12, 13)]
        await script.advance(11)
        assert await asyncio.wait_for(waiting[0], DEADLINE_S) == 11
        await script.end(error)
        for task in waiting[1:]:
            with pytest.raises(type(error)):
                await asyncio.wait_for(task, DEADLINE_S)
        with pytest.raises(type(error)):
            await asyncio.wait_for(blocks.until(99), DEADLINE_S)
        assert await blocks.until(11) == 11
        assert told.of("waiting") == []


@dataclass
class EndingChain(ScriptedChain):
    """Breaks the port's promise: its stream just ends."""

    async def heads(self) -> AsyncIterator[Head]:
        yield Head(11, self.script.hash(11))


async def test_a_stream_that_just_ends_is_an_error_and_not_a_wait(script: Script) -> None:
    async with watching(EndingChain(script, "5Anybody")) as (blocks, _):
        with pytest.raises(ChainUnavailable, match="stream of blocks ended at block 11"):
            await asyncio.wait_for(blocks.until(12), DEADLINE_S)


async def test_heights_never_go_back(script: Script) -> None:
    @dataclass
    class RepeatingChain(ScriptedChain):
        async def heads(self) -> AsyncIterator[Head]:
            for number in (12, 11, 10):
                yield Head(number, self.script.hash(number))
            await self.script.beyond(10)

    async with watching(RepeatingChain(script, "5Anybody")) as (blocks, _):
        assert await asyncio.wait_for(blocks.until(12), DEADLINE_S) == 12
        await script.advance(11)  # lets the stream run to its end
        with pytest.raises(ChainUnavailable, match="ended at block 12"):
            await asyncio.wait_for(blocks.until(13), DEADLINE_S)


@pytest.mark.parametrize("steps", range(5))
async def test_an_answer_that_comes_with_a_block_is_not_waited_beyond(
    script: Script, chain: ScriptedChain, steps: int
) -> None:
    """However many steps of the loop lie between the two."""
    async with watching(chain) as (blocks, _):
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(blocks.before(14, answer))
        for _ in range(20):
            await asyncio.sleep(0)
        answer.set_result(11)
        for _ in range(steps):
            await asyncio.sleep(0)
        await script.advance(11)
        for _ in range(50):
            await asyncio.sleep(0)
        assert task.done()
        assert task.result() == 11


async def test_closing_ends_the_watch_and_may_come_before_the_start(chain: ScriptedChain) -> None:
    blocks = Blocks(chain, Record())
    await blocks.close()
    await blocks.start()
    await blocks.close()
    await blocks.close()
    assert blocks.latest == 10
