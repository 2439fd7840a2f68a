"""What every adapter of the chain port must do, on every kind of network there is.

A network is a function from a genesis to the name that `connect` takes; one more kind of node is
one more entry in NETWORKS.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    ExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from typing import Any

import pytest
from embedded_chain_kit import MINER, NETUID, OTHER, OWNER, RICH, VALIDATOR, Keys, genesis

from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import Genesis, create_chain
from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.ports import Chain
from boltzmann.protocol.budget import charge
from boltzmann.protocol.chainview import CommitSpace, Head, SubnetRules

HANG_S = 30.0
BLOCK_S = 0.05
LONG_TEMPO = 5000  # no epoch ends, and no byte budget starts anew, while the test runs
# The kit's subnet: OWNER 0 and VALIDATOR 1 validate (3000 and 2000 of stake), MINER 2 has none,
# OTHER 3 has 999, one short of what setting weights takes. RICH is not registered.

Network = Callable[[Path, Genesis], AbstractContextManager[str]]
Start = Callable[..., str]


@contextmanager
def embedded(folder: Path, beginning: Genesis) -> Iterator[str]:
    path = folder / "chain"
    create_chain(path, genesis=beginning)
    yield f"embedded:{path}"


NETWORKS: Mapping[str, Network] = {"embedded": embedded}


@pytest.fixture(params=list(NETWORKS))
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Starts the kit's subnet with changes to its genesis; gives the network's name."""
    with ExitStack() as running:

        def begin(**changes: Any) -> str:
            plain = {"block_time_s": BLOCK_S, "tempo": LONG_TEMPO}
            beginning = genesis(**{**plain, **changes})
            return running.enter_context(NETWORKS[request.param](tmp_path, beginning))

        yield begin


@asynccontextmanager
async def opened(network: str, keys: Keys | None = None) -> AsyncIterator[SubtensorChain]:
    chain = await connect(network, NETUID, keys)
    try:
        yield chain
    finally:
        await chain.close()


async def heads_until(chain: Chain, enough: Callable[[Head], Awaitable[bool]]) -> list[Head]:
    async def collect() -> list[Head]:
        heads: list[Head] = []
        async with aclosing(chain.heads()) as stream:  # type: ignore[type-var]
            async for head in stream:
                heads.append(head)
                if await enough(head):
                    break
        return heads

    return await asyncio.wait_for(collect(), HANG_S)


async def until_block(chain: Chain, number: int) -> list[Head]:
    async def reached(head: Head) -> bool:
        return head.number >= number

    return await heads_until(chain, reached)


async def everything(chain: Chain, block: int) -> list[Any]:
    """All that can be read at a block."""
    return [
        await chain.block_hash(block),
        await chain.neurons(block),
        await chain.rules(block),
        await chain.commitments(block),
        await chain.weights(block),
        await chain.commit_space(block),
    ]


def refused(name: str) -> Any:
    return pytest.raises(ChainRefused, match=f"^{name}: ")


# Blocks


async def test_heads_are_consecutive_and_their_hashes_are_the_blocks(start: Start) -> None:
    async with opened(start()) as chain:
        before = await chain.head()
        heads = await until_block(chain, before.number + 6)
        after = await chain.head()
        numbers = [head.number for head in heads]
        assert numbers == list(range(numbers[0], before.number + 7))
        assert before.number <= numbers[0] and numbers[-1] <= after.number
        assert [head.hash for head in heads] == [await chain.block_hash(n) for n in numbers]
        assert len({head.hash for head in heads}) == len(heads)
        assert all(len(head.hash) == 32 for head in heads)
        assert before.hash == await chain.block_hash(before.number)


async def test_the_block_time_is_the_chains(start: Start) -> None:
    async with opened(start(block_time_s=0.25)) as chain:
        assert await chain.block_time() == 0.25


async def test_a_block_to_come_is_unavailable(start: Start) -> None:
    async with opened(start()) as chain:
        with pytest.raises(ChainUnavailable, match="1000000"):
            await chain.block_hash(1_000_000)


async def test_reads_at_a_past_block_never_change(start: Start) -> None:
    async with opened(start(tempo=9), OWNER) as chain:
        await chain.commit([b"first"])
        block = await chain.set_weights({2: 1.0}, 0)
        then = await everything(chain, block)
        await chain.commit([b"second"])
        await until_block(chain, block + 12)  # an epoch has ended since
        assert await everything(chain, block) == then
        now = await everything(chain, (await chain.head()).number)
        assert now[3] != then[3] and now[1] != then[1]


# The subnet


async def test_neurons_by_uid(start: Start) -> None:
    async with opened(start()) as chain:
        neurons = await chain.neurons((await chain.head()).number)
        assert [neuron.uid for neuron in neurons] == [0, 1, 2, 3]
        assert [n.hotkey for n in neurons] == [OWNER.hot, VALIDATOR.hot, MINER.hot, OTHER.hot]
        assert [neuron.stake for neuron in neurons] == [3000.0, 2000.0, 0.0, 999.0]
        assert [neuron.permit for neuron in neurons] == [True, True, False, False]
        assert {neuron.registered_at for neuron in neurons} == {0}
        assert {neuron.incentive for neuron in neurons} == {0.0}


async def test_the_subnets_rules(start: Start) -> None:
    network = start(
        tempo=77,
        weights_rate_limit=12,
        weights_version=3,
        min_allowed_weights=2,
        max_weight=13107,
    )
    async with opened(network) as chain:
        assert await chain.rules((await chain.head()).number) == SubnetRules(
            owner_hotkey=OWNER.hot,
            tempo=77,
            weights_rate_limit=12,
            weights_version=3,
            min_allowed_weights=2,
            max_weight=0.2,
            commit_reveal=False,
        )


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


# Several at once


async def test_two_adapters_see_the_same(start: Start) -> None:
    network = start()
    async with opened(network, MINER) as one, opened(network, OWNER) as two:
        committed, weighted = await asyncio.gather(
            one.commit([b"hello"]), two.set_weights({2: 1.0}, 0)
        )
        block = max(committed, weighted)
        assert await everything(one, block) == await everything(two, block)
        assert await two.commitments(block) == {MINER.hot: (b"hello",)}


async def test_writes_of_one_hotkey_at_once_all_get_in(start: Start) -> None:
    async with opened(start(), OWNER) as chain:
        committed, weighted = await asyncio.gather(
            chain.commit([b"both"]), chain.set_weights({3: 1.0}, 0)
        )
        assert await chain.commitments(committed) == {OWNER.hot: (b"both",)}
        assert await chain.weights(weighted) == {0: {3: 65535}}


_OTHER_PROCESS = """
import asyncio, json, sys
from boltzmann.chain.connect import connect

async def main(network, netuid, block):
    chain = await connect(network, netuid)
    neurons = await chain.neurons(block)
    fields = await chain.commitments(block)
    print(json.dumps({
        "hash": (await chain.block_hash(block)).hex(),
        "neurons": repr(neurons),
        "commitments": {hotkey: [f.hex() for f in record] for hotkey, record in fields.items()},
    }))
    await chain.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def test_another_process_sees_the_same(start: Start) -> None:
    network = start()
    async with opened(network, MINER) as chain:
        block = await chain.commit([b"\xffseen"])
        command = [sys.executable, "-c", _OTHER_PROCESS, network, str(NETUID), str(block)]
        run = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=HANG_S, check=True
        )
        assert json.loads(run.stdout) == {
            "hash": (await chain.block_hash(block)).hex(),
            "neurons": repr(await chain.neurons(block)),
            "commitments": {MINER.hot: [b"\xffseen".hex()]},
        }
