"""Runtime API calls: the embedded chain's own, and what btcli asks for beside them.

What is left out of an answer is zero in it (see `rpc_types`): calls cost no fees, there are no
pools, and nobody is a delegate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from boltzmann.chain.embedded import views
from boltzmann.chain.embedded.accounts import RAO_PER_TAO
from boltzmann.chain.embedded.storage import View
from boltzmann.chain.embedded.subnet import PALLET, Subnet

RuntimeApi = Callable[[View, Sequence[Any]], Any]


def _netuids(state: View) -> list[int]:
    return [int(key[0]) for key, added in state.entries(PALLET, "NetworksAdded") if added]


def _nothing(state: View, arguments: Sequence[Any]) -> Any:
    return None


def _prices(state: View, arguments: Sequence[Any]) -> Any:
    return [{"netuid": netuid, "price": RAO_PER_TAO} for netuid in _netuids(state)]


def _stakes(state: View, arguments: Sequence[Any]) -> Any:
    """What a coldkey's hotkeys have at stake."""
    (coldkey,) = arguments
    rows = []
    for hotkey in state.get(PALLET, "OwnedHotkeys", coldkey) or []:
        for netuid in _netuids(state):
            subnet = Subnet(state, netuid)
            row = {"hotkey": hotkey, "coldkey": coldkey, "netuid": netuid}
            row["stake"] = subnet.stake_rao(hotkey)
            row["is_registered"] = subnet.uid_of(hotkey) is not None
            rows.append(row)
    return rows


RUNTIME_APIS: Mapping[tuple[str, str], RuntimeApi] = {
    **views.RUNTIME_APIS,
    ("TransactionPaymentApi", "query_info"): _nothing,
    ("BetaBasketRuntimeApi", "get_root_basket_owed"): _nothing,
    ("BetaBasketRuntimeApi", "get_root_basket_positions"): _nothing,
    ("SwapRuntimeApi", "current_alpha_price_all"): _prices,
    ("StakeInfoRuntimeApi", "get_stake_info_for_coldkey"): _stakes,
}
