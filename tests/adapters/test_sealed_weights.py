"""Commit-reveal to its end: what the SDK sealed is opened by the beacon and counts as it was meant.

The beacon signs its rounds for everybody and for ever: that of round 1000 of drand's quicknet (in
August 2023) is written down here. The SDK seals for a round to come, so the one thing moved is the
moment that it seals for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bittensor as bt
import bittensor_core
import pytest
from bittensor.timelock import QUICKNET_PERIOD, current_round, reveal_time
from embedded_chain_kit import NETUID, OWNER, VALIDATOR, Keys, genesis, include, ledger_at, rows
from websocket_kit import adapter, node_before_a_chain

from boltzmann.chain.embedded import (
    EmbeddedSubstrate,
    create_chain,
    publish_pulse,
    release_chain,
)
from boltzmann.chain.subtensor import SubtensorChain

ROUND = 1000
SIGNATURE = (
    "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125"
    "e342b73a8dd2bacbe47e4b6b63ed5e39"
)
ANOTHERS = (  # of round 657413
    "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be"
    "41076862b98fad56e91a6b85b89cd97b"
)
TEMPO = 9
HELD = 10  # the block in which all is committed
REVEALS = 19  # the end of its epoch: (19 + netuid + 1) % (tempo + 1) == 0
OVER = REVEALS + TEMPO + 1
CHANGES: dict[str, Any] = {"commit_reveal": True, "held_at": HELD, "tempo": TEMPO}
MEANT = {2: 3.0, 3: 1.0}
ROW = {2: 65535, 3: 21845}
in_the_past = pytest.mark.usefixtures("moment")


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK seals for `ROUND`: what it takes a block to last is chosen so."""
    real = bittensor_core.get_encrypted_commit_v2

    def then(**given: Any) -> tuple[bytes, int]:
        def sealed(block_time: float) -> tuple[bytes, int]:
            commit, reveal_round = real(**{**given, "block_time": block_time})
            return bytes(commit), int(reveal_round)

        long, reveal_round = 1e6, 0
        rounds_a_second = (sealed(long)[1] - sealed(0.0)[1]) / long
        block_time = 0.0
        while reveal_round != ROUND:
            commit, reveal_round = sealed(block_time)
            block_time += (ROUND - reveal_round) / rounds_a_second
        return commit, reveal_round

    monkeypatch.setattr("bittensor_core.get_encrypted_commit_v2", then)


@asynccontextmanager
async def chain_of(path: Path, keys: Keys = OWNER) -> AsyncIterator[SubtensorChain]:
    chain = SubtensorChain(EmbeddedSubstrate(path), NETUID, keys)
    await chain.open()
    try:
        yield chain
    finally:
        await chain.close()


async def committed(path: Path, keys: Keys = OWNER) -> None:
    if not path.exists():
        create_chain(path, genesis=genesis(**CHANGES))
    async with chain_of(path, keys) as chain:
        assert await chain.set_weights(MEANT, 0) == HELD


async def weights_at(path: Path, block: int) -> Mapping[int, Mapping[int, int]]:
    """The weights on chain once it has come to `block`."""
    release_chain(path, until=block)
    async with chain_of(path) as chain:
        async for head in chain.heads():
            if head.number >= block:
                break
        return await chain.weights(block)


@in_the_past
async def test_they_are_opened_before_their_epochs_consensus(tmp_path: Path) -> None:
    """Over a websocket, through the SDK: nobody reads them before, and then they count at once."""
    with node_before_a_chain(tmp_path, newer_items=True, lag=0, **CHANGES) as node:
        path = tmp_path / "chain"
        async with adapter(node, OWNER) as chain:
            assert await chain.set_weights(MEANT, 0) == HELD
            publish_pulse(path, ROUND, SIGNATURE)
            assert await weights_at(path, REVEALS - 1) == {}
            assert all(n.incentive == 0.0 for n in await chain.neurons(REVEALS - 1))
            assert await weights_at(path, REVEALS) == {0: ROW}
            assert await chain.weights(REVEALS) == {0: ROW}
            neurons = {neuron.uid: neuron for neuron in await chain.neurons(REVEALS)}
            assert neurons[2].incentive == pytest.approx(0.75, abs=1e-4)
            assert neurons[3].incentive == pytest.approx(0.25, abs=1e-4)
            assert neurons[0].last_update == HELD


@in_the_past
async def test_a_signature_that_comes_within_the_epoch_opens_them_then(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    await committed(path)
    assert await weights_at(path, REVEALS + 2) == {}
    block = publish_pulse(path, ROUND, SIGNATURE)
    assert REVEALS < block < OVER
    assert await weights_at(path, block) == {0: ROW}


@in_the_past
async def test_once_their_epoch_is_over_they_are_lost(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    await committed(path)
    assert await weights_at(path, OVER) == {}
    publish_pulse(path, ROUND, SIGNATURE)
    assert await weights_at(path, OVER + 1) == {}
    left = "SELECT value FROM state WHERE item = 'TimelockedWeightCommits' ORDER BY block"
    assert rows(path, left)[-1] == (None,)


@in_the_past
async def test_a_wrong_signature_opens_nothing_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    await committed(path)
    publish_pulse(path, ROUND, ANOTHERS)
    assert await weights_at(path, REVEALS) == {}
    block = publish_pulse(path, ROUND, SIGNATURE)
    assert await weights_at(path, block) == {0: ROW}


@in_the_past
async def test_who_copies_sealed_weights_sets_none(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    await committed(path)
    with ledger_at(path) as ledger:
        ((_, [[_, _, sealed, reveal_round]]),) = ledger.at(None).entries(
            "SubtensorModule", "TimelockedWeightCommits", NETUID
        )
        copy = bt.calls.SubtensorModule.commit_timelocked_weights(
            netuid=NETUID,
            commit=bytes.fromhex(sealed[2:]),
            reveal_round=reveal_round,
            commit_reveal_version=4,
        )
        assert include(ledger, copy, VALIDATOR.hotkey).failure is None
    publish_pulse(path, ROUND, SIGNATURE)
    assert await weights_at(path, REVEALS) == {0: ROW}


@in_the_past
async def test_each_validators_own_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    await committed(path)
    await committed(path, VALIDATOR)
    publish_pulse(path, ROUND, SIGNATURE)
    assert await weights_at(path, REVEALS) == {0: ROW, 1: ROW}


async def test_the_sdk_seals_for_a_round_within_the_epoch_that_opens(tmp_path: Path) -> None:
    """As it is, with no moment moved: the SDK's epochs are those of the embedded chain."""
    path = tmp_path / "chain"
    create_chain(path, genesis=genesis(**{**CHANGES, "block_time_s": 12.0}))
    before = current_round()
    async with chain_of(path) as chain:
        await chain.set_weights(MEANT, 0)
    with ledger_at(path) as ledger:
        ((_, [[_, _, _, reveal_round]]),) = ledger.at(None).entries(
            "SubtensorModule", "TimelockedWeightCommits", NETUID
        )
    ahead = (reveal_time(reveal_round) - reveal_time(before)).total_seconds()
    assert (REVEALS - HELD) * 12.0 - QUICKNET_PERIOD <= ahead <= (OVER - HELD) * 12.0
