"""uid slots, epochs, pay and permits on the embedded chain."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from embedded_chain_kit import (
    MINER,
    NETUID,
    OTHER,
    OWNER,
    RICH,
    STAKED,
    TAO,
    VALIDATOR,
    Keys,
    chain,
    end_epoch,
    genesis,
    include,
    ledger_at,
    raw,
    register,
    stake,
    weights,
)

from boltzmann.chain.embedded import (
    GenesisNeuron,
    create_chain,
)

# uid slots


async def test_a_full_subnet_gives_the_least_paid_slot_to_the_newcomer(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    async with chain(path, held_at=5, max_uids=4, immunity_period=0, tempo=9) as client:
        await client.submit_call(raw(b"still here"), OTHER, signer="hotkey")
        for validator in (OWNER, VALIDATOR):
            await client.submit_call(weights([2, 3], [9, 1]), validator, signer="hotkey")
        await end_epoch(path, client)
        assert (await client.submit_call(register(RICH.hot), RICH)).success
        graph = await client.subnets.metagraph(NETUID)
        assert [n.hotkey for n in graph] == [OWNER.hot, VALIDATOR.hot, MINER.hot, RICH.hot]
        assert graph.neuron(3).coldkey == RICH.cold
        assert graph.neuron(3).emission.rao == 0
        assert graph.neuron(3).last_update == graph.neuron(3).block_at_registration > 0
        assert await client.read("uid", hotkey_ss58=OTHER.hot, netuid=NETUID) is None
        assert await client.read("commitments", netuid=NETUID) == []
        assert await client.read("weights", netuid=NETUID) == {
            uid: {2: 1.0, 3: 0.0} for uid in (0, 1)
        }
        result = await client.submit_call(raw(b"gone"), OTHER, signer="hotkey")
        assert result.error.name == "AccountNotAllowedCommit"


async def test_newcomers_are_immune_until_nobody_else_is_left(tmp_path: Path) -> None:
    newcomers = [Keys(f"newcomer {i}") for i in range(4)]
    path = tmp_path / "chain"
    changes = {"held_at": 2000, "immunity_period": 1000, "max_uids": 4, "tempo": 9}
    async with chain(path, **changes) as client:
        for validator in (OWNER, VALIDATOR):
            await client.submit_call(weights([2, 3], [9, 1]), validator, signer="hotkey")
        await end_epoch(path, client)
        held = []
        for newcomer in newcomers:
            result = await client.submit_call(register(newcomer.hot), RICH)
            assert result.success, result.message
            held.append(result.events[0]["event"]["attributes"]["uid"])
        # Least paid first, though newcomers have nothing; the oldest newcomer when all are new.
        assert held == [3, 1, 2, 3]
        assert (await client.subnets.metagraph(NETUID)).neuron(0).hotkey == OWNER.hot


# Epochs


async def test_an_epoch_pays_by_consensus(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    async with chain(path, held_at=10, tempo=14) as client:
        await client.submit_call(weights([2, 3], [3, 1]), OWNER, signer="hotkey")
        await client.submit_call(weights([2, 3], [1, 1]), VALIDATOR, signer="hotkey")
        end = await end_epoch(path, client)
        assert (end + NETUID + 1) % 15 == 0
        before, after = await client.at(end - 1), await client.at(end)
        old, new = [await view.subnets.metagraph(NETUID) for view in (before, after)]
        assert not any(n.incentive or n.dividends or n.emission.rao for n in old)
        # 60% of the stake give miner 2 .75 and miner 3 .25: the consensus. The other 40% give each
        # a half: miner 3 is clipped, miner 2 is not. Ranks: .6 * .75 + .4 * .5 and .25.
        incentive = [n.incentive for n in new]
        assert incentive == pytest.approx([0, 0, 0.65 / 0.9, 0.25 / 0.9], abs=1e-4)
        assert sum(incentive) == pytest.approx(1.0, abs=1e-4)
        assert sum(n.dividends for n in new) == pytest.approx(1.0, abs=1e-4)
        assert [n.validator_permit for n in new] == [True, True, False, False]

        emitted = (end - 10) * TAO
        grown = [n.alpha_stake.rao - o.alpha_stake.rao for n, o in zip(new, old, strict=True)]
        assert emitted - 10 <= sum(grown) <= emitted
        paid = [n.emission.rao for n in new]
        owner_cut = emitted * 11796 // 65535
        assert [g - p for g, p in zip(grown, paid, strict=True)] == [owner_cut, 0, 0, 0]
        assert paid[2] + paid[3] == pytest.approx((emitted - owner_cut) / 2, abs=10)
        assert paid[0] + paid[1] == pytest.approx((emitted - owner_cut) / 2, abs=10)
        bonds = await after.read("bonds", netuid=NETUID)
        assert set(bonds) == {0, 1} and bonds[0][2] == 1.0


async def test_only_current_weights_for_others_count(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    # The majority is the validator's, so its word on itself would be the consensus.
    majority = GenesisNeuron(VALIDATOR.hot, VALIDATOR.cold, 9000 * TAO)
    neurons = (STAKED[0], majority, *STAKED[2:])
    async with chain(path, held_at=10, tempo=9, neurons=neurons) as client:
        # Not for whom registers in the same block, and not for oneself.
        assert (await client.submit_call(register(RICH.hot), RICH)).success
        assert (await client.submit_call(weights([2, 4], [1, 9]), OWNER, signer="hotkey")).success
        call = weights([1, 2], [9, 1])
        assert (await client.submit_call(call, VALIDATOR, signer="hotkey")).success
        await end_epoch(path, client)
        graph = await client.subnets.metagraph(NETUID)
        assert [n.incentive for n in graph] == [0, 0, 1, 0, 0]


async def test_the_owners_weight_for_itself_counts(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    async with chain(path, held_at=10, tempo=9) as client:
        for validator in (OWNER, VALIDATOR):
            call = weights([0, 2], [1, 1])
            assert (await client.submit_call(call, validator, signer="hotkey")).success
        await end_epoch(path, client)
        graph = await client.subnets.metagraph(NETUID)
        assert [n.incentive for n in graph] == pytest.approx([0.5, 0, 0.5, 0], abs=1e-4)


async def test_permits_go_to_the_largest_stakes_at_the_epochs_end(tmp_path: Path) -> None:
    staked = (
        GenesisNeuron(OWNER.hot, OWNER.cold, 500 * TAO),
        GenesisNeuron(VALIDATOR.hot, VALIDATOR.cold, 400 * TAO),
        GenesisNeuron(RICH.hot, RICH.cold),
    )
    path = tmp_path / "chain"
    changes = {"neurons": staked, "max_validators": 2, "min_stake_rao": 300 * TAO, "tempo": 9}
    async with chain(path, held_at=10, **changes) as client:
        graph = await client.subnets.metagraph(NETUID)
        assert [n.validator_permit for n in graph] == [True, True, False]
        assert (await client.submit_call(stake(RICH.hot, 450 * TAO), RICH)).success
        result = await client.submit_call(weights([0], [1]), RICH, signer="hotkey")
        assert result.error.name == "NeuronNoValidatorPermit"
        await end_epoch(path, client)
        graph = await client.subnets.metagraph(NETUID)
        assert [n.validator_permit for n in graph] == [True, False, True]
        assert (await client.submit_call(weights([0], [1]), RICH, signer="hotkey")).success


def test_bonds_in_a_neuron_end_with_it(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    changes = {"max_uids": 4, "immunity_period": 0, "tempo": 9, "weights_rate_limit": 0}
    create_chain(path, genesis=genesis(block_time_s=1.0, **changes))
    start = time.time()

    def put_in(block: int, call: Any, keypair: Any) -> None:
        with ledger_at(path, lambda: start + block - 1) as ledger:
            assert include(ledger, call, keypair).failure is None

    def bonds_in_miner(block: int) -> list[float]:
        with ledger_at(path, lambda: start + block) as ledger:
            rows = [
                dict(ledger.at(None).get("SubtensorModule", "Bonds", NETUID, i)) for i in (0, 1)
            ]
        return [row.get(2, 0) / 65535 for row in rows]

    put_in(11, weights([2, 3], [1, 3]), OWNER.hotkey)
    put_in(12, weights([3], [1]), VALIDATOR.hotkey)
    assert bonds_in_miner(19) == [1.0, 0.0]
    put_in(21, register(RICH.hot), RICH.coldkey)  # takes uid 2, the least paid
    put_in(22, weights([2], [1]), OWNER.hotkey)
    put_in(23, weights([2], [1]), VALIDATOR.hotkey)
    # By stake, as in a neuron never known before: 40% to 60%.
    assert bonds_in_miner(29) == pytest.approx([1.0, 2 / 3], abs=0.01)


def test_a_subnet_without_neurons_or_weights_still_ends_its_epochs(tmp_path: Path) -> None:
    start = time.time()
    for name, neurons in (("empty", ()), ("idle", STAKED)):
        create_chain(tmp_path / name, genesis=genesis(block_time_s=1.0, tempo=9, neurons=neurons))
        with ledger_at(tmp_path / name, lambda: start + 200) as ledger:
            state = ledger.at(None)
            assert state.get("SubtensorModule", "LastEpochBlock", NETUID) == 199
            emission = state.get("SubtensorModule", "Emission", NETUID) or []
            shares = [rao / (10 * TAO * 0.82) for rao in emission]
            # With no weights the validators share by stake what miners would have got as well.
            assert shares == pytest.approx([] if not neurons else [0.6, 0.4, 0, 0], abs=0.03)
