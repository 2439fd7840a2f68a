"""The chain adapter's writes where the node misbehaves or is old, and its calls' deadlines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bittensor as bt
import pytest
from bittensor.result import chain_error_from_substrate_request
from embedded_chain_kit import MINER, OWNER
from subtensor_kit import HANG_S, SHORT, new_chain, opened

from boltzmann.chain.deadline import abandon, within
from boltzmann.chain.embedded import EmbeddedSubstrate
from boltzmann.errors import ChainRefused, ChainUnavailable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return new_chain(tmp_path, tempo=5000)


class Pooled(EmbeddedSubstrate):
    """A node whose pool refuses every call with one of the runtime's numbers."""

    number = 0

    async def submit(self, call: Any, keypair: Any, **options: Any) -> Any:
        said = f"Invalid Transaction: Custom error: {self.number}"
        error = chain_error_from_substrate_request(Exception(said))
        return bt.ExtrinsicResult(success=False, message=error.message, error=error)


@pytest.mark.parametrize(
    ("number", "of_weights", "of_a_commitment"),
    [
        (6, "SettingWeightsTooFast", "RateLimitExceeded"),
        (1, "NotEnoughStakeToSetWeights", "StakeAmountTooLow"),
        (10, "HotKeyNotRegisteredInNetwork", "HotKeyNotRegisteredInNetwork"),
    ],
)
async def test_the_pools_refusals_have_the_names_of_the_call(
    path: Path, number: int, of_weights: str, of_a_commitment: str
) -> None:
    substrate = Pooled(path)
    substrate.number = number
    async with opened(substrate, OWNER) as chain:
        with pytest.raises(ChainRefused) as raised:
            await chain.set_weights({2: 1.0}, 0)
        assert raised.value.name == of_weights
        with pytest.raises(ChainRefused) as raised:
            await chain.commit([b"x"])
        assert raised.value.name == of_a_commitment


class OldRuntime(EmbeddedSubstrate):
    """A runtime without the storage item that the SDK's SetWeights reads first."""

    async def query(
        self,
        module: str,
        storage_function: str,
        params: list[Any] | None = None,
        block_hash: str | None = None,
    ) -> Any:
        if storage_function == "SubnetEpochConsensus":
            raise ValueError("storage function SubtensorModule.SubnetEpochConsensus not found")
        return await super().query(module, storage_function, params, block_hash)


async def test_weights_on_an_older_runtime(tmp_path: Path) -> None:
    file = new_chain(tmp_path, max_weight=39321, weights_rate_limit=5000)
    async with opened(OldRuntime(file), OWNER) as chain:
        block = await chain.set_weights({3: 1.0, 2: 9.0, 0: 0.0}, 0)
        row = (await chain.weights(block))[0]
        assert set(row) == {2, 3}
        assert row[2] / sum(row.values()) == pytest.approx(0.6, abs=1e-4)
        with pytest.raises(ChainRefused) as raised:
            await chain.set_weights({3: 1.0, 2: 1.0}, 0)
        assert raised.value.name == "SettingWeightsTooFast"


async def test_a_chain_without_a_wallet_is_for_reading(path: Path) -> None:
    async with opened(EmbeddedSubstrate(path)) as chain:
        with pytest.raises(ValueError, match="without a wallet"):
            await chain.commit([b"x"])
        with pytest.raises(ValueError, match="without a wallet"):
            await chain.set_weights({2: 1.0}, 0)


async def test_a_keypair_signs_as_well_as_a_wallet(path: Path) -> None:
    async with opened(EmbeddedSubstrate(path), MINER.hotkey) as chain:
        block = await chain.commit([b"by keypair"])
        assert await chain.commitments(block) == {MINER.hot: (b"by keypair",)}
    async with opened(EmbeddedSubstrate(path), OWNER.hotkey) as chain:
        block = await chain.set_weights({2: 1.0}, 0)
        assert await chain.weights(block) == {0: {2: 65535}}


class Unwatched(EmbeddedSubstrate):
    """Takes a call, and fails as `RpcSubstrate` does when the connection drops before finality."""

    async def submit(self, call: Any, keypair: Any, **options: Any) -> Any:
        await super().submit(call, keypair, **options)
        message = "Connection lost while waiting for a subscription response"
        return bt.ExtrinsicResult(False, message, error=bt.ChainError(message))


async def test_a_call_whose_fate_is_unknown_is_unavailable_not_refused(path: Path) -> None:
    async with opened(Unwatched(path), MINER) as chain:
        with pytest.raises(ChainUnavailable, match="Connection lost"):
            await chain.commit([b"perhaps"])
        # It may be repeated whether it got in or not.
        assert await chain.commitments((await chain.head()).number) == {MINER.hot: (b"perhaps",)}


class Stuck(bt.RpcSubstrate):  # type: ignore[misc]
    """The real RPC backend over a transport that never says that a call is final."""

    async def connect(self) -> None:
        self.cleared: list[str] = []
        self._substrate: Any = SimpleNamespace(clear_nonce_cache_for_account=self.cleared.append)

    async def close(self) -> None:
        self._substrate = None

    async def block_time(self) -> float:
        return 0.01

    async def compose(self, call: Any) -> Any:
        return call

    async def submit(self, *arguments: Any, **options: Any) -> Any:
        await asyncio.Event().wait()


async def test_a_call_that_was_cut_off_leaves_no_nonce_behind() -> None:
    substrate = Stuck("ws://127.0.0.1:1")
    async with opened(substrate, MINER, SHORT) as chain:
        with pytest.raises(ChainUnavailable, match=r"no answer in 0\.05 seconds"):
            await asyncio.wait_for(chain.commit([b"x"]), HANG_S)
        assert substrate.cleared == [MINER.hot]
        cancelled = asyncio.create_task(chain.commit([b"y"]))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert substrate.cleared == [MINER.hot] * 2


# Deadlines


async def test_a_deadline_holds_against_work_that_does_not_let_go() -> None:
    let_go = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await let_go.wait()
            raise RuntimeError("too late for anybody to hear")

    with pytest.raises(asyncio.TimeoutError, match=r"0\.01"):
        await asyncio.wait_for(within(stubborn(), 0.01), HANG_S)
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(abandon(task, 0.01), HANG_S)
    assert not task.done()
    let_go.set()
    await asyncio.wait({task}, timeout=HANG_S)
    assert task.done()


async def test_cancelling_a_deadline_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(within(work(), HANG_S))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(ended.wait(), HANG_S)


async def test_work_in_time_gives_its_result_or_its_error() -> None:
    async def answer(value: int) -> int:
        if value < 0:
            raise KeyError(value)
        return value

    assert await within(answer(3), HANG_S) == 3
    with pytest.raises(KeyError):
        await within(answer(-1), HANG_S)
