"""The block stream over a subscription that drops, stalls, repeats and skips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.chain.heads import FIRST_PAUSE_S, LONGEST_PAUSE_S, consecutive_heads
from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.protocol.chainview import Head

SILENCE_S = 0.01
HANG_S = 60.0  # a stream that takes this long has hung

DROP, STALL, END = "drop", "stall", "end"
Step = int | str


def hash_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


@dataclass
class Node:
    """The other side: each subscription plays one script, those after the last simply end.

    A script's integers are heights to announce, its words are what goes wrong. `lost_hashes` are
    how often, in a row, block_hash does not answer.
    """

    scripts: Sequence[Sequence[Step]]
    lost_hashes: int = 0
    opened: int = 0
    closed: int = 0
    asked: list[int] = field(default_factory=list)

    async def subscribe(self) -> AsyncIterator[int]:
        script = self.scripts[self.opened] if self.opened < len(self.scripts) else ()
        self.opened += 1
        try:
            for step in script:
                if step == DROP:
                    raise ChainUnavailable("the connection was lost")
                if step == STALL:
                    await asyncio.Event().wait()
                if step == END:
                    return
                yield int(step)
        finally:
            self.closed += 1

    async def block_hash(self, number: int) -> bytes:
        if self.lost_hashes:
            self.lost_hashes -= 1
            raise ChainUnavailable("no answer")
        self.asked.append(number)
        return hash_of(number)


async def no_pause(seconds: float) -> None:
    await asyncio.sleep(0)


async def take(
    heads: AsyncGenerator[Head, None], enough: Callable[[list[Head]], bool]
) -> list[Head]:
    """The stream's heads until there are enough; it is closed then."""

    async def collect() -> list[Head]:
        taken: list[Head] = []
        async for head in heads:
            taken.append(head)
            if enough(taken):
                break
        return taken

    async with aclosing(heads):
        return await asyncio.wait_for(collect(), HANG_S)


async def numbers(count: int, heads: AsyncGenerator[Head, None]) -> list[int]:
    return [head.number for head in await take(heads, lambda taken: len(taken) == count)]


def stream(node: Node, **options: Any) -> AsyncGenerator[Head, None]:
    plain: dict[str, Any] = {"silence_s": SILENCE_S, "sleep": no_pause}
    return consecutive_heads(node.subscribe, node.block_hash, **{**plain, **options})


heights = st.integers(0, 40)
steps = st.one_of(heights, heights, st.sampled_from([DROP, STALL, END]))
scripts = st.lists(st.lists(steps, max_size=8), max_size=5)


@given(scripts=scripts, lost_hashes=st.integers(0, 3))
def test_every_block_once_and_in_order_whatever_happens(
    scripts: list[list[Step]], lost_hashes: int
) -> None:
    last = 60
    announced = [height for script in scripts for height in _heard(script)] + [last]
    # Each lost hash may cost one subscription.
    node = Node([*scripts, *([[last]] * (lost_hashes + 1))], lost_hashes)
    heads = asyncio.run(take(stream(node), lambda taken: taken[-1].number == last))
    first = heads[0].number
    assert [head.number for head in heads] == list(range(first, last + 1))
    assert all(head.hash == hash_of(head.number) for head in heads)
    assert first in announced if lost_hashes else first == announced[0]


def _heard(script: list[Step]) -> list[int]:
    """The heights of a script up to its first mishap."""
    heard: list[int] = []
    for step in script:
        if isinstance(step, str):
            break
        heard.append(step)
    return heard


async def test_a_gap_is_filled_and_repeats_are_dropped() -> None:
    node = Node([[5, 5, 9, 7, 10]])
    assert await numbers(6, stream(node)) == [5, 6, 7, 8, 9, 10]
    assert node.asked == [5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("mishap", [DROP, STALL, END])
async def test_blocks_missed_between_two_subscriptions_are_filled_in(mishap: str) -> None:
    node = Node([[1, 2, mishap], [6]])
    assert await numbers(6, stream(node)) == [1, 2, 3, 4, 5, 6]
    assert node.opened == 2


async def test_a_silent_subscription_is_closed_and_so_is_the_last_one() -> None:
    node = Node([[1, STALL], [2, STALL]])
    await numbers(2, stream(node))
    assert (node.opened, node.closed) == (2, 2)


async def test_a_node_that_does_not_answer_the_unsubscription_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("boltzmann.chain.heads._UNSUBSCRIBE_S", SILENCE_S)
    answer = asyncio.Event()
    calls = 0

    async def subscribe() -> AsyncIterator[int]:
        nonlocal calls
        calls += 1
        try:
            yield calls
            await asyncio.Event().wait()
        finally:
            await answer.wait()

    heads = consecutive_heads(subscribe, Node([]).block_hash, silence_s=SILENCE_S, sleep=no_pause)
    assert await numbers(3, heads) == [1, 2, 3]
    answer.set()


async def test_pauses_grow_with_jitter_up_to_a_limit_and_start_anew_after_progress() -> None:
    pauses: list[float] = []

    async def record(seconds: float) -> None:
        pauses.append(seconds)

    node = Node([*([[DROP]] * 8), [1, DROP], [DROP], [2]])
    await numbers(2, stream(node, sleep=record))
    expected = [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(8)]
    expected += [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]
    assert len(pauses) == len(expected)
    for pause, most in zip(pauses, expected, strict=True):
        assert most / 2 <= pause <= most
    assert expected[-3] == LONGEST_PAUSE_S


async def test_a_no_of_the_chain_ends_the_stream() -> None:
    async def subscribe() -> AsyncIterator[int]:
        raise ChainRefused("method_not_found", "this node has no subscriptions")
        yield 0

    heads = consecutive_heads(subscribe, Node([]).block_hash, silence_s=1.0, sleep=no_pause)
    with pytest.raises(ChainRefused, match="no subscriptions"):
        await numbers(1, heads)
