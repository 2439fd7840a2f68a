"""What every adapter of the chain port must do, on every kind of network there is.

Here: blocks, the subnet, and several adapters at once. Commitments and weights have a file of their
own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain_contract_kit import (
    HANG_S,
    NETWORKS,
    Start,
    everything,
    opened,
    starting,
    until_block,
)
from embedded_chain_kit import MINER, NETUID, OTHER, OWNER, VALIDATOR

from boltzmann.errors import ChainUnavailable
from boltzmann.protocol.chainview import SubnetRules


@pytest.fixture(params=list(NETWORKS))
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    with starting(request.param, tmp_path) as begin:
        yield begin


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
