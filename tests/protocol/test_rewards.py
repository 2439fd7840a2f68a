"""Rewards: bounds of the moving score, who is trusted, and weights that add up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.protocol.rewards import (
    RewardConfig,
    Standing,
    absent,
    failed,
    norm_limit,
    passed,
    trusted,
    weights,
)

CONFIG = RewardConfig(moving_alpha=0.25, audit_rate=0.2, trust_windows=3)
NEW = Standing(registered_at=100)
CONFIGS = st.builds(
    RewardConfig,
    st.floats(0.0, 1.0, exclude_min=True),
    st.floats(0.01, 1.0),
    st.integers(0, 10),
)
EVENTS = st.lists(st.none() | st.tuples(st.booleans(), st.floats(-1.0, 1.0)), max_size=40)
MOVING = st.dictionaries(
    st.text(max_size=4), st.floats(allow_nan=False, min_value=-1e6, max_value=1e6), max_size=20
)


def standings(moving: dict[str, float]) -> dict[str, Standing]:
    return {hotkey: replace(NEW, moving=value) for hotkey, value in moving.items()}


def test_each_outcome_moves_the_score_by_its_reward() -> None:
    standing = replace(NEW, moving=0.4)
    good = passed(standing, CONFIG, 7, score=0.8, gate=0.999, norm=1.5)
    assert good.moving == pytest.approx(0.75 * 0.4 + 0.25 * 0.8)
    assert (good.score, good.gate, good.norm) == (0.8, 0.999, 1.5)
    assert (good.passed_at, good.failed_at, good.registered_at) == (7, -1, 100)
    bad = failed(good, CONFIG, 8, score=0.3, gate=0.1)
    assert bad.moving == pytest.approx(0.75 * good.moving - 0.25 * 4.0)
    assert (bad.score, bad.gate, bad.passed_at, bad.failed_at) == (0.3, 0.1, 7, 8)
    away = absent(bad, CONFIG)
    assert away.moving == pytest.approx(0.75 * bad.moving)
    assert (away.score, away.gate, away.passed_at, away.failed_at) == (0.0, 0.0, 7, 8)


@given(config=CONFIGS)
def test_the_penalty_is_the_windows_that_go_unaudited(config: RewardConfig) -> None:
    q = config.audit_rate
    after = failed(NEW, config, 1, score=1.0, gate=0.0)
    assert after.moving == pytest.approx(-config.moving_alpha * (1 - q) / q)


@pytest.mark.parametrize(("rate", "penalty"), [(1.0, 0.0), (0.5, 1.0), (0.1, 9.0), (0.05, 19.0)])
def test_penalties_at_known_rates(rate: float, penalty: float) -> None:
    config = RewardConfig(moving_alpha=1.0, audit_rate=rate, trust_windows=1)
    assert failed(NEW, config, 1, score=1.0, gate=0.0).moving == pytest.approx(-penalty)


@given(rate=st.floats(0.01, 1.0))
def test_an_undetected_cheats_pay_is_taken_back_on_average(rate: float) -> None:
    """Windows until the first audit are geometric: (1-q)/q of them are paid, then the penalty."""
    paid = sum((1 - rate) ** n * rate * n for n in range(5000))
    config = RewardConfig(moving_alpha=1.0, audit_rate=rate, trust_windows=1)
    assert paid + failed(NEW, config, 1, 1.0, 0.0).moving == pytest.approx(0.0, abs=1e-6)


@given(config=CONFIGS, events=EVENTS)
def test_the_moving_score_stays_within_its_rewards(
    config: RewardConfig, events: list[tuple[bool, float] | None]
) -> None:
    standing = NEW
    worst = -(1.0 - config.audit_rate) / config.audit_rate
    for window, event in enumerate(events):
        if event is None:
            standing = absent(standing, config)
        elif event[0]:
            standing = passed(standing, config, window, event[1], 1.0, 1.0)
        else:
            standing = failed(standing, config, window, event[1], 0.0)
        assert min(-1.0, worst) * (1 + 1e-12) <= standing.moving <= 1.0 + 1e-12
    assert standing.registered_at == NEW.registered_at


@given(config=CONFIGS, start=st.floats(-20, 1))
def test_absence_decays_towards_zero(config: RewardConfig, start: float) -> None:
    after = absent(replace(NEW, moving=start), config).moving
    assert abs(after) <= abs(start)
    assert after * start >= 0.0


@pytest.mark.parametrize(
    ("passed_at", "failed_at", "window", "expected"),
    [
        (-1, -1, 0, False),  # never audited
        (-1, -1, 2, False),  # -1 is no window, however few windows ago
        (-1, 5, 6, False),
        (5, -1, 5, True),  # a verdict in time counts at once
        (5, -1, 8, True),
        (5, -1, 9, False),  # the pass is too old
        (5, 4, 6, True),  # passed since the failure
        (5, 6, 6, False),
        (5, 6, 8, False),
        (5, 5, 6, False),  # in doubt, out
        (0, -1, 3, True),
        (0, -1, 4, False),
    ],
)
def test_trust(passed_at: int, failed_at: int, window: int, expected: bool) -> None:
    standing = replace(NEW, passed_at=passed_at, failed_at=failed_at)
    assert trusted(standing, CONFIG, window) is expected


@given(moving=MOVING)
def test_weights_add_up_to_one_or_are_empty(moving: dict[str, float]) -> None:
    shares = weights(standings(moving))
    assert set(shares) == {hotkey for hotkey, value in moving.items() if value > 0.0}
    assert all(0.0 <= share <= 1.0 for share in shares.values())
    assert not shares or math.fsum(shares.values()) == pytest.approx(1.0)


@given(moving=MOVING)
def test_weights_do_not_depend_on_the_order_of_hotkeys(moving: dict[str, float]) -> None:
    backwards = dict(reversed(list(moving.items())))
    assert weights(standings(backwards)) == weights(standings(moving))


def test_weights_are_pinned_on_every_python() -> None:
    """From 3.12 on the built-in sum of floats rounds otherwise than before."""
    moving = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 1e-17, "e": -5.0, "f": 0.0}
    found = {hotkey: share.hex() for hotkey, share in weights(standings(moving)).items()}
    assert found == {
        "a": "0x1.5555555555556p-3",
        "b": "0x1.5555555555556p-2",
        "c": "0x1.0000000000000p-1",
        "d": "0x1.33721ba905bd3p-56",
    }


def test_nobody_is_paid_when_nobody_earned() -> None:
    assert weights({}) == {}
    assert weights(standings({"a": 0.0, "b": -1.0})) == {}


def test_the_norm_limit_is_the_median_of_recent_passes() -> None:
    at = {
        "a": replace(NEW, passed_at=10, norm=1.0),
        "b": replace(NEW, passed_at=9, norm=3.0),
        "c": replace(NEW, passed_at=7, norm=2.0),
        "old": replace(NEW, passed_at=6, norm=100.0),
        "never": replace(NEW, norm=100.0),
    }
    assert norm_limit(at, CONFIG, 10) == 2.0
    del at["c"]
    assert norm_limit(at, CONFIG, 10) == 2.0
    del at["b"]
    assert norm_limit(at, CONFIG, 10) == 1.0


def test_there_is_no_norm_limit_before_the_first_pass() -> None:
    assert norm_limit({}, CONFIG, 0) == norm_limit({"a": NEW}, CONFIG, 2) == float("inf")


@given(
    norms=st.lists(st.floats(0.5, 2.0), min_size=1, max_size=9),
    huge=st.lists(st.floats(1e3, 1e9), max_size=8),
)
def test_a_minority_cannot_move_the_limit_far(norms: list[float], huge: list[float]) -> None:
    recent = norms + huge[: len(norms) - 1]
    at = {str(i): replace(NEW, passed_at=5, norm=norm) for i, norm in enumerate(recent)}
    assert min(norms) <= norm_limit(at, CONFIG, 5) <= max(norms)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"moving_alpha": 0.0}, "moving_alpha"),
        ({"moving_alpha": 1.1}, "moving_alpha"),
        ({"moving_alpha": float("nan")}, "moving_alpha"),
        ({"audit_rate": 0.0}, "audit_rate"),
        ({"audit_rate": 1.5}, "audit_rate"),
        ({"audit_rate": float("nan")}, "audit_rate"),
        ({"trust_windows": -1}, "trust_windows"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(CONFIG, **changed)  # type: ignore[arg-type]
