"""Staking: tao becomes the subnet's alpha at a fixed price of one; there is no pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boltzmann.chain.embedded import accounts
from boltzmann.chain.embedded.rules import Event, require
from boltzmann.chain.embedded.storage import View
from boltzmann.chain.embedded.subnet import PALLET, Subnet

MIN_STAKE_RAO = 2_000_000  # subtensor's DefaultMinStake


def add_stake(state: View, coldkey: str, arguments: Mapping[str, Any]) -> list[Event]:
    """SubtensorModule.add_stake: move the caller's balance into a hotkey's stake.

    Raises: CallFailed with the pallet's error name.
    """
    subnet = Subnet(state, arguments["netuid"])
    hotkey: str = arguments["hotkey"]
    rao: int = arguments["amount_staked"]
    require(subnet.exists(), "SubnetNotExists")
    require(rao >= MIN_STAKE_RAO, "AmountTooLow")
    require(accounts.spendable_rao(state, coldkey) >= rao, "NotEnoughBalanceToStake")
    require(subnet.owner_of(hotkey) is not None, "HotKeyAccountNotExists")
    accounts.change_free(state, coldkey, -rao)
    subnet.add_stake(hotkey, rao)
    attributes = {"coldkey": coldkey, "hotkey": hotkey, "tao": rao, "netuid": subnet.netuid}
    return [(PALLET, "StakeAdded", attributes)]
