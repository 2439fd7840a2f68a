"""The embedded chain's file, clock and blocks, and a held chain's release."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import time
from pathlib import Path

import bittensor as bt
import pytest
from bittensor._substrate import Substrate
from bittensor.result import ConnectionNotReady
from embedded_chain_kit import (
    DEADLINE_S,
    MINER,
    NETUID,
    RICH,
    STAKED,
    TAO,
    chain,
    genesis,
    include,
    ledger_at,
    raw,
    register,
    stake,
    state_rows,
)
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.chain.embedded import (
    EmbeddedSubstrate,
    create_chain,
    release_chain,
)
from boltzmann.chain.embedded.clock import Clock
from boltzmann.errors import ConfigError

# Creation and opening


def test_the_package_is_imported_without_the_sdk() -> None:
    check = "import sys, boltzmann.chain.embedded; sys.exit('bittensor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], timeout=DEADLINE_S).returncode == 0


async def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    async with chain(path, held_at=7):
        pass
    with pytest.raises(ConfigError, match=r"already a file at .*chain\.sqlite; remove it"):
        create_chain(path, genesis=genesis())
    with ledger_at(path) as ledger:
        assert ledger.head() == 7
    assert [file.name for file in tmp_path.glob("chain.sqlite*")] == ["chain.sqlite"]


async def test_what_is_no_chain_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no embedded chain at"):
        await EmbeddedSubstrate(tmp_path / "absent").connect()
    assert not (tmp_path / "absent").exists()
    for content in (b"", b"not a database at all, but long enough to look like one" * 9):
        path = tmp_path / f"bad{len(content)}"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="remove it and start a new chain"):
            await EmbeddedSubstrate(path).connect()
    with pytest.raises(ConfigError, match="cannot be written"):
        create_chain(tmp_path / "no folder" / "chain", genesis=genesis())
    with pytest.raises(ConnectionNotReady):
        await EmbeddedSubstrate(tmp_path / "absent").block_number()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", b""),
        ("seed", b"x" * 65),
        ("netuid", 0),
        ("block_time_s", 0.0),
        ("block_time_s", float("nan")),
        ("held_at", -1),
        ("tempo", 0),
        ("max_weight", 65536),
        ("weights_rate_limit", -1),
        ("max_uids", 3),
        ("balances_rao", {RICH.cold: -1}),
        ("balances_rao", {RICH.cold: 21_000_000 * TAO}),
        ("neurons", (STAKED[0], STAKED[0])),
    ],
)
def test_a_genesis_that_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=r"an embedded chain's .* must be"):
        genesis(**{field: value})


def test_every_method_of_the_sdks_contract_is_there_with_its_parameters() -> None:
    contract = {
        name: dict(inspect.signature(method).parameters)
        for name, method in inspect.getmembers(Substrate, inspect.isfunction)
        if not name.startswith("_")
    }
    assert len(contract) > 30
    for name, parameters in contract.items():
        ours = inspect.signature(getattr(EmbeddedSubstrate, name)).parameters
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in ours.values()):
            parameters = {key: p for key, p in parameters.items() if p.default is p.empty}
        assert set(parameters) <= set(ours), name


# Clock and blocks


def test_hashes_follow_from_the_seed_alone() -> None:
    clock = Clock(b"boltzmann", 1.0, 0, 0.0, held=False)
    assert clock.hash(0) == GOLDEN_HASH
    assert clock.hash(0) == Clock(b"boltzmann", 12.0, 99, 5.0, held=True).hash(0)
    assert clock.hash(0) != Clock(b"boltzmanm", 1.0, 0, 0.0, held=False).hash(0)
    assert len({clock.hash(number) for number in range(1000)}) == 1000


GOLDEN_HASH = "0xcbac4de4df7bad1b879b2932026744c5138fa16d8ec873b44b13fa3a3f0f21d0"


@given(st.integers(0, 10**6), st.floats(0, 2e9), st.floats(0.01, 60), st.floats(-1e6, 1e6))
def test_the_number_follows_the_clock_and_its_beginning_is_in_it(
    start: int, start_time: float, block_time_s: float, later: float
) -> None:
    clock = Clock(b"s", block_time_s, start, start_time, held=False)
    number = clock.number(start_time + later)
    assert number >= start
    assert clock.number(start_time + later + block_time_s) >= number
    # Half a block in, rounding of the floating point clock is out of the way.
    assert clock.number(clock.begins(number) + block_time_s / 2) == number


async def test_blocks_come_in_order_without_gaps_and_finality_is_immediate(tmp_path: Path) -> None:
    async with chain(tmp_path / "chain") as client:
        assert await client.block_time() == 0.05
        seen = []
        async for header in client.blocks(finalized=True):
            seen.append(header)
            if len(seen) == 3:
                await asyncio.sleep(0.3)  # falls behind by several blocks
            if len(seen) == 12:
                break
        numbers = [header.number for header in seen]
        assert numbers == list(range(numbers[0], numbers[0] + 12))
        for header in seen[1:]:
            assert header.parent_hash == await client._substrate.block_hash(header.number - 1)
        assert await client.finalized_block() >= numbers[-1]
        first = await client.timestamp(numbers[0])
        assert (await client.timestamp(numbers[-1]) - first).total_seconds() == pytest.approx(
            11 * 0.05, abs=0.002
        )


async def test_the_future_cannot_be_read(tmp_path: Path) -> None:
    async with chain(tmp_path / "chain", held_at=5) as client:
        with pytest.raises(bt.ChainError, match="no block 6 yet: the chain is at block 5"):
            await (await client.at(6)).subnets.metagraph(NETUID)
        with pytest.raises(bt.ChainError, match="no block -1"):
            await client.query(bt.storage.SubtensorModule.Tempo, [NETUID], block=-1)
        with pytest.raises(bt.ChainError, match="no block with the hash"):
            await client._substrate.query("SubtensorModule", "Tempo", [NETUID], "0x" + "ab" * 32)


def test_a_wall_clock_set_back_does_not_undo_blocks(tmp_path: Path) -> None:
    create_chain(tmp_path / "chain", genesis=genesis(block_time_s=1.0))
    start = time.time()
    with ledger_at(tmp_path / "chain", lambda: start + 50) as ledger:
        assert ledger.head() == 50
    with ledger_at(tmp_path / "chain", lambda: start + 10) as ledger:
        assert ledger.head() == 50
        assert ledger.hash_of(50) == ledger.hash_of(None)
        assert include(ledger, stake(MINER.hot, TAO), RICH.coldkey).block == 51


def test_empty_blocks_write_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    create_chain(path, genesis=genesis(block_time_s=1.0, tempo=60_000))
    start = time.time()

    before = state_rows(path)
    with ledger_at(path, lambda: start + 50_000) as ledger:
        assert ledger.head() == 50_000
        assert state_rows(path) == before
    with ledger_at(path, lambda: start + 70_000) as ledger:
        assert ledger.head() == 70_000
        assert len(state_rows(path)) > len(before)  # one epoch ended on the way


def test_a_hash_from_elsewhere_is_found_again(tmp_path: Path) -> None:
    create_chain(tmp_path / "chain", genesis=genesis(held_at=3000))
    with ledger_at(tmp_path / "chain") as ledger:
        assert ledger.number_of(ledger.clock().hash(17)) == 17


# A held chain


async def test_a_held_chain_takes_calls_at_once_and_runs_when_released(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    async with chain(path, held_at=90, block_time_s=0.1) as client:
        assert await client.block() == await client.finalized_block() == 90
        assert (await client.submit_call(register(RICH.hot), RICH)).success
        result = await client.submit_call(raw(b"bucket"), RICH, signer="hotkey")
        assert result.success and result.extrinsic_id == "90-0001"
        assert (await client.read("commitment", netuid=NETUID, hotkey_ss58=RICH.hot)).block == 90
        assert len(await client.subnets.metagraph(NETUID)) == 5
        assert len(await (await client.at(89)).subnets.metagraph(NETUID)) == 4
        assert await client.block() == 90

        headers = client.blocks(finalized=True)
        assert (await anext(headers)).number == 90
        release_chain(path)
        release_chain(path)  # a second time changes nothing
        assert [(await anext(headers)).number for _ in range(3)] == [91, 92, 93]
        await headers.aclose()
        result = await client.submit_call(raw(b"other"), RICH, signer="hotkey")
        assert int(result.extrinsic_id.split("-")[0]) >= 94
        held = await client.at(90)
        assert (await held.read("commitment", netuid=NETUID, hotkey_ss58=RICH.hot)).data == "bucket"


async def test_two_chains_of_one_seed_have_the_same_hashes_and_state(tmp_path: Path) -> None:
    graphs = []
    for name in ("first", "second"):
        async with chain(tmp_path / name, held_at=40) as client:
            await client.submit_call(register(RICH.hot), RICH)
            release_chain(tmp_path / name)
            await client.wait_for_block(42)
            state = await client.at(41)
            graphs.append(
                (await client._substrate.block_hash(41), await state.subnets.metagraph(NETUID))
            )
    assert graphs[0][0] == graphs[1][0]
    assert graphs[0][1].raw == graphs[1][1].raw
