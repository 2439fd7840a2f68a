"""Weights that are sealed until a drand round, on a subnet with commit-reveal on.

The checks are those of subtensor's commit_timelocked_weights. The chain opens them in the epoch
that lies RevealPeriodEpochs after their commit's, as soon as it has the beacon's signature of their
round (its reveal_crv3_commits): at once if it comes within that epoch, before Yuma consensus if it
was there. What another than its sender sealed is dropped then, and what nothing has opened when its
epoch is over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import bittensor_core
from bittensor.sp_core import ss58_decode

from boltzmann.chain.embedded.rules import CallFailed, Event, require
from boltzmann.chain.embedded.storage import View
from boltzmann.chain.embedded.subnet import PALLET, Subnet
from boltzmann.chain.embedded.weights import put_weights, require_pace, require_staked
from boltzmann.protocol.chainview import epoch_index

MOST_BYTES = 5000
VERSION = 4  # of the sealed format; the SDK's own
MOST_UNREVEALED = 10
_COMMITS = "TimelockedWeightCommits"
_BEACON = "Drand"


def commit_mechanism_weights(state: View, hotkey: str, arguments: Mapping[str, Any]) -> list[Event]:
    """SubtensorModule.commit_timelocked_mechanism_weights; the subnet has the one mechanism 0."""
    require(arguments["mecid"] == 0, "MechanismDoesNotExist")
    return commit_weights(state, hotkey, arguments)


def commit_weights(state: View, hotkey: str, arguments: Mapping[str, Any]) -> list[Event]:
    """SubtensorModule.commit_timelocked_weights: keep the caller's sealed weights.

    Raises: CallFailed with the pallet's error name.
    """
    subnet = Subnet(state, arguments["netuid"])
    commit, reveal_round = arguments["commit"], arguments["reveal_round"]
    require(subnet.exists(), "MechanismDoesNotExist")
    require(bool(subnet.number("CommitRevealWeightsEnabled")), "CommitRevealDisabled")
    require(arguments["commit_reveal_version"] == VERSION, "IncorrectCommitRevealVersion")
    uid = require_staked(subnet, hotkey)
    require_pace(subnet, uid, "CommittingWeightsTooFast")
    epoch = epoch_index(state.block, subnet.netuid, subnet.number("Tempo"))
    open_since = epoch - subnet.number("RevealPeriodEpochs")  # older ones could be opened no more
    sealed = [
        row
        for key, rows in state.entries(PALLET, _COMMITS, subnet.netuid)
        for row in rows
        if key[1] >= open_since and row[0] == hotkey
    ]
    require(len(sealed) < MOST_UNREVEALED, "TooManyUnrevealedCommits")
    before = state.get(PALLET, _COMMITS, subnet.netuid, epoch) or []
    row = [hotkey, state.block, commit, reveal_round]
    state.put(PALLET, _COMMITS, subnet.netuid, epoch, value=[*before, row])
    subnet.put_element("LastUpdate", uid, state.block)
    digest = hashlib.blake2b(bytes.fromhex(commit[2:]), digest_size=32).hexdigest()
    attributes = {
        "who": hotkey,
        "netuid": subnet.netuid,
        "hash": "0x" + digest,
        "round": reveal_round,
    }
    return [(PALLET, "TimelockedWeightsCommitted", attributes)]


def write_pulse(state: View, netuid: int, round_number: int, signature: str) -> None:
    """Drand.write_pulse: keep the beacon's signature (hex) of a round, and open what waits for it.

    It is not checked against the beacon's key: a wrong one opens nothing.
    """
    pulse = {"round": round_number, "signature": signature}
    state.put(_BEACON, "Pulses", round_number, value=pulse)
    open_due(state, netuid)


def open_due(state: View, netuid: int) -> None:
    """Open the weights whose epoch it is and whose round the beacon has signed; drop older ones."""
    subnet = Subnet(state, netuid)
    epoch = epoch_index(state.block, netuid, subnet.number("Tempo"))
    due = epoch - subnet.number("RevealPeriodEpochs")
    for (_, committed), rows in state.entries(PALLET, _COMMITS, netuid):
        if committed < due:
            state.put(PALLET, _COMMITS, netuid, committed, value=None)
        elif committed == due:
            closed = [row for row in rows if not _opened(subnet, row)]
            state.put(PALLET, _COMMITS, netuid, committed, value=closed or None)


def _opened(subnet: Subnet, row: list[Any]) -> bool:
    """Whether a commit is done with: its weights are set, or they never can be."""
    hotkey, _, commit, reveal_round = row
    pulse = subnet.state.get(_BEACON, "Pulses", reveal_round)
    if pulse is None:
        return False
    sealed = bytes.fromhex(commit[2:])
    # The SDK's own framing of a ciphertext: its length and bytes, then the round.
    framed = _compact(len(sealed)) + sealed + reveal_round.to_bytes(8, "little")
    try:
        payload = bittensor_core.decrypt_with_signature(framed, pulse["signature"])
    except ValueError:
        return False  # not sealed to this round, or not the beacon's signature
    try:
        sender, uids, values, version = _payload(payload)
        if sender == ss58_decode(hotkey):
            put_weights(subnet, hotkey, uids, values, version)
    except (ValueError, CallFailed):
        pass  # no weights, or not what the subnet takes: the real chain drops them too
    return True


def _payload(data: bytes) -> tuple[bytes, list[int], list[int], int]:
    """(public key, uids, values, version key) of SCALE's WeightsTlockPayload.

    Raises: ValueError.
    """
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        if at > len(data):
            raise ValueError(f"the payload ends after {len(data)} bytes, not {at}")
        return data[at - count : at]

    def vector(width: int) -> list[int]:
        first = take(1)
        length = int.from_bytes(first + take((1 << (first[0] & 3)) - 1), "little") >> 2
        items = take(length * width)
        return [int.from_bytes(items[i : i + width], "little") for i in range(0, len(items), width)]

    return bytes(vector(1)), vector(2), vector(2), int.from_bytes(take(8), "little")


def _compact(number: int) -> bytes:
    """SCALE's compact form of a number from 64 to 16383: MOST_BYTES is below."""
    return (number << 2 | 1).to_bytes(2, "little")
