"""The validators of one window: who leads in which order, who witnesses, what is a majority.

Every draw is by stake, from the window's closing hash: nobody knows it before the window closes.
Stakes are whole numbers (rao), so that sums do not depend on an order of adding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from itertools import accumulate

from boltzmann.protocol.seeds import derive
from boltzmann.protocol.setting import meaning


@dataclass(frozen=True)
class AgreementConfig:
    """How an update is agreed upon. Raises: ValueError naming what is out of range."""

    witnesses: int = field(
        default=0,
        metadata=meaning("how many validators are drawn to witness a window, 0 for all"),
    )
    vote_threshold: float = field(
        default=0.5,
        metadata=meaning("the share of the voters' stake that must be exceeded, in [0.5, 1)"),
    )
    proposer_counts: bool = field(default=True, metadata=meaning("whether the proposer is a voter"))
    held_out_pages: int = field(
        default=4, metadata=meaning("private pages that each voter tests a candidate on", "pages")
    )
    loss_rise_max: float = field(
        default=0.1,
        metadata=meaning(
            "by how much the loss on these pages may rise, times the windows since the last update",
            "nats per token",
        ),
    )
    unverified_max: float = field(
        default=0.0,
        metadata=meaning(
            "the share of an update's deltas, in [0, 1), whose hotkeys validators with half the "
            "stake or less have passed"
        ),
    )

    def __post_init__(self) -> None:
        if self.witnesses < 0:
            raise ValueError(f"agreement.witnesses must not be negative: {self.witnesses}")
        if not 0.5 <= self.vote_threshold < 1.0:
            raise ValueError(
                f"agreement.vote_threshold must be at least 0.5 and below 1, not "
                f"{self.vote_threshold}: fewer could agree on two models at once"
            )
        if self.held_out_pages < 1:
            raise ValueError(f"agreement.held_out_pages must be 1 or more: {self.held_out_pages}")
        if not 0.0 <= self.unverified_max < 1.0:
            raise ValueError(
                f"agreement.unverified_max must be at least 0 and below 1: {self.unverified_max}"
            )
        if not self.loss_rise_max >= 0.0:
            raise ValueError(f"agreement.loss_rise_max must be 0 or more: {self.loss_rise_max}")

    def loss_limit(self, before: float, windows: int) -> float:
        """What the loss on held-out pages may be after an update that comes `windows` after the
        last, in nats per token.

        The optimizer's moments can make every honest update one that raises the loss. Refusing
        changes neither state nor moments, so a fixed limit would refuse them for as long as that is
        so.
        """
        return before + self.loss_rise_max * windows


class Outcome(Enum):
    """What the ballots on a proposal come to."""

    APPROVED = "approved"
    REJECTED = "rejected"
    OPEN = "open"  # neither yet


def drawn(key: bytes, stakes: Mapping[str, int]) -> tuple[str, ...]:
    """All hotkeys in an order drawn without replacement, each with chance by its stake.

    Who has no stake comes last. Whole-number arithmetic only: the same on every machine.
    """
    left = dict(sorted(stakes.items()))
    order: list[str] = []
    while left:
        # Without any stake left everybody counts alike.
        weights = left if any(left.values()) else dict.fromkeys(left, 1)
        ticket = int.from_bytes(derive(key, "ticket", len(order)), "big") % sum(weights.values())
        upper = zip(weights, accumulate(weights.values()), strict=True)
        winner = next(hotkey for hotkey, end in upper if ticket < end)
        order.append(winner)
        del left[winner]
    return tuple(order)


def leaders(
    close_hash: bytes, stakes: Mapping[str, int], exhausted: Collection[str]
) -> tuple[str, ...]:
    """The validators in the order in which they may propose.

    `exhausted`: those whose share of the chain's commitment budget does not take another record, or
    whose record has no room for a manifest; they come last, so that leading rotates to who can
    still put a digest on chain.
    """
    order = drawn(derive(close_hash, "leader"), stakes)
    able = [hotkey for hotkey in order if hotkey not in exhausted]
    return (*able, *(hotkey for hotkey in order if hotkey in exhausted))


def witnesses(close_hash: bytes, stakes: Mapping[str, int], count: int) -> dict[str, int]:
    """The stakes of the `count` witnesses drawn; of all validators if `count` is 0."""
    order = drawn(derive(close_hash, "witness"), stakes)
    return {hotkey: stakes[hotkey] for hotkey in sorted(order[:count] if count else order)}


def more_than_half(hotkeys: Iterable[str], stakes: Mapping[str, int]) -> bool:
    """Whether these hold more than half of all the stake; others than in `stakes` hold none."""
    return 2 * sum(stakes.get(hotkey, 0) for hotkey in set(hotkeys)) > sum(stakes.values())


def voters(stakes: Mapping[str, int], proposer: str, proposer_counts: bool) -> dict[str, int]:
    """Whose ballots count: all validators', or all but the proposer's (a run setting)."""
    return {h: stake for h, stake in stakes.items() if proposer_counts or h != proposer}


def tally(
    approving: Collection[str],
    rejecting: Collection[str],
    stakes: Mapping[str, int],
    threshold: float,
) -> Outcome:
    """Approved by more than `threshold` of all the stake, or rejected once that is out of reach."""
    total, needed = sum(stakes.values()), Fraction(threshold) * sum(stakes.values())
    if sum(stakes.get(hotkey, 0) for hotkey in set(approving)) > needed:
        return Outcome.APPROVED
    against = sum(stakes.get(hotkey, 0) for hotkey in set(rejecting) - set(approving))
    return Outcome.REJECTED if total - against <= needed else Outcome.OPEN
