"""The chain adapter where the other side of the SDK's seam misbehaves, or is of another age.

Here: what it reads. What it writes, and its deadlines, have a file of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest
from bittensor.result import ConnectionNotReady, ErrorCode, RpcConnectionError, RpcPolicyError
from embedded_chain_kit import MINER, NETUID
from subtensor_kit import HANG_S, SHORT, new_chain, opened

from boltzmann.chain.embedded import EmbeddedSubstrate
from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.protocol.chainview import CommitSpace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return new_chain(tmp_path, tempo=5000)


async def test_a_file_that_does_not_answer_is_unavailable_when_it_is_opened(path: Path) -> None:
    path.with_name("chain-wal").mkdir()  # where SQLite keeps the newest changes
    chain = SubtensorChain(EmbeddedSubstrate(path), NETUID)
    with pytest.raises(ChainUnavailable, match="unable to open database file"):
        await chain.open()


class Failing(EmbeddedSubstrate):
    """Answers what `fault` says to the question for the finalized height."""

    fault: BaseException | None = None

    async def finalized_block_number(self) -> int:
        if self.fault is None:
            await asyncio.Event().wait()
        else:
            raise self.fault
        return 0


@pytest.mark.parametrize(
    "fault",
    [
        RpcConnectionError("gone"),
        RpcPolicyError("slow down", status_code=429),
        ConnectionNotReady("not open"),
        ConnectionResetError("reset"),
        TimeoutError(),
        asyncio.TimeoutError(),
        bt.ChainError("Connection lost while waiting for a subscription response"),
        bt.ChainError("State discarded for 0x00"),
    ],
    ids=lambda fault: f"{type(fault).__name__}-{str(fault)[:10]}",
)
async def test_no_answer_is_unavailable(path: Path, fault: BaseException) -> None:
    substrate = Failing(path)
    substrate.fault = fault
    async with opened(substrate) as chain:
        with pytest.raises(ChainUnavailable, match=str(fault) or type(fault).__name__) as raised:
            await chain.head()
        assert raised.value.__cause__ is fault


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (bt.ChainError("no", "CallFiltered"), "CallFiltered"),
        (bt.ChainError("no", code=ErrorCode.DISABLED), "disabled"),
    ],
)
async def test_a_no_is_a_refusal_by_its_name(path: Path, fault: Exception, name: str) -> None:
    substrate = Failing(path)
    substrate.fault = fault
    async with opened(substrate) as chain:
        with pytest.raises(ChainRefused) as raised:
            await chain.head()
        assert raised.value.name == name


async def test_a_read_without_an_answer_ends_at_its_deadline(path: Path) -> None:
    async with opened(Failing(path), deadlines=SHORT) as chain:
        with pytest.raises(ChainUnavailable, match=r"no answer in 0\.05 seconds"):
            await asyncio.wait_for(chain.head(), HANG_S)


async def test_a_subnet_that_is_not_there_is_a_refusal(path: Path) -> None:
    chain = SubtensorChain(EmbeddedSubstrate(path), 7)
    await chain.open()
    for read in (chain.neurons, chain.rules):
        with pytest.raises(ChainRefused, match="no netuid 7 at 0"):
            await read(0)
    assert await chain.netuids() == [NETUID]
    await chain.close()


class Rooted(EmbeddedSubstrate):
    """A chain with a root network, a subnet and a dissolved one."""

    async def query_map(self, *arguments: Any, **options: Any) -> list[tuple[Any, Any]]:
        return [(5, True), (0, True), (6, False), (1, True)]


async def test_the_root_network_is_no_subnet(path: Path) -> None:
    async with opened(Rooted(path)) as chain:
        assert await chain.netuids() == [1, 5]


class Retuned(EmbeddedSubstrate):
    """A subnet whose owner sets the tempo anew in each block."""

    async def query(
        self,
        module: str,
        storage_function: str,
        params: list[Any] | None = None,
        block_hash: str | None = None,
    ) -> Any:
        if storage_function == "Tempo":
            header = (await self.get_block(block_hash=block_hash) or {})["header"]
            return 100 + header["number"]
        return await super().query(module, storage_function, params, block_hash)


async def test_rules_are_those_at_the_block(path: Path) -> None:
    async with opened(Retuned(path)) as chain:
        stream = chain.heads()
        while (await asyncio.wait_for(anext(stream), HANG_S)).number < 3:
            pass
        assert [(await chain.rules(block)).tempo for block in range(3)] == [100, 101, 102]


# Heads


class Dropping(EmbeddedSubstrate):
    """Each subscription breaks as the SDK's does when the socket drops, after two heads."""

    subscriptions = 0

    async def blocks(self, *, finalized: bool = False) -> AsyncIterator[dict[str, Any]]:
        assert finalized
        self.subscriptions += 1
        count = 0
        async for header in super().blocks(finalized=finalized):
            yield header
            count += 1
            if count == 2:
                raise bt.ChainError("Connection lost while waiting for a subscription response")


async def test_heads_survive_a_dropped_subscription(path: Path) -> None:
    substrate = Dropping(path)
    async with opened(substrate) as chain:

        async def first_eight() -> list[int]:
            numbers: list[int] = []
            async for head in chain.heads():
                assert head.hash == await chain.block_hash(head.number)
                numbers.append(head.number)
                if len(numbers) == 8:
                    break
            return numbers

        numbers = await asyncio.wait_for(first_eight(), HANG_S)
        assert numbers == list(range(numbers[0], numbers[0] + 8))
    assert substrate.subscriptions > 1


# Commitments of other kinds


class Foreign(EmbeddedSubstrate):
    """Commitments as the real codec decodes them that no node of ours would write."""

    async def query_map(
        self,
        module: str,
        storage_function: str,
        params: list[Any] | None = None,
        block_hash: str | None = None,
    ) -> list[tuple[Any, Any]]:
        hash32 = "0x" + "11" * 32
        sealed = {"encrypted": "0x00", "reveal_round": 5}
        fields: dict[str, list[Any]] = {
            "mixed": [{"Sha256": hash32}, {"Raw2": "0x6869"}, {"TimelockEncrypted": sealed}],
            "empty": [{"Raw0": []}, {"Raw1": "0x00"}],
            "flags": ["None", "ResetBondsFlag"],
            "nothing": [],
        }
        return [
            (hotkey, {"deposit": 0, "block": 1, "info": {"fields": decoded}})
            for hotkey, decoded in fields.items()
        ]


async def test_only_raw_fields_count(path: Path) -> None:
    async with opened(Foreign(path)) as chain:
        assert await chain.commitments(0) == {
            "mixed": (b"hi",),
            "empty": (b"", b"\x00"),
            "flags": (),
            "nothing": (),
        }


# The byte budget of commitments


class Counting(EmbeddedSubstrate):
    """Epochs as a runtime counts them whose owner had some run early: on no grid of blocks."""

    async def query_map(self, *arguments: Any, **options: Any) -> list[tuple[Any, Any]]:
        return [
            (hotkey, {"last_epoch": epoch, "used_space": 200 + epoch})
            for hotkey, epoch in [("before", 6), ("now", 7), ("after an upgrade", 8)]
        ]

    async def query(self, module: str, storage_function: str, *key: Any, **options: Any) -> Any:
        if storage_function == "SubnetEpochIndex":
            return 7
        return await super().query(module, storage_function, *key, **options)


async def test_only_what_was_used_in_the_present_epoch_counts(path: Path) -> None:
    async with opened(Counting(path)) as chain:
        assert await chain.commit_space(0) == CommitSpace(3100, {"now": 207})


class Uncounted(EmbeddedSubstrate):
    """A runtime that counts no epochs: they lie on the grid that follows from the tempo."""

    async def query(self, module: str, storage_function: str, *key: Any, **options: Any) -> Any:
        if storage_function == "SubnetEpochIndex":
            raise ValueError("storage function SubtensorModule.SubnetEpochIndex not found")
        return await super().query(module, storage_function, *key, **options)


async def test_the_budget_on_a_runtime_that_counts_no_epochs(tmp_path: Path) -> None:
    file = new_chain(tmp_path, tempo=9, block_time_s=0.05)
    async with opened(Uncounted(file), MINER) as chain, opened(EmbeddedSubstrate(file)) as counted:
        block = await chain.commit([b"x"])
        assert (await chain.commit_space(block)).used == {MINER.hot: 100}
        async for head in chain.heads():
            assert await chain.commit_space(head.number) == await counted.commit_space(head.number)
            if head.number > block + 10:
                break
        assert (await chain.commit_space(block + 10)).used == {}


class Unreadable(EmbeddedSubstrate):
    """Answers every question with a mistake of the asker."""

    async def query(self, *arguments: Any, **options: Any) -> Any:
        raise ValueError("Storage function requires 2 parameters, 1 given")


async def test_only_a_missing_counter_is_made_up_for(path: Path) -> None:
    async with opened(Unreadable(path)) as chain:
        with pytest.raises(ValueError, match="requires 2 parameters"):
            await chain.commit_space(0)
