"""Getting a uid: pay the registration's price, take a free slot or the least paid one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boltzmann.chain.embedded import accounts, commitments
from boltzmann.chain.embedded.rules import CallFailed, Event, require
from boltzmann.chain.embedded.storage import View
from boltzmann.chain.embedded.subnet import PALLET, Subnet


def burned_register(state: View, coldkey: str, arguments: Mapping[str, Any]) -> list[Event]:
    """SubtensorModule.burned_register: the caller pays the price, its hotkey gets a uid.

    The price stays as genesis set it; on the real chain it rises with demand and decays.
    Raises: CallFailed with the pallet's error name.
    """
    subnet = Subnet(state, arguments["netuid"])
    hotkey: str = arguments["hotkey"]
    require(subnet.netuid != 0, "RegistrationNotPermittedOnRootSubnet")
    require(subnet.exists(), "SubnetNotExists")
    require(subnet.uid_of(hotkey) is None, "HotKeyAlreadyRegisteredInSubNet")
    price = subnet.number("Burn")
    require(accounts.spendable_rao(state, coldkey) >= price, "NotEnoughBalanceToStake")
    if subnet.owner_of(hotkey) is None:
        subnet.pair(hotkey, coldkey)
    require(subnet.owner_of(hotkey) == coldkey, "NonAssociatedColdKey")
    uid = _slot(subnet)
    accounts.change_free(state, coldkey, -price)
    recycled = subnet.number("RAORecycledForRegistration") + price
    subnet.put("RAORecycledForRegistration", recycled)
    subnet.seat(uid, hotkey)
    attributes = {"netuid": subnet.netuid, "uid": uid, "hotkey": hotkey}
    return [(PALLET, "NeuronRegistered", attributes)]


def _slot(subnet: Subnet) -> int:
    """The next free uid, or that of the neuron that has to go, cleared."""
    if subnet.size() < subnet.number("MaxAllowedUids"):
        return subnet.size()
    uid = _least_paid(subnet)
    if uid is None:
        raise CallFailed(PALLET, "NoNeuronIdAvailable")
    _clear(subnet, uid)
    return uid


def _least_paid(subnet: Subnet) -> int | None:
    """Subtensor's get_neuron_to_prune: least emission, then oldest, then lowest uid.

    Neurons outside their immunity period go first; the owner's own hotkey never goes.
    """
    emission = subnet.vector("Emission")
    registered_at = subnet.registered_at()
    immunity = subnet.number("ImmunityPeriod")
    owner_hotkey = subnet.text("SubnetOwnerHotkey")
    candidates = [
        (subnet.state.block - registered_at[uid] < immunity, emission[uid], registered_at[uid], uid)
        for uid, hotkey in enumerate(subnet.hotkeys())
        if hotkey != owner_hotkey
    ]
    return min(candidates)[3] if candidates else None


def _clear(subnet: Subnet, uid: int) -> None:
    """Remove the neuron at `uid`: its membership, its commitment, all weights by and for it."""
    hotkey = subnet.hotkeys()[uid]
    commitments.purge(subnet.state, subnet.netuid, hotkey)
    subnet.state.put(PALLET, "Uids", subnet.netuid, hotkey, value=None)
    subnet.state.put(PALLET, "IsNetworkMember", hotkey, subnet.netuid, value=None)
    subnet.put_row("Weights", uid, None)
    subnet.put_row("Bonds", uid, None)
    for by, row in subnet.rows("Weights").items():
        if any(to == uid for to, _ in row):
            subnet.put_row("Weights", by, [(to, 0 if to == uid else v) for to, v in row])
