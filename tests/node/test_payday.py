"""Setting weights: at the subnet's cadence, for those who earned, whatever the chain answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from node_kit import CLOCK, CONFIG, RUN, Running, running, store_of
from scripted_chain import DEADLINE_S, Keys, Script, ScriptedChain

from boltzmann.errors import ChainRefused, ChainUnavailable, StoreUnavailable
from boltzmann.node.book import Book
from boltzmann.node.objects import payroll_key
from boltzmann.node.payday import Payday
from boltzmann.protocol.payroll import Payroll, open_payroll
from boltzmann.protocol.receipts import Verdict
from boltzmann.protocol.rejection import Rejection
from boltzmann.store.s3 import S3Store

RATE_LIMIT = 4  # blocks, as the scripted chain's rules have it


@dataclass
class AnsweringChain(ScriptedChain):
    """Answers weights with an error of the test's choice, or not at all while it is `mute`."""

    error: Exception | None = None
    mute: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def set_weights(self, weights: Mapping[int, float], version_key: int) -> int:
        self.asked.set()
        if self.mute:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return await super().set_weights(weights, version_key)


@dataclass
class Scene:
    """A validator at block 20, two miners, and what the first of them earned."""

    script: Script
    chain: AnsweringChain
    validator: Running
    book: Book
    payday: Payday

    async def settle(self, block: int) -> None:
        await self.script.advance(block)
        await self.validator.node.blocks.until(block)
        node = replace(self.validator.node, chain=self.chain)
        await self.payday.settle(node, self.book)


@asynccontextmanager
async def scene(s3: str, folder: Path) -> AsyncIterator[Scene]:
    script = Script(height=20)
    validator = script.register("validator", stake=5.0)
    script.neurons[0] = replace(script.neurons[0], last_update=18)
    for name in ("anna", "bert", "carl"):
        script.register(name)
    async with running(script, "validator", store_of(s3, "validator"), folder) as node:
        book = Book(folder / "standings.json")
        book.enrol(script.neurons)
        for name, moving in (("anna", 0.6), ("bert", 0.2), ("carl", -0.5)):
            book[Keys(name).hotkey] = replace(book[Keys(name).hotkey], moving=moving)
        yield Scene(script, AnsweringChain(script, validator), node, book, Payday())


async def test_weights_are_the_shares_of_those_who_earned(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        await at.settle(20)
        ((_, weights),) = at.script.weights
        assert weights == {1: pytest.approx(0.75), 2: pytest.approx(0.25)}
        (told,) = at.validator.told.of("weights")
        assert (told["block"], told["weights"]) == (21, weights)


async def test_what_is_set_is_published_with_its_reasons_first(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        node, anna = at.validator.node, Keys("anna").hotkey
        at.book.judge(Verdict(anna, 1, "", 0.9, 1.0, 1.0))
        at.book.counts(anna, 1, "paid")
        at.chain.error = ChainUnavailable("no answer")
        await at.settle(20)
        window = CLOCK.window(20)

        def published() -> Payroll:
            sealed = node.store.get(
                node.store.address, payroll_key(RUN, window), max_bytes=10**6, seconds=5.0
            )
            assert not isinstance(sealed, Rejection)
            opened = open_payroll(sealed, RUN, window, node.hotkey, node.verify)
            assert isinstance(opened, Payroll)
            return opened

        said = published()
        assert said.settled == 1
        lines = {line.hotkey: line for line in said.lines}
        assert set(lines) == {neuron.hotkey for neuron in at.script.neurons}
        first = lines[anna]
        assert (first.uid, first.moving, first.debt, first.audited) == (1, 0.6, 0.0, 1)
        assert lines[Keys("carl").hotkey].weight == 0.0
        # What was said is what is set, whatever happened in between.
        at.book[anna] = replace(at.book[anna], moving=0.0)
        at.chain.error = None
        await at.settle(21)
        ((_, weights),) = at.script.weights
        assert weights == said.weights == published().weights


async def test_what_is_long_ago_is_not_set_again(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        anna, last = Keys("anna").hotkey, CONFIG.rewards.trust_windows + 1
        at.book.counts(anna, 1, "paid")
        await at.settle(CLOCK.open(1 + last + 1))
        assert at.script.weights == []
        (told,) = at.validator.told.of("error")
        assert "windows ago" in str(told["detail"])
        at.book.counts(anna, 2, "paid")
        await at.settle(CLOCK.open(1 + last + 1) + 1)
        assert len(at.script.weights) == 1


async def test_weights_are_set_at_the_subnets_cadence(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        for block in range(20, 30):
            await at.settle(block)
        blocks = [event["block"] for event in at.validator.told.of("weights")]
        assert blocks == [21, 26]  # each at least the rate limit after the last


async def test_a_chain_that_says_nothing_is_waited_for_until_the_window_closes(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        at.chain.mute = True
        settling = asyncio.create_task(at.settle(20))
        await asyncio.wait_for(at.chain.asked.wait(), DEADLINE_S)
        close = CLOCK.close(CLOCK.window(20))
        await at.script.advance(close - 1)
        await at.validator.node.blocks.until(close - 1)
        assert not settling.done()
        await at.script.advance(close)
        await asyncio.wait_for(settling, DEADLINE_S)
        (told,) = at.validator.told.of("error")
        assert told["detail"].endswith(f"next try from block {close + 1}")
        at.chain.mute = False
        await at.settle(close + 1)
        assert len(at.script.weights) == 1


class SilentBucket(S3Store):
    """A bucket that answers no upload."""

    def put(self, key: str, body: bytes) -> None:
        raise StoreUnavailable("the bucket does not answer")


async def test_a_silent_bucket_is_waited_for_until_the_window_closes(
    s3: str, tmp_path: Path
) -> None:
    """What comes after it in a window must not be late by it; the next window tries again."""
    async with scene(s3, tmp_path) as at:
        node = at.validator.node
        name = node.store.address.rpartition("/")[2]
        silent = SilentBucket(s3, name, "key", "secret")
        settling = asyncio.create_task(at.payday.settle(replace(node, store=silent), at.book))
        await at.validator.told.seen("waiting")
        close = CLOCK.close(CLOCK.window(20))
        await at.script.advance(close - 1)
        await node.blocks.until(close - 1)
        assert not settling.done()
        await at.script.advance(close)
        await asyncio.wait_for(settling, DEADLINE_S)
        (told,) = at.validator.told.of("error")
        assert told["detail"] == f"too late: block {close} is here"
        assert at.script.weights == []
        await at.settle(close + 1)
        assert len(at.script.weights) == 1


async def test_before_anybody_earned_nothing_is_set(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert"):
            at.book[Keys(name).hotkey] = replace(at.book[Keys(name).hotkey], moving=0.0)
        await at.settle(20)
        assert at.script.weights == []
        assert at.validator.told.events == []


async def test_who_left_the_subnet_gets_nothing(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        at.script.neurons = [n for n in at.script.neurons if n.hotkey != Keys("anna").hotkey]
        await at.settle(20)
        ((_, weights),) = at.script.weights
        assert weights == {2: pytest.approx(0.25)}


async def test_who_registered_anew_is_not_paid_for_what_it_earned_before(
    s3: str, tmp_path: Path
) -> None:
    """The weights are set before the book learns of the new registration."""
    async with scene(s3, tmp_path) as at:
        anna = next(n for n in at.script.neurons if n.hotkey == Keys("anna").hotkey)
        at.script.neurons[at.script.neurons.index(anna)] = replace(anna, registered_at=19)
        await at.settle(20)
        ((_, weights),) = at.script.weights
        assert weights == {2: pytest.approx(0.25)}


@pytest.mark.parametrize(
    ("error", "next_block"),
    [
        # Counted from the last update, at block 18.
        (ChainRefused("SettingWeightsTooFast", "wait"), 18 + RATE_LIMIT),
        (ChainRefused("NeuronNoValidatorPermit", "no permit"), 20 + RATE_LIMIT),
        (ChainUnavailable("no answer"), 21),
    ],
)
async def test_a_refusal_is_told_by_the_chains_name_and_tried_again_when_it_may_work(
    s3: str, tmp_path: Path, error: Exception, next_block: int
) -> None:
    async with scene(s3, tmp_path) as at:
        at.chain.error = error
        await at.settle(20)
        (told,) = at.validator.told.of("error")
        assert told["what"] == "setting weights"
        assert told["detail"] == f"{error}; next try from block {next_block}"
        at.chain.error = None
        await at.settle(next_block - 1) if next_block > 21 else None
        assert at.script.weights == []
        await at.settle(next_block)
        assert len(at.script.weights) == 1
