"""Setting weights: the checks of subtensor's do_set_weights, in its order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boltzmann.chain.embedded.rules import CallFailed, Event, require
from boltzmann.chain.embedded.storage import View
from boltzmann.chain.embedded.subnet import PALLET, U16_MAX, Subnet


def set_mechanism_weights(state: View, hotkey: str, arguments: Mapping[str, Any]) -> list[Event]:
    """SubtensorModule.set_mechanism_weights; the subnet has the one mechanism 0."""
    require(arguments["mecid"] == 0, "MechanismDoesNotExist")
    return set_weights(state, hotkey, arguments)


def set_weights(state: View, hotkey: str, arguments: Mapping[str, Any]) -> list[Event]:
    """SubtensorModule.set_weights: replace the caller's row of relative u16 weights.

    Raises: CallFailed with the pallet's error name.
    """
    subnet = Subnet(state, arguments["netuid"])
    uids: list[int] = arguments["dests"]
    values: list[int] = arguments["weights"]
    require(not subnet.number("CommitRevealWeightsEnabled"), "CommitRevealEnabled")
    require(len(uids) == len(values), "WeightVecNotEqualSize")
    require(subnet.exists(), "MechanismDoesNotExist")
    require(len(uids) <= subnet.size(), "UidsLengthExceedUidsInSubNet")
    uid = _require_caller(subnet, hotkey, arguments["version_key"])
    on_self_only = uids == [uid]
    require(on_self_only or bool(subnet.vector("ValidatorPermit")[uid]), "NeuronNoValidatorPermit")
    require(len(set(uids)) == len(uids), "DuplicateUids")
    require(all(to < subnet.size() for to in uids), "UidVecContainInvalidOne")
    fewest = min(subnet.number("MinAllowedWeights"), subnet.size())
    require(on_self_only or len(uids) >= fewest, "WeightVecLengthIsLow")
    limit = subnet.number("MaxWeightsLimit")
    largest = max(values, default=0)
    require(on_self_only or largest * U16_MAX <= limit * sum(values), "MaxWeightExceeded")
    subnet.put_row("Weights", uid, list(zip(uids, _upscaled(values), strict=True)))
    subnet.put_element("LastUpdate", uid, state.block)
    return [(PALLET, "WeightsSet", {"netuid": subnet.netuid, "uid": uid})]


def _require_caller(subnet: Subnet, hotkey: str, version_key: int) -> int:
    """The caller's uid, once it is registered, staked, up to date and not too fast."""
    uid = require_staked(subnet, hotkey)
    # A subnet that names no version takes every one; a newer caller than asked for is welcome.
    require(version_key >= subnet.number("WeightsVersionKey"), "IncorrectWeightVersionKey")
    require_pace(subnet, uid, "SettingWeightsTooFast")
    return uid


def require_staked(subnet: Subnet, hotkey: str) -> int:
    """The hotkey's uid. Raises: CallFailed when it is not registered, or has not enough stake."""
    uid = subnet.uid_of(hotkey)
    if uid is None:
        raise CallFailed(PALLET, "HotKeyNotRegisteredInSubNet")
    require(subnet.stake_rao(hotkey) >= subnet.stake_threshold_rao(), "NotEnoughStakeToSetWeights")
    return uid


def require_pace(subnet: Subnet, uid: int, otherwise: str) -> None:
    """Raises: CallFailed `otherwise`, when the uid's last weights are too few blocks ago."""
    last_update = int(subnet.vector("LastUpdate")[uid])
    since = subnet.state.block - last_update
    require(last_update == 0 or since >= subnet.number("WeightsSetRateLimit"), otherwise)


def _upscaled(values: list[int]) -> list[int]:
    """Scaled so that the largest weight is the largest u16, rounded to nearest."""
    largest = max(values, default=0)
    if largest == 0:
        return values
    return [(2 * value * U16_MAX + largest) // (2 * largest) for value in values]
