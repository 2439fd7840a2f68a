"""The embedded chain shared by processes: reads stay exact, and a kill leaves a good file."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from embedded_chain_kit import (
    DEADLINE_S,
    NETUID,
    STAKED,
    TAO,
    Keys,
    connected,
    genesis,
    ledger_at,
    rows,
    stake,
    state_rows,
)

from boltzmann.chain.embedded import (
    GenesisNeuron,
    create_chain,
)

# Several processes


def record_heads(path: Path, out: Path) -> None:
    """Write each new head's number and whole state down as this process first sees them."""

    async def watch() -> None:
        async with connected(path) as client:
            with out.open("w") as lines:
                async for header in client.blocks(finalized=True):
                    state = await client.at(header.number)
                    print(json.dumps([header.number, await digest(state)]), file=lines, flush=True)

    asyncio.run(watch())


async def digest(state: Any) -> list[Any]:
    graph = await state.runtime(("SubnetInfoRuntimeApi", "get_metagraph"), [NETUID])
    commitments = await state.query_map(("Commitments", "CommitmentOf"), [NETUID])
    return [graph, sorted([hotkey, record] for hotkey, record in commitments)]


def hammer(path: Path, out: Path, name: str) -> None:
    """Stake a growing amount again and again, writing down each call that was accepted."""
    keys = Keys(name)

    async def submit() -> None:
        async with connected(path) as client:
            coldkey = keys.coldkey
            done = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            nonce = await client._substrate.account_next_index(keys.cold)
            while True:
                result = await client._substrate.submit(
                    await client.compose(stake(keys.hot, amount(nonce))),
                    coldkey,
                    wait_for_inclusion=False,
                    wait_for_finalization=False,
                )
                assert result.success, result.message
                os.write(done, b"%d\n" % nonce)
                nonce += 1

    asyncio.run(submit())


def amount(nonce: int) -> int:
    return 2_000_000 + nonce


@contextmanager
def processes(*jobs: tuple[Callable[..., None], tuple[Any, ...]]) -> Iterator[list[BaseProcess]]:
    """The jobs in processes of their own, killed (SIGKILL) at the end."""
    spawn = multiprocessing.get_context("spawn")
    running: list[BaseProcess] = [spawn.Process(target=job, args=args) for job, args in jobs]
    try:
        for process in running:
            process.start()
        yield running
    finally:
        for process in running:
            if process.pid is not None:
                process.kill()
                process.join(DEADLINE_S)


def wait_for_lines(path: Path, count: int, process: BaseProcess) -> list[str]:
    """The whole lines of a file another process writes, once there are `count`."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and process.is_alive():
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        if sum(line.endswith("\n") for line in lines) >= count:
            return [line for line in lines if line.endswith("\n")]
        time.sleep(0.005)
    raise AssertionError(f"{path.name}: {count} lines did not come; exit code {process.exitcode}")


def test_what_was_read_at_a_block_never_changes(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    miners = [Keys("stakes 1"), Keys("stakes 2")]
    create_chain(
        path,
        genesis=genesis(
            block_time_s=0.02,
            tempo=7,
            neurons=(*STAKED, *(GenesisNeuron(k.hot, k.cold) for k in miners)),
            balances_rao={k.cold: 1000 * TAO for k in miners},
        ),
    )
    readers = [(record_heads, (path, tmp_path / f"reader {i}")) for i in (1, 2)]
    writers = [(hammer, (path, tmp_path / k.name, k.name)) for k in miners]
    with processes(*readers, *writers) as running:
        seen = []
        for (_, (_, out)), process in zip(readers, running, strict=False):
            seen += [json.loads(line) for line in wait_for_lines(out, 100, process)]
        for (_, (_, out, _)), process in zip(writers, running[2:], strict=True):
            assert wait_for_lines(out, 50, process)
    # All of it once more, now that everybody is gone.
    assert asyncio.run(replay(path, [number for number, _ in seen])) == [was for _, was in seen]
    stakes = {number: sum(was[0]["alpha_stake"]) for number, was in seen}
    assert len(set(stakes.values())) > 20  # there was something to see


async def replay(path: Path, numbers: list[int]) -> list[Any]:
    async with connected(path) as client:
        digests = [await digest(await client.at(number)) for number in numbers]
    return json.loads(json.dumps(digests))  # type: ignore[no-any-return]


def test_a_process_killed_at_any_moment_leaves_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    stakers = [Keys("staker 1"), Keys("staker 2"), Keys("staker 3")]
    create_chain(
        path,
        genesis=genesis(
            block_time_s=0.02,
            tempo=65535,
            neurons=tuple(GenesisNeuron(k.hot, k.cold) for k in stakers),
            balances_rao={k.cold: 1000 * TAO for k in stakers},
        ),
    )
    outs = [tmp_path / k.name for k in stakers]
    accepted = [0, 0, 0]
    for kills in range(1, 5):
        jobs = [(hammer, (path, out, k.name)) for out, k in zip(outs, stakers, strict=True)]
        with processes(*jobs) as running:
            for i, process in enumerate(running):
                wait_for_lines(outs[i], accepted[i] + 20 * kills, process)
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
        accepted = [len(out.read_text().splitlines()) for out in outs]
        check_file(path, stakers, outs)
    with ledger_at(path) as ledger:
        assert ledger.head() > 0
        assert sum(ledger.next_nonce(k.cold) for k in stakers) == len(extrinsic_bodies(path))


def check_file(path: Path, stakers: list[Keys], outs: list[Path]) -> None:
    """The file is whole, and its state is what the accepted calls give, in their order."""
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    nonces: dict[str, list[int]] = {}
    for body in extrinsic_bodies(path):
        nonces.setdefault(body["signer"], []).append(body["nonce"])
    with ledger_at(path) as ledger:
        for keys, out in zip(stakers, outs, strict=True):
            count = ledger.next_nonce(keys.cold)
            assert nonces[keys.cold] == list(range(count))
            told = [int(line) for line in out.read_text().splitlines()]
            # Every call that was told to be accepted is there; one more may be, not yet told.
            assert set(told) <= set(range(count))
            latest = {}
            for (_, item, key, block), value in sorted(state_rows(path).items()):
                latest[item, key] = (block, json.loads(value or "null"))
            spent = sum(amount(nonce) for nonce in range(count))
            _, stake_rao = latest[
                "TotalHotkeyAlpha", json.dumps([keys.hot, NETUID], separators=(",", ":"))
            ]
            _, account = latest["Account", json.dumps([keys.cold])]
            assert stake_rao == spent
            assert account["data"]["free"] == 1000 * TAO - spent
            assert account["nonce"] == count


def extrinsic_bodies(path: Path) -> list[dict[str, Any]]:
    bodies = rows(path, "SELECT body FROM extrinsic ORDER BY block, position")
    return [json.loads(body) for (body,) in bodies]
