"""Every call the embedded chain refuses, by the runtime's own error name."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
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
    sealed,
    stake,
    state_rows,
    weights,
)

from boltzmann.chain.embedded import (
    create_chain,
)

# Refusals, each by the runtime's own name


@dataclass(frozen=True)
class Case:
    """A call that must fail with `name` and change nothing, on a held chain."""

    name: str
    call: Any
    by: Keys
    signer: str = "hotkey"
    changes: dict[str, Any] | None = None


SHORT, LONG = b"x", b"y" * 128
REVEAL = {"commit_reveal": True}
REFUSED = [
    Case("WeightVecNotEqualSize", weights([2, 3], [1]), OWNER),
    Case("MechanismDoesNotExist", weights([2], [1], netuid=7), OWNER),
    Case("MechanismDoesNotExist", weights([2], [1], mecid=1), OWNER),
    Case("UidsLengthExceedUidsInSubNet", weights([0, 1, 2, 3, 4], [1] * 5), OWNER),
    Case("HotKeyNotRegisteredInSubNet", weights([2], [1]), RICH),
    Case("NotEnoughStakeToSetWeights", weights([3], [1]), MINER),
    Case("IncorrectWeightVersionKey", weights([2], [1]), OWNER, changes={"weights_version": 3}),
    Case("NeuronNoValidatorPermit", weights([2], [1]), VALIDATOR, changes={"max_validators": 1}),
    Case("DuplicateUids", weights([2, 2], [1, 1]), OWNER),
    Case("UidVecContainInvalidOne", weights([2, 4], [1, 1]), OWNER),
    Case("WeightVecLengthIsLow", weights([2], [1]), OWNER, changes={"min_allowed_weights": 2}),
    Case("MaxWeightExceeded", weights([2, 3], [3, 1]), OWNER, changes={"max_weight": 40000}),
    Case("CommitRevealEnabled", weights([2], [1]), OWNER, changes=REVEAL),
    Case("CommitRevealDisabled", sealed(), OWNER),
    Case("IncorrectCommitRevealVersion", sealed(commit_reveal_version=3), OWNER, changes=REVEAL),
    Case("MechanismDoesNotExist", sealed(netuid=7), OWNER, changes=REVEAL),
    Case("MechanismDoesNotExist", sealed(mecid=1), OWNER, changes=REVEAL),
    Case("HotKeyNotRegisteredInSubNet", sealed(), RICH, changes=REVEAL),
    Case("NotEnoughStakeToSetWeights", sealed(), MINER, changes=REVEAL),
    Case("AccountNotAllowedCommit", raw(SHORT), RICH),
    Case("TooManyFieldsInCommitmentInfo", raw(SHORT, SHORT, SHORT, SHORT), MINER),
    Case("SpaceLimitExceeded", raw(LONG, LONG), MINER, changes={"commitment_budget_bytes": 255}),
    Case("SpaceLimitExceeded", raw(SHORT), MINER, changes={"commitment_budget_bytes": 99}),
    Case("SubnetNotExists", register(RICH.hot, netuid=7), RICH, "coldkey"),
    Case("RegistrationNotPermittedOnRootSubnet", register(RICH.hot, netuid=0), RICH, "coldkey"),
    Case("HotKeyAlreadyRegisteredInSubNet", register(MINER.hot), RICH, "coldkey"),
    Case("NotEnoughBalanceToStake", register(RICH.hot), OTHER, "coldkey"),
    Case(
        "NonAssociatedColdKey",
        register(OWNER.hot),
        RICH,
        "coldkey",
        {"neurons": STAKED[1:]},
    ),
    Case(
        "NoNeuronIdAvailable",
        register(RICH.hot),
        RICH,
        "coldkey",
        {"neurons": STAKED[:1], "max_uids": 1},
    ),
    Case("SubnetNotExists", stake(MINER.hot, TAO, netuid=7), RICH, "coldkey"),
    Case("AmountTooLow", stake(MINER.hot, 1_999_999), RICH, "coldkey"),
    Case("NotEnoughBalanceToStake", stake(MINER.hot, 1000 * TAO), RICH, "coldkey"),
    Case("HotKeyAccountNotExists", stake(RICH.hot, TAO), RICH, "coldkey"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
async def test_a_broken_rule_is_named_and_changes_only_the_nonce(
    tmp_path: Path, case: Case
) -> None:
    path = tmp_path / "chain"
    async with chain(path, held_at=10, **(case.changes or {})) as client:
        before = state_rows(path)
        result = await client.submit_call(case.call, case.by, signer=case.signer)
        assert not result.success
        assert result.error.name == case.name
        assert result.error.message and result.error.code != bt.ErrorCode.UNKNOWN
        assert result.events[-1]["event"]["event_id"] == "ExtrinsicFailed"
        signer = case.by.hot if case.signer == "hotkey" else case.by.cold
        changed = {key: row for key, row in state_rows(path).items() if before.get(key) != row}
        assert list(changed) == [("System", "Account", json.dumps([signer]), 10)]
        assert await client._substrate.account_next_index(signer) == 1


async def test_weights_on_oneself_need_no_permit_nor_length(tmp_path: Path) -> None:
    changes = {"max_validators": 1, "min_allowed_weights": 2, "max_weight": 100}
    async with chain(tmp_path / "chain", held_at=10, **changes) as client:
        result = await client.submit_call(weights([1], [9]), VALIDATOR, signer="hotkey")
        assert result.success, result.message
        row = await client.query(bt.storage.SubtensorModule.Weights, [NETUID, 1])
        assert row == [[1, 65535]]


def test_weights_may_be_set_again_after_the_rate_limit(tmp_path: Path) -> None:
    create_chain(tmp_path / "chain", genesis=genesis(weights_rate_limit=4, block_time_s=1.0))
    start = time.time()
    # An extrinsic goes into the block after the one the clock is at.
    outcomes = {}
    for block in (9, 10, 12, 13, 16, 17):
        with ledger_at(tmp_path / "chain", lambda: start + block - 1) as ledger:  # noqa: B023
            outcomes[block] = include(ledger, weights([2], [1]), OWNER.hotkey)
    assert [block for block, included in outcomes.items() if included.failure is None] == [
        9,
        13,
        17,
    ]
    assert all(included.block == block for block, included in outcomes.items())
    assert outcomes[12].failure == ("SubtensorModule", "SettingWeightsTooFast")


async def test_a_newer_version_key_than_asked_for_is_welcome(tmp_path: Path) -> None:
    async with chain(tmp_path / "chain", held_at=1, weights_version=3) as client:
        call = weights([2], [1], version_key=4)
        assert (await client.submit_call(call, OWNER, signer="hotkey")).success


async def test_the_commitment_budget_is_by_epoch_with_a_least_charge(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    async with chain(path, held_at=0, tempo=20) as client:
        for count in range(31):
            result = await client.submit_call(raw(b"%d" % count), MINER, signer="hotkey")
            assert result.success, result.message
        usage = await client.query(bt.storage.Commitments.UsedSpaceOf, [NETUID, MINER.hot])
        assert usage == {"last_epoch": 221 // 21, "used_space": 3100}
        result = await client.submit_call(raw(b"x"), MINER, signer="hotkey")
        assert result.error.name == "SpaceLimitExceeded"
        assert (await client.submit_call(raw(b"x"), OTHER, signer="hotkey")).success
        await end_epoch(path, client)
        result = await client.submit_call(raw(LONG, LONG), MINER, signer="hotkey")
        assert result.success, result.message
        usage = await client.query(bt.storage.Commitments.UsedSpaceOf, [NETUID, MINER.hot])
        assert usage["used_space"] == 256


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (bt.calls.Balances.transfer_all(dest=OWNER.cold, keep_alive=True), "no call Balances.tr"),
        (weights([70000], [1]), "70000 is not an integer of 16 bits"),
        (weights([2], [True]), "True is not an integer"),
        (weights([2], [1], netuid=-1), "-1 is not an integer"),
        (stake("5nonsense", TAO), "not an ss58 address"),
        (raw(b"y" * 129), "Raw0 to Raw128"),
        (
            bt.calls.Commitments.set_commitment(
                netuid=NETUID, info={"fields": [{"Raw3": b"four"}]}
            ),
            "with 4 bytes",
        ),
        (
            bt.calls.Commitments.set_commitment(
                netuid=NETUID, info={"fields": [{"TimelockEncrypted": b"s"}]}
            ),
            "TimelockEncrypted",
        ),
        (("SubtensorModule", "burned_register", {"netuid": NETUID}), "takes netuid, hotkey"),
    ],
)
async def test_what_has_no_encoding_is_refused_before_it_is_signed(
    tmp_path: Path, call: Any, complaint: str
) -> None:
    async with chain(tmp_path / "chain", held_at=1) as client:
        with pytest.raises(bt.ChainError, match=complaint):
            await client.submit_call(call, RICH)
        assert await client._substrate.account_next_index(RICH.cold) == 0


async def test_a_call_the_runtime_lacks_is_refused_by_the_systems_name(tmp_path: Path) -> None:
    async with chain(tmp_path / "chain", held_at=1) as client:
        with pytest.raises(bt.ChainError) as refusal:
            await client.compose(bt.calls.SubtensorModule.start_call(netuid=NETUID))
        assert refusal.value.name == "CallFiltered"


async def test_what_an_embedded_chain_does_not_have_is_never_faked(tmp_path: Path) -> None:
    async with chain(tmp_path / "chain", held_at=1) as client:
        substrate = client._substrate
        with pytest.raises(bt.ChainError, match="no MEV shield; submit the call in the clear"):
            await client.execute(bt.BurnedRegister(netuid=NETUID), RICH)
        with pytest.raises(bt.ChainError, match="no multisig accounts"):
            await client.multisig([OWNER.cold, RICH.cold], 2)
        with pytest.raises(bt.ChainError, match="no multisig accounts"):
            await substrate.submit_multisig(None, None, None)
        with pytest.raises(bt.ChainError, match="to be signed elsewhere"):
            await client.prepare_call(register(RICH.hot), address=RICH.cold)
        with pytest.raises(bt.ChainError, match="to be signed elsewhere"):
            await substrate.submit_signature(None, b"")
        with pytest.raises(bt.ChainError, match="no SCALE types"):
            await client.decode_scale("Call", b"")
        with pytest.raises(bt.ChainError, match="no runtime API StakeInfoRuntimeApi"):
            await client.runtime(("StakeInfoRuntimeApi", "get_stake_fee"), [])
        with pytest.raises(bt.ChainError, match=r"no constant Grandpa\.MaxAuthorities"):
            await client.constant(("Grandpa", "MaxAuthorities"))
        with pytest.raises(bt.ChainError, match=r"no storage item SubtensorModule\.Temp"):
            await client.query(("SubtensorModule", "Temp"), [NETUID])
        with pytest.raises(bt.ChainError, match="not composed"):
            await substrate.submit(register(RICH.hot), RICH.coldkey)
