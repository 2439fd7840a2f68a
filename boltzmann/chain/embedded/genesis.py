"""A chain's beginning: its parameters, its first accounts and neurons, and its file."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boltzmann.chain.embedded import accounts
from boltzmann.chain.embedded.accounts import RAO_PER_TAO
from boltzmann.chain.embedded.clock import Clock
from boltzmann.chain.embedded.storage import ChainRow, View, lay_out
from boltzmann.chain.embedded.subnet import PALLET, U16_MAX, Subnet, permits
from boltzmann.errors import ConfigError

MAX_ISSUANCE_RAO = 21_000_000 * RAO_PER_TAO


@dataclass(frozen=True)
class GenesisNeuron:
    """A neuron that is registered from the first block on; `stake_rao` in the subnet's alpha."""

    hotkey: str
    coldkey: str
    stake_rao: int = 0


@dataclass(frozen=True)
class Genesis:
    """What a chain starts from. Amounts are in rao (10^9 to a token), times in blocks.

    `seed` (1 to 64 bytes) determines every block hash. `tempo`: an epoch ends every tempo + 1
    blocks. `max_weight` is the largest share of one weight in the sum, of 65535. `min_stake_rao`:
    the stake from which a hotkey may validate and set weights. `neurons` get the uids 0, 1, ... in
    their order. With `held_at` the chain stays at that block until it is released.
    Raises: ConfigError naming the field and the range it must be in.
    """

    seed: bytes
    netuid: int
    owner_hotkey: str
    owner_coldkey: str
    block_time_s: float = 1.0
    held_at: int | None = None
    tempo: int = 360
    weights_rate_limit: int = 100
    weights_version: int = 0
    min_allowed_weights: int = 1
    max_weight: int = U16_MAX
    commit_reveal: bool = False
    max_validators: int = 64
    min_stake_rao: int = 1000 * RAO_PER_TAO
    commitment_budget_bytes: int = 3100
    max_uids: int = 256
    immunity_period: int = 4096
    registration_cost_rao: int = RAO_PER_TAO // 2000
    balances_rao: Mapping[str, int] = field(default_factory=dict)
    neurons: tuple[GenesisNeuron, ...] = ()

    def __post_init__(self) -> None:
        _require(1 <= len(self.seed) <= 64, "seed", "1 to 64 bytes long")
        _require(
            math.isfinite(self.block_time_s) and self.block_time_s > 0,
            "block_time_s",
            "a positive number of seconds",
        )
        _require(self.held_at is None or self.held_at >= 0, "held_at", "a block from 0 on")
        _require(1 <= self.netuid <= U16_MAX, "netuid", f"from 1 to {U16_MAX}")
        for name, least in _U16_FIELDS.items():
            _require(least <= getattr(self, name) <= U16_MAX, name, f"from {least} to {U16_MAX}")
        for name in _NOT_NEGATIVE:
            _require(getattr(self, name) >= 0, name, "0 or more")
        amounts = [*self.balances_rao.values(), *(n.stake_rao for n in self.neurons)]
        _require(
            min(amounts, default=0) >= 0 and sum(amounts) <= MAX_ISSUANCE_RAO,
            "balances_rao and stakes",
            "0 or more, and not above 21 million tokens in all",
        )
        hotkeys = {neuron.hotkey for neuron in self.neurons}
        _require(len(hotkeys) == len(self.neurons), "neurons", "one for each hotkey")
        _require(len(self.neurons) <= self.max_uids, "neurons", "at most max_uids many")


_U16_FIELDS = {
    "tempo": 1,
    "min_allowed_weights": 0,
    "max_weight": 1,
    "max_validators": 1,
    "max_uids": 1,
    "immunity_period": 0,
}
_NOT_NEGATIVE = (
    "weights_rate_limit",
    "weights_version",
    "min_stake_rao",
    "commitment_budget_bytes",
    "registration_cost_rao",
)


def create_chain(path: Path, *, genesis: Genesis) -> None:
    """Write a new chain to `path`; it runs from now on, or is held.

    Raises: ConfigError when there is a file at `path` already, or none can be written there.
    """
    try:
        # Claims the name, so that of two creators one gives way; a creation cut short leaves an
        # empty file here, which opening refuses with the mend.
        path.open("x").close()
    except FileExistsError as error:
        raise ConfigError(
            f"there is already a file at {path}; remove it, or choose another place for the chain"
        ) from error
    except OSError as error:
        raise ConfigError(f"the chain's file {path} cannot be written: {error}") from error
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        _write(unfinished, genesis)
    except sqlite3.Error as error:
        unfinished.unlink(missing_ok=True)
        path.unlink()
        raise ConfigError(f"the chain's file {path} cannot be written: {error}") from error
    unfinished.replace(path)


def _write(path: Path, genesis: Genesis) -> None:
    """The whole file; closing it folds SQLite's write-ahead log in, so that it can be moved."""
    held = genesis.held_at is not None
    clock = Clock(genesis.seed, genesis.block_time_s, genesis.held_at or 0, time.time(), held)
    chain = ChainRow(genesis.netuid, clock, sealed=clock.start_block - int(held))
    with closing(lay_out(path, chain)) as storage, storage.writing():
        _write_state(View(storage, 0), genesis)


def _write_state(state: View, genesis: Genesis) -> None:
    subnet = Subnet(state, genesis.netuid)
    for item, value in _hyperparameters(genesis).items():
        subnet.put(item, value)
    state.put(PALLET, "StakeThreshold", value=genesis.min_stake_rao)
    state.put(PALLET, "SubnetOwnerCut", value=11796)  # 18%, subtensor's default
    state.put(PALLET, "TotalNetworks", value=1)
    state.put("Commitments", "MaxSpace", value=genesis.commitment_budget_bytes)
    for address, rao in genesis.balances_rao.items():
        accounts.change_free(state, address, rao)
    for uid, neuron in enumerate(genesis.neurons):
        subnet.seat(uid, neuron.hotkey)
        subnet.pair(neuron.hotkey, neuron.coldkey)
        subnet.add_stake(neuron.hotkey, neuron.stake_rao)
    if subnet.owner_of(genesis.owner_hotkey) is None:
        subnet.pair(genesis.owner_hotkey, genesis.owner_coldkey)
    # Without this the first validator could set no weights before the first epoch's end.
    stakes = [neuron.stake_rao for neuron in genesis.neurons]
    subnet.put("ValidatorPermit", permits(stakes, genesis.min_stake_rao, genesis.max_validators))


def _hyperparameters(genesis: Genesis) -> dict[str, Any]:
    """The subnet's storage items. What genesis does not set has subtensor's default, or is off."""
    start = genesis.held_at or 0
    return {
        "NetworksAdded": True,
        "NetworkRegisteredAt": 0,
        "FirstEmissionBlockNumber": 0,
        "SubtokenEnabled": True,
        "NetworkRegistrationAllowed": True,
        "NetworkPowRegistrationAllowed": False,
        "SubnetOwner": genesis.owner_coldkey,
        "SubnetOwnerHotkey": genesis.owner_hotkey,
        "TokenSymbol": "0x" + "α".encode().hex(),
        "SubnetEpochConsensus": "Yuma",
        "MechanismCountCurrent": 1,
        "Tempo": genesis.tempo,
        "LastEpochBlock": start,
        "LastMechansimStepBlock": start,
        "WeightsSetRateLimit": genesis.weights_rate_limit,
        "WeightsVersionKey": genesis.weights_version,
        "MinAllowedWeights": genesis.min_allowed_weights,
        "MaxWeightsLimit": genesis.max_weight,
        "MaxAllowedValidators": genesis.max_validators,
        "MaxAllowedUids": genesis.max_uids,
        "ImmunityPeriod": genesis.immunity_period,
        "Burn": genesis.registration_cost_rao,
        "MinBurn": genesis.registration_cost_rao,
        "MaxBurn": genesis.registration_cost_rao,
        "CommitRevealWeightsEnabled": genesis.commit_reveal,
        "RevealPeriodEpochs": 1,
        "ActivityCutoff": 5000,
        "Rho": 10,
        "Kappa": 32767,
        "BondsMovingAverage": 900_000,
        "BondsPenalty": U16_MAX,
        "LiquidAlphaOn": False,
        "ServingRateLimit": 50,
        "Difficulty": 0,
        "SubnetEmissionEnabled": True,
    }


def _require(holds: bool, name: str, bound: str) -> None:
    if not holds:
        raise ConfigError(f"an embedded chain's {name} must be {bound}")
