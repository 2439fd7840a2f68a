"""What a node knows from the chain: blocks, neurons, subnet rules and budgets as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """One finalized block: its height and its 32-byte hash."""

    number: int
    hash: bytes


@dataclass(frozen=True)
class Neuron:
    """One registered hotkey of the subnet at some block.

    `stake` is in the subnet's alpha (tokens, not rao); `incentive` and `dividends` are shares in
    [0, 1]; `emission` is alpha per tempo; `registered_at` and `last_update` are block heights.
    """

    uid: int
    hotkey: str
    stake: float
    permit: bool
    registered_at: int
    last_update: int
    incentive: float = 0.0
    dividends: float = 0.0
    emission: float = 0.0


@dataclass(frozen=True)
class SubnetRules:
    """The subnet's hyperparameters a node acts upon. Blocks are chain blocks.

    `max_weight` is the largest share of one weight in the sum, in (0, 1].
    """

    owner_hotkey: str
    tempo: int
    weights_rate_limit: int
    weights_version: int
    min_allowed_weights: int
    max_weight: float
    commit_reveal: bool


@dataclass(frozen=True)
class CommitSpace:
    """The bytes of commitments the chain takes from each hotkey in one chain epoch of the subnet.

    `limit` is what a hotkey has for an epoch; `used` what each has used of it in the present one.
    Who used nothing yet is not in it.
    """

    limit: int
    used: Mapping[str, int]

    def room(self, hotkey: str) -> int:
        """Bytes that `hotkey` may still use before the epoch ends."""
        return max(0, self.limit - self.used.get(hotkey, 0))  # the limit may have been lowered


def epoch_index(block: int, netuid: int, tempo: int) -> int:
    """The number of the chain epoch that `block` lies in, where epochs lie on a fixed grid.

    That is so on runtimes without `SubtensorModule.SubnetEpochIndex`, and on the embedded chain;
    a runtime that has it counts the epochs there.
    """
    return (block + netuid + 1) // (tempo + 1)
