"""Reads that are more than one stored value: derived items, constants and runtime API calls.

Names and shapes are those that the bittensor SDK decodes from a real runtime. What the embedded
chain has no notion of (pools, proof of work, root) is zero, as on a subnet that does not use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from boltzmann.chain.embedded import accounts, commitments
from boltzmann.chain.embedded.accounts import RAO_PER_TAO
from boltzmann.chain.embedded.clock import Clock
from boltzmann.chain.embedded.storage import View
from boltzmann.chain.embedded.subnet import PALLET, Subnet, next_epoch_end
from boltzmann.protocol.chainview import epoch_index

# Metagraph field -> storage item, for what is one number of the subnet.
_NUMBERS = {
    "network_registered_at": "NetworkRegisteredAt",
    "tempo": "Tempo",
    "last_step": "LastMechansimStepBlock",
    "rho": "Rho",
    "kappa": "Kappa",
    "min_allowed_weights": "MinAllowedWeights",
    "max_weights_limit": "MaxWeightsLimit",
    "weights_version": "WeightsVersionKey",
    "weights_rate_limit": "WeightsSetRateLimit",
    "activity_cutoff": "ActivityCutoff",
    "max_validators": "MaxAllowedValidators",
    "num_uids": "SubnetworkN",
    "max_uids": "MaxAllowedUids",
    "burn": "Burn",
    "min_burn": "MinBurn",
    "max_burn": "MaxBurn",
    "immunity_period": "ImmunityPeriod",
    "serving_rate_limit": "ServingRateLimit",
    "commit_reveal_period": "RevealPeriodEpochs",
    "bonds_moving_avg": "BondsMovingAverage",
}
_FLAGS = {
    "registration_allowed": "NetworkRegistrationAllowed",
    "pow_registration_allowed": "NetworkPowRegistrationAllowed",
    "commit_reveal_weights_enabled": "CommitRevealWeightsEnabled",
    "liquid_alpha_enabled": "LiquidAlphaOn",
}
# Metagraph field -> storage item, for what is one value for each uid.
_VECTORS = {
    "active": "Active",
    "validator_permit": "ValidatorPermit",
    "last_update": "LastUpdate",
    "emission": "Emission",
    "dividends": "Dividends",
    "incentives": "Incentive",
    "consensus": "Consensus",
}
# What a subnet without a pool, proof of work or root has.
_ZEROS = (
    "subnet_emission",
    "alpha_in",
    "alpha_out",
    "tao_in",
    "alpha_out_emission",
    "alpha_in_emission",
    "tao_in_emission",
    "pending_alpha_emission",
    "pending_root_emission",
    "subnet_volume",
    "difficulty",
    "min_difficulty",
    "max_difficulty",
    "adjustment_alpha",
    "adjustment_interval",
    "target_regs_per_interval",
    "max_regs_per_block",
    "alpha_high",
    "alpha_low",
)
_ONE_I96F32 = 1 << 32  # 1.0 in the fixed point format of moving_price


def constant(module: str, name: str, clock: Clock) -> Any:
    """A pallet's constant. Raises: KeyError for one the embedded runtime does not have."""
    constants: dict[tuple[str, str], Any] = {
        ("Aura", "SlotDuration"): round(clock.block_time_s * 1000),
        ("Balances", "ExistentialDeposit"): accounts.EXISTENTIAL_DEPOSIT_RAO,
        ("Commitments", "MaxFields"): commitments.MAX_FIELDS,
        ("SubtensorModule", "InitialStartCallDelay"): 0,
        ("System", "SS58Prefix"): 42,
    }
    return constants[module, name]


def item(state: View, clock: Clock, module: str, name: str, key: Sequence[Any]) -> Any:
    """A storage item's value: a derived one, the stored one, or None."""
    derived = _DERIVED.get((module, name))
    return state.get(module, name, *key) if derived is None else derived(state, clock, key)


def _blocks_since_last_step(state: View, clock: Clock, key: Sequence[Any]) -> int:
    return _since_last_step(Subnet(state, key[0]))


def _since_last_step(subnet: Subnet) -> int:
    # The real chain counts this up in every block; here an empty block writes nothing. A chain that
    # was created held has blocks before its beginning, from which its first epoch counts.
    return max(0, subnet.state.block - subnet.number("LastEpochBlock"))


def _epoch_index(state: View, clock: Clock, key: Sequence[Any]) -> int:
    return epoch_index(state.block, key[0], Subnet(state, key[0]).number("Tempo"))


_DERIVED: Mapping[tuple[str, str], Callable[[View, Clock, Sequence[Any]], Any]] = {
    ("System", "Account"): lambda state, clock, key: accounts.record(state, key[0]),
    ("System", "Number"): lambda state, clock, key: state.block,
    ("System", "ParentHash"): lambda state, clock, key: clock.hash(state.block - 1),
    ("Timestamp", "Now"): lambda state, clock, key: int(clock.begins(state.block) * 1000),
    (PALLET, "BlocksSinceLastStep"): _blocks_since_last_step,
    (PALLET, "SubnetEpochIndex"): _epoch_index,
}


def metagraph(state: View, netuid: int) -> dict[str, Any] | None:
    """SubnetInfoRuntimeApi.get_metagraph; None where there is no such subnet."""
    subnet = Subnet(state, netuid)
    if not subnet.exists():
        return None
    hotkeys = subnet.hotkeys()
    stakes = [subnet.stake_rao(hotkey) for hotkey in hotkeys]
    zeros = [0] * len(hotkeys)
    return {
        "netuid": netuid,
        "name": list(b"embedded"),
        "symbol": list("α".encode()),
        "identity": None,
        "owner_hotkey": subnet.text("SubnetOwnerHotkey"),
        "owner_coldkey": subnet.text("SubnetOwner"),
        "block": state.block,
        "blocks_since_last_step": _since_last_step(subnet),
        "moving_price": {"bits": _ONE_I96F32},
        **{field: subnet.number(name) for field, name in _NUMBERS.items()},
        **{field: bool(subnet.number(name)) for field, name in _FLAGS.items()},
        **{field: subnet.vector(name) for field, name in _VECTORS.items()},
        **dict.fromkeys(_ZEROS, 0),
        "hotkeys": hotkeys,
        "coldkeys": [subnet.owner_of(hotkey) for hotkey in hotkeys],
        "identities": [None] * len(hotkeys),
        "axons": [None] * len(hotkeys),
        "block_at_registration": subnet.registered_at(),
        "pruning_score": zeros,  # neurons are pruned by emission; the runtime keeps no score
        "trust": zeros,  # nor these two
        "rank": zeros,
        "alpha_stake": stakes,
        "tao_stake": zeros,
        "total_stake": stakes,
        "tao_dividends_per_hotkey": [],
        "alpha_dividends_per_hotkey": [],
        "collateral_locked": zeros,
        "collateral_min": zeros,
        "collateral_earned": zeros,
    }


def neurons(state: View, netuid: int, *, lite: bool) -> list[dict[str, Any]]:
    """NeuronInfoRuntimeApi.get_neurons_lite, or get_neurons with each one's weights and bonds."""
    graph = metagraph(state, netuid)
    if graph is None:
        return []
    subnet = Subnet(state, netuid)
    weights, bonds = ({}, {}) if lite else (subnet.rows("Weights"), subnet.rows("Bonds"))
    trust = subnet.vector("ValidatorTrust")
    columns = ("active", "last_update", "emission", "dividends", "consensus", "trust", "rank")
    return [
        {
            "uid": uid,
            "netuid": netuid,
            "hotkey": hotkey,
            "coldkey": graph["coldkeys"][uid],
            "stake": [(graph["coldkeys"][uid], graph["alpha_stake"][uid])],
            "incentive": graph["incentives"][uid],
            "validator_permit": graph["validator_permit"][uid],
            "validator_trust": trust[uid],
            "pruning_score": 0,
            "axon_info": None,
            "prometheus_info": None,
            **{name: graph[name][uid] for name in columns},
            **({} if lite else {"weights": weights.get(uid, []), "bonds": bonds.get(uid, [])}),
        }
        for uid, hotkey in enumerate(graph["hotkeys"])
    ]


def hyperparameters(state: View, netuid: int) -> list[dict[str, Any]] | None:
    """SubnetInfoRuntimeApi.get_subnet_hyperparams_v3; None where there is no such subnet."""
    subnet = Subnet(state, netuid)
    if not subnet.exists():
        return None
    not_parameters = ("network_registered_at", "last_step", "num_uids", "burn")
    numbers = [
        {"name": field, "value": {"U64": subnet.number(name)}}
        for field, name in _NUMBERS.items()
        if field not in not_parameters
    ]
    flags = [
        {"name": field, "value": {"Bool": bool(subnet.number(name))}}
        for field, name in _FLAGS.items()
    ]
    return [*numbers, *flags]


def next_epoch_start(state: View, netuid: int) -> int | None:
    """SubnetInfoRuntimeApi.get_next_epoch_start_block."""
    subnet = Subnet(state, netuid)
    if not subnet.exists():
        return None
    return next_epoch_end(state.block, netuid, subnet.number("Tempo"))


RUNTIME_APIS: Mapping[tuple[str, str], Callable[[View, Sequence[Any]], Any]] = {
    ("SubnetInfoRuntimeApi", "get_metagraph"): lambda s, p: metagraph(s, p[0]),
    ("SubnetInfoRuntimeApi", "get_subnet_hyperparams_v3"): lambda s, p: hyperparameters(s, p[0]),
    ("SubnetInfoRuntimeApi", "get_next_epoch_start_block"): lambda s, p: next_epoch_start(s, p[0]),
    ("NeuronInfoRuntimeApi", "get_neurons_lite"): lambda s, p: neurons(s, p[0], lite=True),
    ("NeuronInfoRuntimeApi", "get_neurons"): lambda s, p: neurons(s, p[0], lite=False),
    ("SwapRuntimeApi", "current_alpha_price"): lambda s, p: RAO_PER_TAO,
}
