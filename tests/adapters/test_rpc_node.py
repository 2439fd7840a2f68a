"""The websocket node itself: it checks what a real one checks, and says what a real one says."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import bittensor as bt
import bittensor_core
import pytest
import rpc_serve
from embedded_chain_kit import (
    MINER,
    NETUID,
    OWNER,
    RICH,
    STAKED,
    VALIDATOR,
    Keys,
    genesis,
    raw,
)
from rpc_kit import require_metadata
from rpc_metadata import SPEC_NAME, runtime_metadata
from rpc_running import RunningNode
from websocket_kit import HANG_S, adapter, node_before_a_chain

from boltzmann.chain.deadline import insisting
from boltzmann.chain.embedded import EmbeddedSubstrate, GenesisNeuron, create_chain
from boltzmann.errors import ChainRefused, ChainUnavailable

PERIOD = 64
SIGNATURE_AT = 50  # within the signature of any signed extrinsic


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with node_before_a_chain(tmp_path) as running:
        yield running


def substrate_of(node: RunningNode) -> AbstractAsyncContextManager[Any]:
    return substrate_at(node.url)


@asynccontextmanager
async def substrate_at(url: str) -> AsyncIterator[Any]:
    substrate = bt.RpcSubstrate(url)
    await substrate.connect()
    try:
        yield substrate
    finally:
        await insisting(substrate.close(), HANG_S, 1.0)


async def signed(
    substrate: Any, keys: Keys, *fields: bytes, nonce: int = 0, period: int = PERIOD
) -> bytes:
    call = await substrate.compose(raw(*fields))
    data, _ = await substrate.sign_extrinsic(call, keys.hotkey, nonce=nonce, period=period)
    return bytes(data)


async def submit(substrate: Any, data: bytes) -> Any:
    return await substrate.raw.rpc_request("author_submitExtrinsic", ["0x" + data.hex()])


async def until_block(substrate: Any, number: int) -> None:
    async def follow() -> None:
        async for block in substrate.blocks():
            if block["header"]["number"] >= number:
                return

    await asyncio.wait_for(follow(), HANG_S)


# Signatures and nonces


@pytest.mark.parametrize("at", [SIGNATURE_AT, -1], ids=["signature", "call"])
async def test_a_changed_extrinsic_is_not_taken(node: RunningNode, at: int) -> None:
    async with substrate_of(node) as substrate:
        data = bytearray(await signed(substrate, MINER, b"one"))
        data[at] ^= 1
        with pytest.raises(Exception, match="bad signature"):
            await submit(substrate, bytes(data))
        data[at] ^= 1
        await submit(substrate, bytes(data))


async def test_a_signature_for_another_chain_is_not_taken(
    node: RunningNode, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with node_before_a_chain(tmp_path / "other", seed=b"another") as other:
        async with substrate_of(other) as abroad:
            data = await signed(abroad, MINER, b"one")
    async with substrate_of(node) as substrate:
        with pytest.raises(Exception, match="bad signature"):
            await submit(substrate, data)


async def test_an_extrinsic_whose_era_is_over_is_not_taken(node: RunningNode) -> None:
    async with substrate_of(node) as substrate:
        data = await signed(substrate, MINER, b"one", period=4)
        await until_block(substrate, await substrate.block_number() + 9)
        with pytest.raises(Exception, match="bad signature"):
            await submit(substrate, data)


async def test_each_nonce_is_taken_once(node: RunningNode) -> None:
    async with substrate_of(node) as substrate:
        await submit(substrate, await signed(substrate, MINER, b"one"))
        with pytest.raises(Exception, match="outdated"):
            await submit(substrate, await signed(substrate, MINER, b"two"))
        assert await substrate.account_next_index(MINER.hot) == 1


async def test_a_nonce_too_high_waits_for_those_before_it(node: RunningNode) -> None:
    async with substrate_of(node) as substrate:
        third, second, first = [
            await signed(substrate, MINER, b"%d" % nonce, nonce=nonce) for nonce in (2, 1, 0)
        ]
        await submit(substrate, third)
        await submit(substrate, second)
        assert await substrate.raw.rpc_request("account_nextIndex", [MINER.hot]) == 0
        await submit(substrate, first)
        assert await substrate.raw.rpc_request("account_nextIndex", [MINER.hot]) == 3


@pytest.mark.parametrize("honest", [True, False])
async def test_the_metadata_a_signer_saw_is_checked(node: RunningNode, honest: bool) -> None:
    metadata = runtime_metadata().with_block_time(0.05)
    digest = bittensor_core.metadata_digest(metadata.v15, metadata.spec_version, SPEC_NAME)
    async with substrate_of(node) as substrate:
        call = await substrate.compose(raw(b"one"))
        unsigned = await substrate.prepare(
            call, address=MINER.hot, metadata_hash=digest if honest else bytes(32)
        )
        result = await substrate.submit_signature(unsigned, MINER.hotkey.sign(unsigned.payload))
        assert result.success is honest
        assert honest or "signature" in result.message


# What became of a call


async def test_what_the_runtime_has_no_call_for_is_filtered(node: RunningNode) -> None:
    axon = {"version": 1, "ip": 1, "port": 1, "ip_type": 4, "protocol": 0}
    call = bt.calls.SubtensorModule.serve_axon(
        netuid=NETUID, placeholder1=0, placeholder2=0, **axon
    )
    async with substrate_of(node) as substrate:
        result = await substrate.submit(await substrate.compose(call), MINER.hotkey)
        assert (result.success, result.error.name) == (False, "CallFiltered")


async def test_a_refusal_is_in_the_runtimes_own_words(node: RunningNode) -> None:
    async with substrate_of(node) as substrate:
        result = await substrate.submit(await substrate.compose(raw(b"one")), RICH.hotkey)
        assert result.error.name == "AccountNotAllowedCommit"
        assert "not allowed to make commitments" in result.message


async def test_events_and_extrinsics_of_a_block(node: RunningNode) -> None:
    async with substrate_of(node) as substrate:
        result = await substrate.submit(await substrate.compose(raw(b"one")), MINER.hotkey)
        events = await substrate.events(result.block_hash)
        assert [(one["module_id"], one["event_id"]) for one in events] == [
            ("Commitments", "Commitment"),
            ("System", "ExtrinsicSuccess"),
        ]
        assert events[0]["attributes"] == {"netuid": NETUID, "who": MINER.hot}
        block = await substrate.get_block(block_hash=result.block_hash)
        (extrinsic,) = block["extrinsics"]
        assert extrinsic["address"] == MINER.hot
        assert extrinsic["call"]["call_function"] == "set_commitment"


async def test_clients_of_the_file_and_of_the_node_see_each_others_calls(
    node: RunningNode, tmp_path: Path
) -> None:
    file = EmbeddedSubstrate(tmp_path / "chain")
    await file.connect()
    async with substrate_of(node) as substrate:
        by_file = await file.submit(await file.compose(raw(b"file")), VALIDATOR.hotkey)
        by_node = await substrate.submit(await substrate.compose(raw(b"node")), MINER.hotkey)
        seen = await substrate.get_block(int(by_file.extrinsic_id.partition("-")[0]))
        assert [one["address"] for one in seen["extrinsics"]] == [VALIDATOR.hot]
        again = await file.get_block(block_hash=by_node.block_hash)
        assert again is not None
        assert [one["address"] for one in again["extrinsics"]] == [MINER.hot]
    await file.close()


# Weights, by the call that the runtime's age allows


@pytest.mark.parametrize(
    ("newer_items", "function"), [(False, "set_weights"), (True, "set_mechanism_weights")]
)
async def test_weights_are_set_by_the_sdk_or_else_by_the_plain_call(
    tmp_path: Path, newer_items: bool, function: str
) -> None:
    with node_before_a_chain(tmp_path, newer_items=newer_items) as node:
        async with adapter(node, OWNER) as chain, substrate_of(node) as substrate:
            block = await chain.set_weights({2: 3.0, 3: 1.0}, 0)
            assert await chain.weights(block) == {0: {2: 65535, 3: 21845}}
            (extrinsic,) = (await substrate.get_block(block))["extrinsics"]
            assert extrinsic["call"]["call_function"] == function


async def test_weights_are_sealed_where_the_subnet_wants_it(tmp_path: Path) -> None:
    with node_before_a_chain(tmp_path, newer_items=True, commit_reveal=True) as node:
        async with adapter(node, OWNER) as chain, substrate_of(node) as substrate:
            assert (await chain.rules(0)).commit_reveal
            block = await chain.set_weights({2: 3.0, 3: 1.0}, 0)
            assert await chain.weights(block) == {}
            assert (await chain.neurons(block))[0].last_update == block
            rows = await substrate.query_map("SubtensorModule", "TimelockedWeightCommits", [NETUID])
            ((who, at, sealed, reveal_round),) = rows[0][1]
            assert (who, at) == (OWNER.hot, block)
            (extrinsic,) = (await substrate.get_block(block))["extrinsics"]
            assert extrinsic["call"]["call_function"] == "commit_timelocked_mechanism_weights"
            given = {one["name"]: one["value"] for one in extrinsic["call"]["call_args"]}
            assert (given["commit"], given["reveal_round"]) == (sealed, reveal_round)
            with pytest.raises(ChainRefused, match=r"^SettingWeightsTooFast: "):
                await chain.set_weights({2: 1.0}, 0)


async def test_an_old_runtime_says_that_weights_must_be_sealed(tmp_path: Path) -> None:
    with node_before_a_chain(tmp_path, commit_reveal=True) as node:
        async with adapter(node, OWNER) as chain:
            with pytest.raises(ChainRefused, match=r"^CommitRevealEnabled: "):
                await chain.set_weights({2: 1.0}, 0)


# Reads


async def test_a_map_of_several_pages(tmp_path: Path) -> None:
    crowd = [Keys(f"one of many {number}") for number in range(230)]
    neurons = (*STAKED, *(GenesisNeuron(keys.hot, RICH.cold) for keys in crowd))
    with node_before_a_chain(tmp_path, neurons=neurons) as node:
        async with substrate_of(node) as substrate:
            rows = await substrate.query_map("SubtensorModule", "Keys", [NETUID])
            assert dict(rows) == {uid: neuron.hotkey for uid, neuron in enumerate(neurons)}
            assert node.asked.count("state_getKeysPaged") == 3


async def test_what_is_not_there(node: RunningNode) -> None:
    async with substrate_of(node) as substrate:
        assert await substrate.query("SubtensorModule", "Uids", [NETUID, RICH.hot]) is None
        assert await substrate.query("SubtensorModule", "NetworksAdded", [7]) is False
        with pytest.raises(bt.ChainError, match="no block at height 1000000"):
            await substrate.block_hash(1_000_000)
        with pytest.raises(bt.ChainError, match=r"(?i)not found"):
            await substrate.query("System", "Number", [], block_hash="0x" + "ab" * 32)
        with pytest.raises(Exception, match="Method not found"):
            await substrate.raw.rpc_request("author_pendingExtrinsics", [])
        with pytest.raises(bt.ChainError, match="is not found"):
            await substrate.runtime_call("DelegateInfoRuntimeApi", "get_delegates", [])


# A chain that is held


async def test_a_held_chains_block_is_final_and_those_before_it_can_be_read(
    tmp_path: Path,
) -> None:
    with node_before_a_chain(tmp_path, held_at=9) as node:
        async with adapter(node, MINER) as chain:
            assert (await chain.head()).number == 9
            assert await chain.commit([b"one"]) == 9
            assert await chain.commitments(9) == {MINER.hot: (b"one",)}
            assert len(await chain.neurons(3)) == len(STAKED)


# Faults


async def test_one_client_of_several_is_hurt_by_its_name(node: RunningNode) -> None:
    async with adapter(node, name="one") as one, adapter(node, name="two") as two:
        node.do(lambda it: it.silence_connections("one"))
        await two.head()
        with pytest.raises(ChainUnavailable):
            await one.head()
        await one.head()
        assert (node.joins("one"), node.joins("two")) == (2, 1)
        node.do(lambda it: it.drop_connections("two"))
        await two.head()
        assert (node.joins("one"), node.joins("two")) == (2, 2)


# As a process


async def hurt_another_client(substrate: Any, url: str) -> None:
    """Over this one's connection, as a benchmark does it."""
    ask = substrate.raw.rpc_request
    async with substrate_at(f"{url}/other") as other:
        await ask("boltzmann_fault", ["drop_connections", "other"])
        await ask("boltzmann_fault", ["refuse"])
        await ask("boltzmann_joined")  # by now both are carried out
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        await ask("boltzmann_fault", ["accept"])
        await other.block_number()
        joined = await ask("boltzmann_joined")
        assert [name for _, name in joined] == ["", "other", "other"]


async def test_a_node_in_a_process_of_its_own(tmp_path: Path) -> None:
    require_metadata()
    create_chain(tmp_path / "chain", genesis=genesis())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        rpc_serve.__file__,
        str(tmp_path / "chain"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if process.stdin is None or process.stdout is None:
        raise AssertionError("no pipes")
    url = (await asyncio.wait_for(process.stdout.readline(), HANG_S)).decode().strip()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BITTENSOR_RUNTIME_CACHE_DIR", str(tmp_path / "runtime-cache"))
        async with substrate_at(url) as substrate:
            assert await substrate.query("SubtensorModule", "Tempo", [NETUID]) == 360
            fault = ["pool_refusal", "Custom error: 6"]
            await substrate.raw.rpc_request("boltzmann_fault", fault)
            result = await substrate.submit(await substrate.compose(raw(b"one")), MINER.hotkey)
            assert result.error.name == "RateLimitExceeded"
            await hurt_another_client(substrate, url)
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), HANG_S) == 0
