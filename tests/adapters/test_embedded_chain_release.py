"""The embedded chain released block by block: it runs, stands and goes on without a jump."""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import bittensor as bt
import pytest
from embedded_chain_kit import (
    DEADLINE_S,
    MINER,
    NETUID,
    OWNER,
    chain,
    connected,
    genesis,
    include,
    ledger_at,
    raw,
    weights,
)
from hypothesis import given
from hypothesis import strategies as st
from test_embedded_chain_processes import processes, record_heads, replay, wait_for_lines

from boltzmann.chain.embedded import create_chain, release_chain
from boltzmann.chain.embedded.ledger import Ledger, UnknownBlock

BLOCK_S = 2.0


@dataclass
class Wall:
    """A wall clock that the test sets."""

    now: float = 5000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Seen:
    """What a ledger has told, to be told the same for ever."""

    ledger: Ledger
    begins: dict[int, float] = field(default_factory=dict)

    def look(self) -> int:
        head = self.ledger.head()
        with pytest.raises(UnknownBlock):
            self.ledger.hash_of(head + 1)
        for block in range(head + 1):
            begins = self.ledger.clock().begins(block)
            assert self.begins.setdefault(block, begins) == begins
        return head


def held_chain(path: Path, held_at: int = 0, **changes: object) -> Path:
    create_chain(path, genesis=genesis(held_at=held_at, block_time_s=BLOCK_S, **changes))
    return path


def test_it_runs_at_its_pace_stands_and_goes_on_from_that_moment(tmp_path: Path) -> None:
    wall = Wall()
    with ledger_at(held_chain(tmp_path / "chain", 4), wall) as ledger:
        ledger.release(until=7)
        heads = []
        for _ in range(12):
            heads.append(ledger.head())
            wall.now += BLOCK_S / 2
        assert heads == [4, 4, 5, 5, 6, 6, 7, 7, 7, 7, 7, 7]
        wall.now += 10_000
        assert ledger.head() == 7
        with pytest.raises(UnknownBlock, match="no block 8 yet: the chain is at block 7"):
            ledger.hash_of(8)

        ledger.release(until=9)
        heads = []
        for _ in range(8):
            heads.append(ledger.head())
            wall.now += BLOCK_S / 2
        assert heads == [7, 7, 8, 8, 9, 9, 9, 9]

        wall.now += 10_000
        ledger.release(until=None)
        assert ledger.head() == 9
        wall.now += 100 * BLOCK_S + 0.1
        assert ledger.head() == 109


def test_what_is_submitted_to_a_standing_chain_waits_for_the_next_block(tmp_path: Path) -> None:
    wall = Wall()
    with ledger_at(held_chain(tmp_path / "chain"), wall) as ledger:
        ledger.release(until=3)
        wall.now += 100 * BLOCK_S
        assert ledger.head() == 3
        first = include(ledger, raw(b"hello"), MINER.hotkey)
        second = include(ledger, weights([2], [1]), OWNER.hotkey)
        assert (first.block, second.block) == (4, 4)
        assert ledger.extrinsics(3) == []
        assert ledger.at(None).block == 3
        assert ledger.at(None).get("Commitments", "CommitmentOf", NETUID, MINER.hot) is None

        ledger.release(until=4)
        assert ledger.head() == 3
        wall.now += BLOCK_S
        assert ledger.head() == 4
        assert [one.hash for one in ledger.extrinsics(4)] == [first.hash, second.hash]
        record = ledger.at(None).get("Commitments", "CommitmentOf", NETUID, MINER.hot)
        assert record["block"] == 4


def test_epochs_end_in_the_blocks_they_end_in_without_stops(tmp_path: Path) -> None:
    ends = []
    for name, stops in [("straight", [40]), ("stepped", [1, 2, 9, 10, 11, 30, 40])]:
        wall = Wall()
        with ledger_at(held_chain(tmp_path / name, tempo=9), wall) as ledger:
            for stop in stops:
                ledger.release(until=stop)
                wall.now += 1000.0
                assert ledger.head() == stop
            blocks = [ledger.at(ledger.hash_of(number)) for number in range(41)]
            ends.append([view.get("SubtensorModule", "LastEpochBlock", NETUID) for view in blocks])
    assert ends[0] == ends[1]
    assert len(set(ends[0])) == 5


def test_a_running_chain_keeps_its_pace_when_its_end_is_moved(tmp_path: Path) -> None:
    wall = Wall()
    with ledger_at(held_chain(tmp_path / "chain"), wall) as ledger:
        ledger.release(until=None)
        wall.now += 5.5 * BLOCK_S
        ledger.release(until=10)
        wall.now += 0.5 * BLOCK_S
        assert ledger.head() == 6
        ledger.release(until=20)
        ledger.release(until=None)
        wall.now += 24 * BLOCK_S
        assert ledger.head() == 30


def test_an_end_that_is_past_stops_the_chain_where_it_is(tmp_path: Path) -> None:
    wall = Wall()
    with ledger_at(held_chain(tmp_path / "chain", 4), wall) as ledger:
        ledger.release(until=2)
        wall.now += 50 * BLOCK_S
        assert ledger.head() == 4
        ledger.release(until=None)
        wall.now += 3 * BLOCK_S
        ledger.release(until=0)
        wall.now += 50 * BLOCK_S
        assert ledger.head() == 7
        for _ in range(3):
            wall.now += BLOCK_S
            ledger.release(until=7)  # says again what is so
        ledger.release(until=8)
        assert ledger.head() == 7
        wall.now += BLOCK_S
        assert ledger.head() == 8


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.one_of(st.none(), st.integers(0, 60))),
        min_size=1,
        max_size=12,
    )
)
def test_no_block_is_skipped_and_nothing_told_is_taken_back(
    steps: list[tuple[int, int | None]],
) -> None:
    """Steps: so many quarters of a block's time pass, then the chain is released until a block."""
    wall = Wall()
    with tempfile.TemporaryDirectory() as folder:
        path = held_chain(Path(folder) / "chain", 3)
        with ledger_at(path, wall) as ledger, ledger_at(path, wall) as other:
            ledger.release(until=3)  # what a held chain says of its past's dates is not final
            seen = Seen(ledger)
            until: int | None = 3
            for quarters, end in steps:
                for _ in range(quarters):
                    before = seen.look()
                    wall.now += BLOCK_S / 4
                    assert before <= seen.look() <= before + 1
                    assert until is None or ledger.head() <= until
                head = seen.look()
                other.release(until=end)
                assert ledger.head() == other.head() == head
                until = None if end is None else max(end, head)
                # Its pace is that of before, or begins now: the next block is near, not here.
                if until is None or head < until:
                    begins = ledger.clock().begins(head + 1)
                    assert wall.now < begins <= wall.now + BLOCK_S


async def test_clients_wait_for_a_release(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    async with chain(path, held_at=5) as client:
        headers = client.blocks(finalized=True)
        assert (await anext(headers)).number == 5
        release_chain(path, until=7)
        assert [(await anext(headers)).number for _ in range(2)] == [6, 7]
        next_header = asyncio.ensure_future(anext(headers))
        call = asyncio.create_task(client.submit_call(raw(b"waits"), MINER, signer="hotkey"))
        while not await _is_pending(client):
            assert not call.done()
        assert await client.finalized_block() == 7
        assert not call.done() and not next_header.done()
        release_chain(path, until=8)
        result = await asyncio.wait_for(call, DEADLINE_S)
        assert result.success and result.extrinsic_id == "8-0000"
        assert (await asyncio.wait_for(next_header, DEADLINE_S)).number == 8
        assert await client.finalized_block() == 8
        await headers.aclose()
        release_chain(path)
        await client.wait_for_block(12, timeout=DEADLINE_S)


async def _is_pending(client: bt.Client) -> bool:
    """Whether the miner's call is in a block that is not there yet."""
    state = await client.query(bt.storage.System.Account, [MINER.hot])
    return bool(await client._substrate.account_next_index(MINER.hot) > state["nonce"])


# Several processes


def commit_once(path: Path, out: Path) -> None:
    """Commit, and write down in which block that was."""

    async def commit() -> None:
        async with connected(path) as client:
            result = await client.submit_call(raw(b"once"), MINER, signer="hotkey")
            assert result.success, result.message
            out.write_text(f"{result.extrinsic_id}\n")

    asyncio.run(commit())


def release_to(path: Path, until: int) -> None:
    release_chain(path, until=until)


def test_processes_are_stepped_together(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    create_chain(path, genesis=genesis(held_at=2, tempo=4))
    outs = [tmp_path / "reader 1", tmp_path / "reader 2"]
    commit = tmp_path / "commit"
    with processes(*((record_heads, (path, out)) for out in outs)) as readers:
        for out, process in zip(outs, readers, strict=True):
            assert len(wait_for_lines(out, 1, process)) == 1
        release_chain(path, until=6)
        for out, process in zip(outs, readers, strict=True):
            wait_for_lines(out, 5, process)
        with processes((commit_once, (path, commit))) as (writer,):
            with ledger_at(path) as ledger:
                while ledger.next_nonce(MINER.hot) == 0:
                    assert writer.is_alive()
                assert ledger.head() == 6
            # Another process than the one that watches, and than the one that stopped the chain.
            with processes((release_to, (path, 9))) as (releaser,):
                releaser.join(DEADLINE_S)
                assert releaser.exitcode == 0
            writer.join(DEADLINE_S)
            assert commit.read_text() == "7-0000\n"
        seen = [
            [json.loads(line) for line in wait_for_lines(out, 8, process)]
            for out, process in zip(outs, readers, strict=True)
        ]
    for one in seen:
        assert [number for number, _ in one[1:]] == [3, 4, 5, 6, 7, 8, 9]
        # What a held chain shows may change until it is released; nothing else ever does.
        assert asyncio.run(replay(path, list(range(3, 10)))) == [was for _, was in one[1:]]
    with ledger_at(path) as ledger:
        assert ledger.head() == 9
