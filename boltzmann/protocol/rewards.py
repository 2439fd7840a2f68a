"""From verdicts to pay: each hotkey's standing, and the weights that follow from all standings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import fsum
from statistics import median


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

    Windows are -1 where there was none. `norm` is the recomputed norm of its last passed audit.
    """

    registered_at: int
    moving: float = 0.0
    score: float = 0.0
    gate: float = 0.0
    passed_at: int = -1
    failed_at: int = -1
    norm: float = 0.0


def passed(
    standing: Standing, config: RewardConfig, window: int, score: float, gate: float, norm: float
) -> Standing:
    """After an audit that passed: the reward is the score s."""
    after = _move(standing, config, score)
    return replace(after, score=score, gate=gate, passed_at=window, norm=norm)


def failed(
    standing: Standing, config: RewardConfig, window: int, score: float, gate: float
) -> Standing:
    """After an audit that failed: a penalty of (1-q)/q windows' pay.

    A cheat that is audited with chance q gets through (1-q)/q windows on average before each
    failure; the penalty takes just their pay back, so cheating never pays.
    """
    penalty = (1.0 - config.audit_rate) / config.audit_rate
    after = _move(standing, config, -penalty)
    return replace(after, score=score, gate=gate, failed_at=window)


def absent(standing: Standing, config: RewardConfig) -> Standing:
    """After a window without a valid upload: the moving score decays."""
    return replace(_move(standing, config, 0.0), score=0.0, gate=0.0)


def trusted(standing: Standing, config: RewardConfig, window: int) -> bool:
    """Whether the hotkey's delta of `window` may enter the aggregate.

    It takes a pass within the last `trust_windows` windows (this one included) and no failure
    since that pass.
    """
    recent = standing.passed_at >= 0 and window - standing.passed_at <= config.trust_windows
    return recent and standing.failed_at < standing.passed_at


def norm_limit(standings: Mapping[str, Standing], config: RewardConfig, window: int) -> float:
    """The median of the norms that recent audits recomputed; infinity before the first one.

    Never the submitters' own median: colluders could move that.
    """
    norms = [
        s.norm
        for s in standings.values()
        if s.passed_at >= 0 and window - s.passed_at <= config.trust_windows
    ]
    return median(norms) if norms else float("inf")


def weights(standings: Mapping[str, Standing]) -> dict[str, float]:
    """Each hotkey's share of pay: max(0, moving) normalised to sum 1; empty if nobody earned."""
    positive = {hotkey: s.moving for hotkey, s in standings.items() if s.moving > 0.0}
    total = fsum(positive.values())  # `sum` rounds otherwise from Python 3.12 on
    return {hotkey: moving / total for hotkey, moving in positive.items()}


def _move(standing: Standing, config: RewardConfig, reward: float) -> Standing:
    alpha = config.moving_alpha
    return replace(standing, moving=(1.0 - alpha) * standing.moving + alpha * reward)
