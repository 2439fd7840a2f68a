"""What a subnet's node does on the embedded chain through the bittensor SDK's client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest
from embedded_chain_kit import (
    MINER,
    NETUID,
    OTHER,
    OWNER,
    RICH,
    TAO,
    chain,
    connected,
    raw,
    register,
    stake,
    state_rows,
)

# What a node does


async def test_a_nodes_day_through_the_client(tmp_path: Path) -> None:
    async with chain(tmp_path / "chain", tempo=9, weights_rate_limit=5000) as client:
        assert client.token_symbols == {NETUID: "α"}
        assert await client.spec_version() > 0
        assert (await client.submit_call(register(RICH.hot), RICH)).success
        graph = await client.subnets.metagraph(NETUID)
        assert [n.uid for n in graph] == [0, 1, 2, 3, 4]
        assert graph.by_hotkey(RICH.hot).coldkey == RICH.cold
        assert [n.validator_permit for n in graph] == [True, True, False, False, False]
        assert graph.owner_hotkey == OWNER.hot and graph.tempo == 9
        balance = await client.read("balance", coldkey_ss58=RICH.cold)
        assert balance.rao == 1000 * TAO - TAO // 2000

        result = await client.submit_call(raw(b"v1", b"\x00\xff"), MINER, signer="hotkey")
        assert result.success, result.message
        committed_at = int(result.extrinsic_id.split("-")[0])
        record = await client.query(bt.storage.Commitments.CommitmentOf, [NETUID, MINER.hot])
        assert record == {
            "deposit": 0,
            "block": committed_at,
            "info": {"fields": [{"Raw2": "0x7631"}, {"Raw2": "0x00ff"}]},
        }
        (row,) = await client.read("commitments", netuid=NETUID)
        assert (row["hotkey"], row["uid"], row["status"]) == (MINER.hot, 2, "plain")

        result = await client.execute(
            bt.SetWeights(netuid=NETUID, weights={2: 0.75, 3: 0.25}), OWNER
        )
        assert result.success, result.message
        assert await client.read("weights", netuid=NETUID) == {
            0: {2: pytest.approx(0.75, abs=1e-4), 3: pytest.approx(0.25, abs=1e-4)}
        }
        with pytest.raises(bt.ChainError, match="rate limit is 5000 blocks"):
            await client.execute(bt.SetWeights(netuid=NETUID, weights={2: 1.0}), OWNER)


async def test_an_included_call_is_seen_at_its_block_and_not_before(tmp_path: Path) -> None:
    async with chain(tmp_path / "chain") as client:
        result = await client.submit_call(raw(b"now"), MINER, signer="hotkey")
        block = int(result.extrinsic_id.split("-")[0])
        assert await client.block() >= block
        assert result.block_hash == await client._substrate.block_hash(block)
        item, key = bt.storage.Commitments.CommitmentOf, [NETUID, MINER.hot]
        assert await client.query(item, key, block=block - 1) is None
        assert (await client.query(item, key, block=block))["block"] == block
        info = await client.block_info(block)
        (call,) = [extrinsic["call"] for extrinsic in info.extrinsics]
        assert (call["call_module"], call["call_function"]) == ("Commitments", "set_commitment")
        hash_ = info.extrinsics[0]["extrinsic_hash"]
        found = await client._substrate.find_extrinsic(hash_, result.block_hash)
        assert found == result
        assert await client._substrate.events(result.block_hash) == result.events
        assert [e["event"]["event_id"] for e in result.events] == ["Commitment", "ExtrinsicSuccess"]
        assert await client._substrate.find_extrinsic("0x00", result.block_hash) is None


async def test_without_waiting_a_call_is_in_a_later_block(tmp_path: Path) -> None:
    async with chain(tmp_path / "chain", block_time_s=0.2) as client:
        before = await client.block()
        result = await client.submit_call(
            stake(MINER.hot, TAO), RICH, wait_for_inclusion=False, wait_for_finalization=False
        )
        assert result.success and result.extrinsic_id is None
        assert await client._substrate.account_next_index(RICH.cold) == 1
        await client.wait_for_block()
        item = bt.storage.SubtensorModule.TotalHotkeyAlpha
        assert await client.query(item, [MINER.hot, NETUID]) == TAO
        assert await client.query(item, [MINER.hot, NETUID], block=before) == 0


async def test_calls_of_one_account_at_once_all_get_in(tmp_path: Path) -> None:
    async with chain(tmp_path / "chain") as client:
        calls = [client.submit_call(stake(MINER.hot, TAO), RICH) for _ in range(5)]
        assert all(result.success for result in await asyncio.gather(*calls))
        account = await client.query(bt.storage.System.Account, [RICH.cold])
        assert account["nonce"] == 5
        assert account["data"]["free"] == 995 * TAO


async def test_the_sdks_other_reads_work(tmp_path: Path) -> None:
    async with chain(tmp_path / "chain", tempo=20, held_at=100) as client:
        status = await client.read("epoch_status", netuid=NETUID)
        assert status["next_epoch_start_block"] == 115  # 115 + 220 + 1 is a multiple of 21
        assert status["blocks_since_last_step"] == 0
        assert (await client.read("subnet", netuid=NETUID)).neuron_count == 4
        assert (await client.read("subnet_hyperparameters", netuid=NETUID))["tempo"] == 20
        assert [n.uid for n in await client.read("neurons", netuid=NETUID)] == [0, 1, 2, 3]
        assert (await client.read("neurons", netuid=NETUID, lite=False))[0].raw["weights"] == []
        assert await client.read("uid", hotkey_ss58=MINER.hot, netuid=NETUID) == 2
        assert await client.read("netuids_for_hotkey", hotkey_ss58=MINER.hot) == [NETUID]
        assert await client.read("owned_hotkeys", coldkey_ss58=OWNER.cold) == [OWNER.hot]
        assert (await client.read("alpha_price", netuid=NETUID))["tao_per_alpha"] == 1.0
        assert (await client.read("balance", coldkey_ss58=MINER.cold)).rao == 0
        assert await client.constant(bt.constants.Commitments.MaxFields) == 3
        assert await client._substrate.map_has_entries("SubtensorModule", "Keys", [NETUID])
        assert not await client._substrate.map_has_entries("SubtensorModule", "Keys", [1])
        assert await client.subnets.metagraph(1) is None
        assert await client._substrate.query_batch(
            "SubtensorModule", "Uids", [[NETUID, OTHER.hot], [NETUID, RICH.hot]]
        ) == [3, None]


# Signatures and nonces


async def signed(client: bt.Client, call: Any, keypair: Any, nonce: int) -> bytes:
    composed = await client.compose(call)
    data, hash_ = await client._substrate.sign_extrinsic(composed, keypair, nonce=nonce, period=8)
    assert len(hash_) == 66
    return bytes(data)


async def test_only_the_signers_own_bytes_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    async with (
        chain(path, held_at=1) as client,
        chain(tmp_path / "o", seed=b"o", held_at=1) as alien,
    ):
        submit = client._substrate.submit_signed
        good = await signed(client, stake(MINER.hot, 5 * TAO), RICH.coldkey, 0)
        before = state_rows(path)
        tampered = {
            "BadProof": [
                good.replace(b"5000000000", b"6000000000"),
                good.replace(RICH.cold.encode(), OWNER.cold.encode()),
                good.replace(b'"nonce":0', b'"nonce":1'),
                good.replace(b'"signature":"0x', b'"signature":"0x00'),
                await signed(alien, stake(MINER.hot, 5 * TAO), RICH.coldkey, 0),
            ],
            "BadRequest": [
                good[:-1],
                b"",
                b"[]",
                good.replace(b"add_stake", b"add_steak"),
                good.replace(b"5000000000", b"-5"),
            ],
            "Future": [await signed(client, stake(MINER.hot, TAO), RICH.coldkey, 1)],
        }
        for name, attempts in tampered.items():
            for attempt in attempts:
                assert attempt != good
                result = await submit(attempt, RICH.coldkey)
                assert (result.success, result.error.name) == (False, name)
        assert state_rows(path) == before
        assert (await submit(good, RICH.coldkey)).success
        again = await submit(good, RICH.coldkey)
        assert again.error.name == "Stale"
        assert "outdated" in again.message  # what the SDK's own retry looks for
        item = bt.storage.SubtensorModule.TotalHotkeyAlpha
        assert await client.query(item, [MINER.hot, NETUID]) == 5 * TAO


async def test_a_key_cannot_sign_for_another_address(tmp_path: Path) -> None:
    class Impostor:
        ss58_address = RICH.cold
        public_key = RICH.coldkey.public_key
        crypto_type = 1

        async def sign(self, message: bytes) -> bytes:
            return bytes(OTHER.coldkey.sign(message))

    async with chain(tmp_path / "chain", held_at=1) as client:
        result = await client.submit_call(register(OTHER.cold), Impostor())
        assert result.error.name == "BadProof"
        assert (await client.read("balance", coldkey_ss58=RICH.cold)).rao == 1000 * TAO


async def test_two_clients_see_each_others_calls_and_share_one_account(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    async with chain(path) as one, connected(path) as two:
        race = [signed(client, stake(MINER.hot, TAO), RICH.coldkey, 0) for client in (one, two)]
        attempts = await asyncio.gather(*race)
        results = await asyncio.gather(
            one._substrate.submit_signed(attempts[0], RICH.coldkey),
            two._substrate.submit_signed(attempts[1], RICH.coldkey),
        )
        assert sorted(result.success for result in results) == [False, True]
        (lost,) = [result for result in results if not result.success]
        assert lost.error.name == "Stale"
        for client in (one, two):
            graph = await client.subnets.metagraph(NETUID)
            assert graph.neuron(2).alpha_stake.rao == TAO
