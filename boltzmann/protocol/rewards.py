"""From verdicts to pay: each hotkey's standing, and the weights that follow from all standings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import fsum

from boltzmann.protocol.setting import meaning

MOST_DUES = 10.0


@dataclass(frozen=True)
class RewardConfig:
    """How work is looked at and paid."""

    moving_alpha: float = field(
        metadata=meaning("share of the newest window in the moving score, in (0, 1]")
    )
    audit_rate: float = field(
        metadata=meaning(
            "chance q that some validator audits a trusted hotkey's window, in (0, 1]; a failed "
            "audit costs (1 - q)/q windows' pay"
        )
    )
    trust_windows: int = field(
        metadata=meaning(
            "how many windows a pass lets a hotkey's deltas into the updates that follow", "windows"
        )
    )
    dues: float = field(
        default=1.0,
        metadata=meaning(
            "what a newly registered hotkey has to work before it is paid, as a share of what a "
            "failed audit costs; less than 1 where a registration costs the rest on chain"
        ),
    )

    def __post_init__(self) -> None:
        for name in ("moving_alpha", "audit_rate"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"rewards.{name} must be in (0, 1], not {getattr(self, name)}")
        if self.trust_windows < 0:
            raise ValueError(f"rewards.trust_windows must not be negative: {self.trust_windows}")
        if not 0.0 <= self.dues <= MOST_DUES:
            raise ValueError(f"rewards.dues must be from 0 to {MOST_DUES:g}, not {self.dues}")

    @property
    def penalty(self) -> float:
        """What a failed audit costs: (1-q)/q windows' pay."""
        return (1.0 - self.audit_rate) / self.audit_rate


@dataclass(frozen=True)
class Standing:
    """What a validator holds of one hotkey since its registration at `registered_at`.

    `moving` is the moving average of what its windows earned; `debt`: windows of pay that it has
    yet to work without being paid; `score` and `gate`: those of its last audit.
    """

    registered_at: int
    moving: float = 0.0
    score: float = 0.0
    gate: float = 0.0
    debt: float = 0.0


def newcomer(registered_at: int, config: RewardConfig) -> Standing:
    """A hotkey of which nothing is known yet: it owes its dues.

    Otherwise a debt would be cheaper to leave behind, by registering anew, than to work off: pay
    your dues, in E. Friedman and P. Resnick, The Social Cost of Cheap Pseudonyms (2001). While it
    owes them, one validator is to audit each of its windows, so that work pays them.
    """
    return Standing(registered_at, debt=config.dues * config.penalty)


def audited(standing: Standing, score: float, gate: float) -> Standing:
    """After an audit, whatever its outcome: the figures it found."""
    return replace(standing, score=score, gate=gate)


def earned(standing: Standing, config: RewardConfig) -> Standing:
    """After a window whose work counts as done: the reward is the score s of the last audit.

    A debt is worked off first: that much of the reward is not paid.
    """
    kept = min(standing.debt, max(0.0, standing.score))
    owing = replace(standing, debt=standing.debt - kept)
    return _move(owing, config, standing.score - kept)


def failed(standing: Standing, config: RewardConfig, credited: float = 0.0) -> Standing:
    """After a window that failed an audit: no reward (its score, if that is negative), and a
    penalty of (1-q)/q windows' pay.

    A cheat that is audited with chance q gets through (1-q)/q windows on average before each
    failure; the penalty takes just their pay back, so cheating never pays. It is a debt and not a
    negative reward, which a moving average would forget before it had been paid. `credited`: what
    the window had earned before that was known, which is owed back.
    """
    owing = replace(standing, debt=standing.debt + config.penalty + credited)
    return _move(owing, config, min(0.0, standing.score))


def unearned(standing: Standing, config: RewardConfig) -> Standing:
    """After a window whose work counts for nothing, whatever it was: the moving score decays."""
    return _move(standing, config, 0.0)


def absent(standing: Standing, config: RewardConfig) -> Standing:
    """After a window without a valid upload: the moving score decays.

    The last audit's figures stay: they are what the next window's work is paid by, if nobody looks
    at it.
    """
    return unearned(standing, config)


def weights(standings: Mapping[str, Standing]) -> dict[str, float]:
    """Each hotkey's share of pay: max(0, moving) normalised to sum 1; empty if nobody earned.

    Who is in debt is paid nothing.
    """
    positive = {h: s.moving for h, s in standings.items() if s.moving > 0.0 and s.debt <= 0.0}
    total = fsum(positive.values())  # `sum` rounds otherwise from Python 3.12 on
    return {hotkey: moving / total for hotkey, moving in positive.items()}


def _move(standing: Standing, config: RewardConfig, reward: float) -> Standing:
    alpha = config.moving_alpha
    return replace(standing, moving=(1.0 - alpha) * standing.moving + alpha * reward)
