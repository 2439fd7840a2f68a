"""The Commitments pallet: one small public record for each hotkey, with a byte budget an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boltzmann.chain.embedded.rules import Event, require
from boltzmann.chain.embedded.storage import View
from boltzmann.chain.embedded.subnet import Subnet
from boltzmann.protocol.budget import MIN_CHARGE_BYTES
from boltzmann.protocol.chainview import epoch_index

PALLET = "Commitments"
MAX_FIELDS = 3
MAX_FIELD_BYTES = 128


def set_commitment(state: View, hotkey: str, arguments: Mapping[str, Any]) -> list[Event]:
    """Commitments.set_commitment: replace the caller's record by up to three Raw fields.

    Raises: CallFailed with the pallet's error name.
    """
    netuid = arguments["netuid"]
    fields: list[dict[str, str]] = arguments["info"]["fields"]
    subnet = Subnet(state, netuid)
    allowed = subnet.exists() and subnet.uid_of(hotkey) is not None
    require(allowed, "AccountNotAllowedCommit", PALLET)
    require(len(fields) <= MAX_FIELDS, "TooManyFieldsInCommitmentInfo", PALLET)
    _charge(state, subnet, hotkey, sum(map(_field_bytes, fields)))
    state.put(
        PALLET,
        "CommitmentOf",
        netuid,
        hotkey,
        value={"deposit": 0, "block": state.block, "info": {"fields": fields}},
    )
    state.put(PALLET, "LastCommitment", netuid, hotkey, value=state.block)
    return [(PALLET, "Commitment", {"netuid": netuid, "who": hotkey})]


def purge(state: View, netuid: int, hotkey: str) -> None:
    """Remove what a hotkey that lost its uid had committed."""
    for item in ("CommitmentOf", "LastCommitment", "UsedSpaceOf"):
        state.put(PALLET, item, netuid, hotkey, value=None)


def _charge(state: View, subnet: Subnet, hotkey: str, size: int) -> None:
    epoch = epoch_index(state.block, subnet.netuid, subnet.number("Tempo"))
    usage = state.get(PALLET, "UsedSpaceOf", subnet.netuid, hotkey)
    used = int(usage["used_space"]) if usage and usage["last_epoch"] == epoch else 0
    used += max(MIN_CHARGE_BYTES, size)
    budget = int(state.get(PALLET, "MaxSpace") or 0)
    require(used <= budget, "SpaceLimitExceeded", PALLET)
    state.put(
        PALLET,
        "UsedSpaceOf",
        subnet.netuid,
        hotkey,
        value={"last_epoch": epoch, "used_space": used},
    )


def _field_bytes(field: dict[str, str]) -> int:
    return sum((len(text) - len("0x")) // 2 for text in field.values())
