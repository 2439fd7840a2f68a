"""Rewards: bounds of the moving score, and weights that add up."""

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
    audited,
    earned,
    failed,
    newcomer,
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
    good = earned(audited(standing, 0.8, 0.999), CONFIG)
    assert good.moving == pytest.approx(0.75 * 0.4 + 0.25 * 0.8)
    assert (good.score, good.gate, good.registered_at) == (0.8, 0.999, 100)
    again = earned(good, CONFIG)  # not audited: what its last audit found
    assert again.moving == pytest.approx(0.75 * good.moving + 0.25 * 0.8)
    bad = failed(audited(again, 0.3, 0.1), CONFIG)
    assert bad.moving == pytest.approx(0.75 * again.moving)
    assert (bad.score, bad.gate) == (0.3, 0.1)
    assert bad.debt == pytest.approx(4.0)
    away = absent(bad, CONFIG)
    assert away.moving == pytest.approx(0.75 * bad.moving)
    assert (away.score, away.gate, away.debt) == (0.3, 0.1, bad.debt)


def test_a_window_missed_costs_that_window_and_no_later_one() -> None:
    """Nobody need look at the windows after it: they are paid by the last audit, as before it."""
    before = replace(audited(NEW, 0.8, 0.999), moving=0.8)
    after = absent(before, CONFIG)
    for _ in range(40):
        after = earned(after, CONFIG)
    assert after.moving == pytest.approx(before.moving, rel=1e-4)


def test_work_against_the_model_costs_its_score() -> None:
    assert failed(audited(NEW, -0.5, -0.5), CONFIG).moving == pytest.approx(-0.125)


@pytest.mark.parametrize(("rate", "penalty"), [(1.0, 0.0), (0.5, 1.0), (0.1, 9.0), (0.05, 19.0)])
def test_the_penalty_is_the_windows_that_go_unaudited(rate: float, penalty: float) -> None:
    config = RewardConfig(moving_alpha=1.0, audit_rate=rate, trust_windows=1)
    assert failed(NEW, config).debt == pytest.approx(penalty)


@given(rate=st.floats(0.01, 1.0), score=st.floats(0.1, 1.0))
def test_a_debt_is_worked_off_by_work_that_is_not_paid(rate: float, score: float) -> None:
    config = RewardConfig(moving_alpha=0.5, audit_rate=rate, trust_windows=1)
    standing = audited(failed(NEW, config), score, 1.0)
    owed = standing.debt
    worked = 0.0
    while standing.debt > 0.0:
        before = standing
        standing = earned(standing, config)
        worked += score
        assert weights({"a": before}) == {}
        assert standing.moving < 0.5 * before.moving + 0.5 * score + 1e-12
    assert owed <= worked <= owed + score + 1e-9
    assert earned(standing, config).moving >= 0.5 * score


@given(rate=st.floats(0.01, 1.0))
def test_an_undetected_cheats_pay_is_taken_back_on_average(rate: float) -> None:
    """Windows until the first audit are geometric: (1-q)/q of them are paid, then the penalty."""
    paid = sum((1 - rate) ** n * rate * n for n in range(5000))
    config = RewardConfig(moving_alpha=1.0, audit_rate=rate, trust_windows=1)
    assert paid - failed(NEW, config).debt == pytest.approx(0.0, abs=1e-6)


@given(rate=st.floats(0.02, 1.0), honest=st.integers(0, 30))
def test_no_life_that_ends_in_cheating_earns_more_than_its_work(rate: float, honest: int) -> None:
    """A life: dues worked off under audits, `honest` windows of work, then cheating that costs
    nothing, found with chance q in each window; and anew, under another hotkey."""
    config = RewardConfig(1.0, rate, trust_windows=1)
    standing, worked = audited(newcomer(0, config), 1.0, 1.0), honest
    assert weights({"a": standing}) == {}
    while standing.debt > 0.0:
        standing = earned(standing, config)
        worked += 1
    cheated = sum((1 - rate) ** n * rate * n for n in range(5000))
    assert honest + cheated <= worked + 1e-6


def test_a_newcomer_owes_its_dues_and_nothing_else_is_known_of_it() -> None:
    assert newcomer(200, CONFIG) == Standing(200, debt=CONFIG.penalty)
    assert newcomer(200, replace(CONFIG, dues=2.5)) == Standing(200, debt=10.0)
    assert newcomer(200, replace(CONFIG, dues=0.0)) == Standing(200)


@given(config=CONFIGS, events=EVENTS)
def test_the_moving_score_stays_within_its_rewards(
    config: RewardConfig, events: list[tuple[bool, float] | None]
) -> None:
    standing = NEW
    for event in events:
        if event is None:
            standing = absent(standing, config)
        else:
            change = earned if event[0] else failed
            standing = change(audited(standing, event[1], 0.0), config)
        assert -1.0 - 1e-12 <= standing.moving <= 1.0 + 1e-12
        assert standing.debt >= 0.0
    assert standing.registered_at == NEW.registered_at


@given(config=CONFIGS, start=st.floats(-20, 1))
def test_absence_decays_towards_zero(config: RewardConfig, start: float) -> None:
    after = absent(replace(NEW, moving=start), config).moving
    assert abs(after) <= abs(start)
    assert after * start >= 0.0


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
