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
    require(not subnet.number("CommitRevealWeightsEnabled"), "CommitRevealEnabled")
    version_key = arguments["version_key"]
    return put_weights(subnet, hotkey, arguments["dests"], arguments["weights"], version_key)


def put_weights(
    subnet: Subnet, hotkey: str, uids: list[int], values: list[int], version_key: int
) -> list[Event]:
    """Replace the hotkey's row. With commit-reveal on its pace was that of its sealed weights.

    Raises: CallFailed with the pallet's error name.
    """
    require(len(uids) == len(values), "WeightVecNotEqualSize")
    require(subnet.exists(), "MechanismDoesNotExist")
    require(len(uids) <= subnet.size(), "UidsLengthExceedUidsInSubNet")
    uid = require_staked(subnet, hotkey)
    # A subnet that names no version takes every one; a newer caller than asked for is welcome.
    require(version_key >= subnet.number("WeightsVersionKey"), "IncorrectWeightVersionKey")
    sealed_before = bool(subnet.number("CommitRevealWeightsEnabled"))
    if not sealed_before:
        require_pace(subnet, uid, "SettingWeightsTooFast")
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
    if not sealed_before:
        subnet.put_element("LastUpdate", uid, subnet.state.block)
    return [(PALLET, "WeightsSet", {"netuid": subnet.netuid, "uid": uid})]


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
