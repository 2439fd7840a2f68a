"""The chain's byte budget of commitments, and how often a record can be replaced within it.

Each hotkey has so many bytes per chain epoch of the subnet (`CommitSpace.limit`, 3100 by default).
A commitment takes the bytes of its fields from it, and never less than MIN_CHARGE_BYTES.
"""

from __future__ import annotations

from collections.abc import Sequence

MIN_CHARGE_BYTES = 100  # what even the smallest commitment takes of the budget


def charge(fields: Sequence[bytes]) -> int:
    """Bytes that a commitment of these Raw fields takes of the budget."""
    return max(MIN_CHARGE_BYTES, sum(map(len, fields)))


def commits_per_epoch(limit: int, charge: int) -> int:
    """How many commitments of `charge` bytes each fit a budget of `limit` bytes.

    Raises: ValueError for a charge that no commitment has.
    """
    if charge < MIN_CHARGE_BYTES:
        raise ValueError(
            f"a commitment takes at least {MIN_CHARGE_BYTES} bytes of the budget, not {charge}"
        )
    return max(0, limit) // charge


def shortest_window(limit: int, tempo_blocks: int, charge: int, validators: int) -> int:
    """The fewest blocks per window at which every window's record fits the budget.

    `validators` take turns, each committing `charge` bytes in every so manieth window, evenly
    spaced; each has `limit` bytes per epoch. An epoch is taken as `tempo_blocks` + 1 blocks: that
    is the longer of the two ways in which runtimes count, and a longer epoch has fewer bytes.
    Raises: ValueError when there is no validator, no epoch, or not one record fits the budget.
    """
    if validators < 1 or tempo_blocks < 1:
        raise ValueError(
            f"windows need a validator and epochs of at least 1 block, not {validators} validators "
            f"and a tempo of {tempo_blocks}"
        )
    turns = commits_per_epoch(limit, charge) * validators
    if turns == 0:
        raise ValueError(
            f"a commitment of {charge} bytes does not fit the chain's budget of {limit} bytes: "
            "shorten the record"
        )
    # Of turns n blocks apart, an epoch of E blocks holds at most ceil(E / n).
    return -(-(tempo_blocks + 1) // turns)
