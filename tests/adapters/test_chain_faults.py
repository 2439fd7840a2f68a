"""The chain adapter and the SDK as they are, on a websocket whose other end misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest
from embedded_chain_kit import MINER, NETUID, OWNER
from rpc_running import RunningNode
from rpc_server import RpcNode
from websocket_kit import HANG_S, LAG, Relay, adapter, node_before_a_chain, once_it_answers, until

from boltzmann.chain.connect import connect
from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.protocol.chainview import Head

SUBSCRIBE = "chain_subscribeFinalizedHeads"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with node_before_a_chain(tmp_path) as running:
        yield running


async def take(heads: AsyncIterator[Head], count: int) -> list[Head]:
    async def collect() -> list[Head]:
        return [await anext(heads) for _ in range(count)]

    return await asyncio.wait_for(collect(), HANG_S)


def stream(chain: SubtensorChain) -> aclosing[AsyncGenerator[Head, None]]:
    return aclosing(chain.heads())  # type: ignore[arg-type]


async def expect_in_order(chain: SubtensorChain, heads: list[Head]) -> None:
    first = heads[0].number
    assert [head.number for head in heads] == list(range(first, first + len(heads)))
    hashes = [await once_it_answers(partial(chain.block_hash, head.number)) for head in heads]
    assert [head.hash for head in heads] == hashes


# Connections that end


async def test_heads_go_on_when_the_connection_is_cut_again_and_again(node: RunningNode) -> None:
    async with adapter(node) as chain, stream(chain) as stream_of_heads:
        heads = await take(stream_of_heads, 1)
        for _ in range(3):
            node.do(RpcNode.drop_connections)
            heads += await take(stream_of_heads, 4)
        await expect_in_order(chain, heads)
        assert node.connections > 3


async def test_a_read_survives_a_cut_connection(node: RunningNode) -> None:
    async with adapter(node) as chain:
        head = await chain.head()
        before = await chain.neurons(head.number)
        node.do(RpcNode.drop_connections)
        assert await chain.neurons(head.number) == before
        assert node.connections == 2


async def test_nobody_there_is_unavailable_until_somebody_is(node: RunningNode) -> None:
    async with adapter(node) as chain, stream(chain) as stream_of_heads:
        heads = await take(stream_of_heads, 1)
        node.do(RpcNode.refuse)
        node.do(RpcNode.drop_connections)
        for _ in range(3):
            with pytest.raises(ChainUnavailable):
                await chain.head()
        node.do(RpcNode.accept)
        await once_it_answers(chain.head)
        heads += await take(stream_of_heads, 4)
        await expect_in_order(chain, heads)


async def test_too_many_requests_at_the_handshake(node: RunningNode) -> None:
    async with adapter(node) as chain:
        node.faults.http_status = 429
        with pytest.raises(ChainUnavailable, match="429"):
            await connect(node.url, NETUID)
        node.do(RpcNode.drop_connections)
        with pytest.raises(ChainUnavailable, match="429"):
            await chain.head()
        node.faults.http_status = None
        await once_it_answers(chain.head)


# Silence


async def test_a_silent_connection_is_made_anew(node: RunningNode) -> None:
    async with adapter(node, MINER) as chain:
        node.do(RpcNode.silence_connections)
        with pytest.raises(ChainUnavailable, match="no answer in 5 seconds"):
            await chain.head()
        # The SDK itself would have taken a minute.
        head = await chain.head()
        assert node.connections == 2
        assert await chain.commit([b"after"]) > head.number


async def test_heads_go_on_after_a_silent_connection(node: RunningNode) -> None:
    async with adapter(node) as chain, stream(chain) as stream_of_heads:
        heads = await take(stream_of_heads, 2)
        node.do(RpcNode.silence_connections)
        heads += await take(stream_of_heads, 30)
        await expect_in_order(chain, heads)
        assert node.connections >= 2


async def test_heads_and_writes_go_on_when_the_network_swallows_a_connection(
    node: RunningNode,
) -> None:
    """Unlike a silent node's, the other end does not even answer that the socket is closed."""
    async with (
        Relay(node).running() as relay,
        adapter(relay, MINER) as chain,
        stream(chain) as stream_of_heads,
    ):
        heads = await take(stream_of_heads, 2)
        relay.swallow()
        heads += await take(stream_of_heads, 30)
        await expect_in_order(chain, heads)
        assert await chain.commit([b"after"]) > heads[0].number


async def test_a_node_that_is_silent_for_long_is_asked_again(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boltzmann.chain.line.RENEWAL_S", 1.0)
    async with adapter(node) as chain:
        node.faults.silent = True
        for _ in range(2):
            with pytest.raises(ChainUnavailable):
                await chain.head()
        node.faults.silent = False
        await once_it_answers(chain.head)


async def test_a_subscription_that_falls_silent_is_opened_anew(node: RunningNode) -> None:
    async with adapter(node) as chain, stream(chain) as stream_of_heads:
        heads = await take(stream_of_heads, 2)
        node.faults.mute = True
        rest = asyncio.create_task(take(stream_of_heads, 30))
        await until(lambda: node.asked.count(SUBSCRIBE) >= 2)
        node.faults.mute = False
        heads += await rest
        await expect_in_order(chain, heads)
        assert node.connections == 1


# Heads that are not as they should be


async def test_heads_that_come_twice_and_heads_that_are_left_out(node: RunningNode) -> None:
    node.faults.heads_twice, node.faults.heads_every = True, 3
    async with adapter(node) as chain, stream(chain) as stream_of_heads:
        await expect_in_order(chain, await take(stream_of_heads, 12))


async def test_blocks_that_are_replaced_before_they_are_final(node: RunningNode) -> None:
    async with adapter(node) as chain, stream(chain) as stream_of_heads:
        heads = await take(stream_of_heads, LAG)
        first = node.do(RpcNode.begin_fork)
        replaced = await chain.block_hash(first)
        assert (await chain.head()).number == first - 1
        node.do(RpcNode.end_fork)
        assert await chain.block_hash(first) != replaced
        heads += await take(stream_of_heads, first - heads[-1].number + LAG)
        assert heads[-1].number > first
        await expect_in_order(chain, heads)
        assert replaced not in {head.hash for head in heads}


# Writes


async def test_a_write_in_a_block_that_is_replaced_can_be_repeated(node: RunningNode) -> None:
    async with adapter(node, MINER) as chain:
        node.do(RpcNode.begin_fork)
        writing = asyncio.create_task(chain.commit([b"one"]))
        await until(lambda: bool(node.do(lambda running: running.told)))
        node.do(RpcNode.end_fork)
        with pytest.raises(ChainUnavailable, match="lost: Retracted"):
            await writing
        block = await chain.commit([b"two"])
        assert await chain.commitments(block) == {MINER.hot: (b"two",)}


@pytest.mark.parametrize("fault", [RpcNode.drop_connections, RpcNode.silence_connections])
async def test_a_write_that_nothing_more_is_heard_of_can_be_repeated(
    tmp_path: Path, fault: Callable[[RpcNode], None]
) -> None:
    with node_before_a_chain(tmp_path, lag=8, block_time_s=0.1) as node:
        async with adapter(node, MINER) as chain:
            before = (await chain.head()).number
            writing = asyncio.create_task(chain.commit([b"one"]))
            await until(lambda: bool(node.do(lambda running: running.told)))
            node.do(fault)
            with pytest.raises(ChainUnavailable):
                await writing
            block = await once_it_answers(lambda: chain.commit([b"two"]))
            assert block > before
            assert await chain.commitments(block) == {MINER.hot: (b"two",)}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Custom error: 6", "SettingWeightsTooFast"),
        ("Custom error: 1", "NotEnoughStakeToSetWeights"),
    ],
)
async def test_what_the_pool_refuses_has_the_pallets_name(
    node: RunningNode, said: str, name: str
) -> None:
    async with adapter(node, OWNER) as chain:
        node.faults.pool_refusal = said
        with pytest.raises(ChainRefused, match=f"^{name}: "):
            await chain.set_weights({2: 1.0}, 0)
        node.faults.pool_refusal = None
        assert await chain.set_weights({2: 1.0}, 0) > 0


@pytest.mark.parametrize(
    "said", ["Transaction is outdated", "Transaction will be valid in the future"]
)
async def test_what_gets_lost_in_the_pool_can_be_repeated(node: RunningNode, said: str) -> None:
    async with adapter(node, MINER) as chain:
        node.faults.pool_refusal = said
        with pytest.raises(ChainUnavailable, match="the call got lost"):
            await chain.commit([b"one"])
        node.faults.pool_refusal = None
        assert await chain.commit([b"two"]) > 0
