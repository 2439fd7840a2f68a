"""What every adapter of the chain port must do with commitments and weights, on every network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chain_contract_kit import (
    LONG_TEMPO,
    NETWORKS,
    Start,
    heads_until,
    opened,
    starting,
    until_block,
)
from embedded_chain_kit import MINER, OTHER, OWNER, RICH, VALIDATOR

from boltzmann.errors import ChainRefused
from boltzmann.protocol.budget import charge
from boltzmann.protocol.chainview import CommitSpace, Head


@pytest.fixture(params=list(NETWORKS))
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    with starting(request.param, tmp_path) as begin:
        yield begin


def refused(name: str) -> Any:
    return pytest.raises(ChainRefused, match=f"^{name}: ")


# Commitments


async def test_a_commitment_is_there_from_its_block_on_until_the_next(start: Start) -> None:
    async with opened(start(), MINER) as chain:
        assert await chain.commitments((await chain.head()).number) == {}
        first = await chain.commit([b"one"])
        assert (await chain.head()).number >= first
        second = await chain.commit([b"two", b"2"])
        assert second > first
        head = (await until_block(chain, second + 2))[-1].number
        seen = {block: await chain.commitments(block) for block in range(first - 1, head + 1)}
        assert seen == {
            block: {MINER.hot: (b"two", b"2") if block >= second else (b"one",)}
            if block >= first
            else {}
            for block in seen
        }


@pytest.mark.parametrize(
    "fields",
    [
        (b"\xff\x00\xfe not text",),
        (b"0x00", b"\x00"),
        tuple(bytes([fill]) * 128 for fill in (0, 0x80, 0xFF)),
        tuple(bytes(range(start, start + 128)) for start in (0, 64, 128)),
    ],
    ids=["not-utf8", "like-hex", "largest", "every-byte"],
)
async def test_fields_come_back_as_they_were(start: Start, fields: tuple[bytes, ...]) -> None:
    async with opened(start(), MINER) as chain:
        block = await chain.commit(fields)
        assert await chain.commitments(block) == {MINER.hot: fields}


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ([], "1 to 3 fields, not 0"),
        ([b"a"] * 4, "1 to 3 fields, not 4"),
        ([b"a", b"b" * 129], "field 1 of the commitment has 129 bytes"),
        ([b""], "field 0 of the commitment has 0 bytes"),
    ],
)
async def test_what_does_not_fit_is_not_sent(start: Start, fields: list[bytes], fact: str) -> None:
    async with opened(start(), MINER) as chain:
        with pytest.raises(ValueError, match=fact):
            await chain.commit(fields)


async def test_the_byte_budget_of_commitments(start: Start) -> None:
    async with opened(start(commitment_budget_bytes=384), MINER) as chain:
        before = (await chain.head()).number
        small, large = [b"x"], [b"y" * 128, b"z" * 128]
        first = await chain.commit(small)
        block = await chain.commit(large)
        with refused("SpaceLimitExceeded"):
            await chain.commit([b"w"])
        head = (await chain.head()).number
        assert head > block
        assert await chain.commitments(head) == {MINER.hot: tuple(large)}
        spaces = [await chain.commit_space(number) for number in (before, first, block, head)]
        assert [space.limit for space in spaces] == [384] * 4
        used = [charge(small), charge(small) + charge(large)]
        assert [space.room(MINER.hot) for space in spaces] == [384, 384 - used[0], 28, 28]
        assert [space.used for space in spaces[1:]] == [{MINER.hot: n} for n in (*used, used[1])]
        assert {space.room(OTHER.hot) for space in spaces} == {384}


async def test_each_epoch_has_a_byte_budget_of_its_own(start: Start) -> None:
    async with opened(start(tempo=9, commitment_budget_bytes=100), MINER) as chain:
        block = await chain.commit([b"all of it"])
        head = (await until_block(chain, block + 10))[-1].number
        assert (await chain.commit_space(block)).used == {MINER.hot: 100}
        assert await chain.commit_space(head) == CommitSpace(100, {})
        again = await chain.commit([b"and again"])
        assert (await chain.commit_space(again)).room(MINER.hot) == 0


async def test_only_registered_hotkeys_commit(start: Start) -> None:
    async with opened(start(), RICH) as chain:
        with refused("AccountNotAllowedCommit"):
            await chain.commit([b"let me in"])
        assert await chain.commitments((await chain.head()).number) == {}


# Weights


async def test_weights_are_there_from_their_block_on(start: Start) -> None:
    async with opened(start(), VALIDATOR) as chain:
        block = await chain.set_weights({2: 0.3, 3: 0.1, 0: 0.0}, 0)
        assert await chain.weights(block - 1) == {}
        assert await chain.weights(block) == {1: {2: 65535, 3: 21845}}
        assert (await chain.neurons(block))[1].last_update == block


async def test_weights_are_cut_to_the_subnets_largest_share(start: Start) -> None:
    async with opened(start(max_weight=39321), OWNER) as chain:
        block = await chain.set_weights({2: 9.0, 3: 1.0}, 0)
        row = (await chain.weights(block))[0]
        assert row[2] / sum(row.values()) == pytest.approx(0.6, abs=1e-4)
        assert row[2] / sum(row.values()) <= 39321 / 65535


async def test_who_may_not_set_weights(start: Start) -> None:
    network = start(max_validators=1)
    refusals = {
        RICH: "HotKeyNotRegisteredInSubNet",
        OTHER: "NotEnoughStakeToSetWeights",
        VALIDATOR: "NeuronNoValidatorPermit",
    }
    for keys, name in refusals.items():
        async with opened(network, keys) as chain:
            with refused(name):
                await chain.set_weights({2: 1.0}, 0)
            assert await chain.weights((await chain.head()).number) == {}


async def test_weights_that_break_the_subnets_rules(start: Start) -> None:
    network = start(weights_version=7, min_allowed_weights=2, weights_rate_limit=LONG_TEMPO)
    async with opened(network, OWNER) as chain:
        with refused("IncorrectWeightVersionKey"):
            await chain.set_weights({2: 1.0, 3: 1.0}, 6)
        with refused("WeightVecLengthIsLow"):
            await chain.set_weights({2: 1.0, 3: 0.0}, 7)
        with refused("UidVecContainInvalidOne"):
            await chain.set_weights({2: 1.0, 9: 1.0}, 7)
        block = await chain.set_weights({2: 1.0, 3: 1.0}, 7)
        with refused("SettingWeightsTooFast"):
            await chain.set_weights({2: 0.5, 3: 1.0}, 7)
        assert await chain.weights((await chain.head()).number) == {0: {2: 65535, 3: 65535}}
        assert (await chain.head()).number >= block


@pytest.mark.parametrize(
    "weights", [{}, {2: 0.0}, {2: 1.0, 3: -0.1}, {2: float("nan")}, {2: float("inf")}, {70000: 1.0}]
)
async def test_weights_that_are_none(start: Start, weights: dict[int, float]) -> None:
    async with opened(start(), OWNER) as chain:
        with pytest.raises(ValueError, match="weights must be"):
            await chain.set_weights(weights, 0)


async def test_an_epoch_pays_the_weighted_miner_and_no_other(start: Start) -> None:
    async with opened(start(tempo=9), OWNER) as chain:
        await chain.set_weights({2: 1.0}, 0)

        async def paid(head: Head) -> bool:
            return any(neuron.incentive for neuron in await chain.neurons(head.number))

        block = (await heads_until(chain, paid))[-1].number
        owner, validator, miner, other = await chain.neurons(block)
        assert [n.incentive for n in (owner, validator, miner, other)] == [0, 0, 1.0, 0]
        assert miner.emission > 0 and miner.stake > 0
        assert (other.emission, other.stake) == (0.0, 999.0)
        assert owner.dividends > 0 and other.dividends == miner.dividends == 0
