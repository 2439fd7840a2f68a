"""Weights that are sealed until a drand round, on a subnet with commit-reveal on.

The checks are those of subtensor's commit_timelocked_weights. What is committed stays sealed: the
real chain opens it with the beacon's signature of that round, and here there is no beacon.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from boltzmann.chain.embedded.rules import Event, require
from boltzmann.chain.embedded.storage import View
from boltzmann.chain.embedded.subnet import PALLET, Subnet
from boltzmann.chain.embedded.weights import require_pace, require_staked
from boltzmann.protocol.chainview import epoch_index

MOST_BYTES = 5000
VERSION = 4  # of the sealed format; the SDK's own
MOST_UNREVEALED = 10
_COMMITS = "TimelockedWeightCommits"


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
