"""Balances and nonces: the System pallet's account records, in rao."""

from __future__ import annotations

from typing import Any

from boltzmann.chain.embedded.storage import View

RAO_PER_TAO = 10**9
EXISTENTIAL_DEPOSIT_RAO = 500  # finney's Balances.ExistentialDeposit


def record(state: View, address: str) -> dict[str, Any]:
    """The account's record; an address never seen has an empty one, as on the real chain."""
    stored = state.get("System", "Account", address)
    if stored is not None:
        return dict(stored)
    return {
        "nonce": 0,
        "consumers": 0,
        "providers": 0,
        "sufficients": 0,
        "data": {"free": 0, "reserved": 0, "frozen": 0, "flags": 0},
    }


def nonce(state: View, address: str) -> int:
    return int(record(state, address)["nonce"])


def count_extrinsic(state: View, address: str) -> None:
    account = record(state, address)
    account["nonce"] += 1
    state.put("System", "Account", address, value=account)


def free_rao(state: View, address: str) -> int:
    return int(record(state, address)["data"]["free"])


def spendable_rao(state: View, address: str) -> int:
    """What may leave the account without closing it."""
    return max(0, free_rao(state, address) - EXISTENTIAL_DEPOSIT_RAO)


def change_free(state: View, address: str, rao: int) -> None:
    """Add `rao` (negative: take) to the free balance; the caller has checked that it is there."""
    account = record(state, address)
    account["data"]["free"] += rao
    account["providers"] = 1
    state.put("System", "Account", address, value=account)
