"""From verdicts to pay: each hotkey's standing, and the weights that follow from all standings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import fsum


@dataclass(frozen=True)
class RewardConfig:
    """`moving_alpha`: share of the newest window in the moving score, in (0, 1].

    `audit_rate`: chance q that a window of a trusted hotkey is audited, in (0, 1].
    `trust_windows`: how many windows a pass lets a hotkey into the aggregates that follow.
    """

    moving_alpha: float
    audit_rate: float
    trust_windows: int

    def __post_init__(self) -> None:
        for name in ("moving_alpha", "audit_rate"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"rewards.{name} must be in (0, 1], not {getattr(self, name)}")
        if self.trust_windows < 0:
            raise ValueError(f"rewards.trust_windows must not be negative: {self.trust_windows}")


@dataclass(frozen=True)
class Standing:
    """What a validator holds of one hotkey since its registration at `registered_at`.

    `score` and `gate` are those of the newest window, 0 where nothing came.
    """

    registered_at: int
    moving: float = 0.0
    score: float = 0.0
    gate: float = 0.0


def passed(standing: Standing, config: RewardConfig, score: float, gate: float) -> Standing:
    """After an audit that passed: the reward is the score s."""
    return replace(_move(standing, config, score), score=score, gate=gate)


def failed(standing: Standing, config: RewardConfig, score: float, gate: float) -> Standing:
    """After an audit that failed: a penalty of (1-q)/q windows' pay.

    A cheat that is audited with chance q gets through (1-q)/q windows on average before each
    failure; the penalty takes just their pay back, so cheating never pays.
    """
    penalty = (1.0 - config.audit_rate) / config.audit_rate
    return replace(_move(standing, config, -penalty), score=score, gate=gate)


def absent(standing: Standing, config: RewardConfig) -> Standing:
    """After a window without a valid upload: the moving score decays."""
    return replace(_move(standing, config, 0.0), score=0.0, gate=0.0)


def weights(standings: Mapping[str, Standing]) -> dict[str, float]:
    """Each hotkey's share of pay: max(0, moving) normalised to sum 1; empty if nobody earned."""
    positive = {hotkey: s.moving for hotkey, s in standings.items() if s.moving > 0.0}
    total = fsum(positive.values())  # `sum` rounds otherwise from Python 3.12 on
    return {hotkey: moving / total for hotkey, moving in positive.items()}


def _move(standing: Standing, config: RewardConfig, reward: float) -> Standing:
    alpha = config.moving_alpha
    return replace(standing, moving=(1.0 - alpha) * standing.moving + alpha * reward)
