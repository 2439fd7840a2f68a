"""The runtime: which calls there are, and what happens when a block ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from boltzmann.chain.embedded import epoch
from boltzmann.chain.embedded.arguments import (
    BadArgument,
    Encode,
    address,
    byte_string,
    commitment_info,
    unsigned,
    vector_of,
)
from boltzmann.chain.embedded.commitments import set_commitment
from boltzmann.chain.embedded.registration import burned_register
from boltzmann.chain.embedded.rules import CallFailed, Event
from boltzmann.chain.embedded.staking import add_stake
from boltzmann.chain.embedded.storage import View
from boltzmann.chain.embedded.subnet import PALLET
from boltzmann.chain.embedded.timelocked import (
    MOST_BYTES,
    commit_mechanism_weights,
    commit_weights,
    open_due,
)
from boltzmann.chain.embedded.weights import set_mechanism_weights, set_weights

_U8, _U16, _U64 = unsigned(8), unsigned(16), unsigned(64)
_WEIGHTS: dict[str, Encode] = {
    "netuid": _U16,
    "dests": vector_of(_U16),
    "weights": vector_of(_U16),
    "version_key": _U64,
}
_COMMIT: dict[str, Encode] = {
    "netuid": _U16,
    "commit": byte_string(MOST_BYTES),
    "reveal_round": _U64,
    "commit_reveal_version": _U16,
}


@dataclass(frozen=True)
class CallType:
    """A call's arguments, in the runtime's order, and what it does to the state."""

    arguments: Mapping[str, Encode]
    dispatch: Callable[[View, str, Mapping[str, Any]], list[Event]]


Calls = Mapping[tuple[str, str], CallType]
CALLS: Calls = {
    (PALLET, "set_weights"): CallType(_WEIGHTS, set_weights),
    (PALLET, "set_mechanism_weights"): CallType({**_WEIGHTS, "mecid": _U8}, set_mechanism_weights),
    (PALLET, "commit_timelocked_weights"): CallType(_COMMIT, commit_weights),
    (PALLET, "commit_timelocked_mechanism_weights"): CallType(
        {**_COMMIT, "mecid": _U8}, commit_mechanism_weights
    ),
    (PALLET, "burned_register"): CallType({"netuid": _U16, "hotkey": address}, burned_register),
    (PALLET, "add_stake"): CallType(
        {"hotkey": address, "netuid": _U16, "amount_staked": _U64}, add_stake
    ),
    ("Commitments", "set_commitment"): CallType(
        {"netuid": _U16, "info": commitment_info}, set_commitment
    ),
}


@dataclass(frozen=True)
class Call:
    """A composed call: its arguments are canonical JSON values."""

    module: str
    function: str
    params: Mapping[str, Any]


def compose(module: str, function: str, params: Mapping[str, Any]) -> Call:
    """Check a call against the runtime and encode its arguments.

    Raises: KeyError when the runtime has no such call, BadArgument for arguments it cannot encode.
    """
    kind = CALLS[module, function]
    if set(params) != set(kind.arguments):
        raise BadArgument(
            f"{module}.{function} takes {', '.join(kind.arguments)}; given were"
            f" {', '.join(params) or 'none'}"
        )
    encoded = {name: encode(params[name]) for name, encode in kind.arguments.items()}
    return Call(module, function, encoded)


def dispatch(state: View, signer: str, call: Call, calls: Calls) -> list[Event]:
    """Carry out a composed call in `state.block`. Raises: CallFailed."""
    kind = calls.get((call.module, call.function))
    if kind is None:  # a call of the real runtime that came by another way than `compose`
        raise CallFailed("System", "CallFiltered")
    return kind.dispatch(state, signer, call.params)


def end_epoch(state: View, netuid: int) -> None:
    """What the end of a block does when it is the last of an epoch; other blocks do nothing."""
    open_due(state, netuid)
    epoch.run(state, netuid)
