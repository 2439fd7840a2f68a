"""The outer step: AdamW bit for bit, in whatever pieces it is applied; schedule and powers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import AdamW, array, correction, exact_rate, hexes, pack, sample

from boltzmann.protocol.outer import OuterConfig, Powers, Step, learning_rate
from boltzmann.protocol.root import RootHasher

Floats = NDArray[np.float32]

SCHEDULE = ((0, 0.0), (10, 0.003), (100, 0.003), (1000, 0.0003))
CONFIG = OuterConfig(SCHEDULE, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)
# [2 chunks, 3 coordinates], the chunks at their first and their fifth step.
COUNTS = [1, 5]
GOLDEN_STEP = {
    "theta": "2fa4bbc005c489bfcff1f74089e535c0b9c8fbbfb20af040",
    "m": "6936e03e990150c09a139ac000e5ad409a11883f33359b40",
    "v": "341fa5403ec22740cdf3ee406e87bd4028eff240e0850041",
}
GOLDEN_RATES = {
    0: "00000000",
    1: "52499d39",
    7: "27a0093b",
    10: "a69b443b",
    55: "a69b443b",
    101: "5169443b",
    333: "60cc163b",
    1000: "52499d39",
    5000: "52499d39",
}
GOLDEN_CORRECTIONS = "cdcc4c3d14aec73d5a72cd3e0000803f"

VALUES = st.floats(width=32, min_value=-(2.0**40), max_value=2.0**40)
SECOND_MOMENTS = st.floats(width=32, min_value=0.0, max_value=2.0**80)
BETAS = st.floats(0.0, 0.9999)
Coordinate = tuple[float, float, float, float]
COORDINATES = st.tuples(VALUES, VALUES, SECOND_MOMENTS, VALUES)


def step_with(rate: float, config: OuterConfig) -> Step:
    return Step(np.float32(rate), config, Powers(config.beta1), Powers(config.beta2))


def inputs(count: int, label: str = "step") -> tuple[Floats, Floats, Floats, Floats]:
    """θ, m, v and a gradient, `[count]`."""
    theta, m, gradient = (array(sample(f"{label} {name}", count)) for name in ("θ", "m", "g"))
    return theta, m, np.abs(array(sample(f"{label} v", count))), gradient


def test_one_step_is_pinned() -> None:
    theta, m, v, gradient = (values.reshape(2, 3) for values in inputs(6))
    step_with(0.003, CONFIG).apply(theta, m, v, gradient, np.array(COUNTS, np.int32))
    found = {"theta": hexes(theta), "m": hexes(m), "v": hexes(v)}
    assert found == GOLDEN_STEP


def test_the_pinned_step_follows_from_the_formula() -> None:
    adamw = AdamW(0.003, 0.9, 0.95, 1e-8, 0.1)
    coordinates = zip(*(values.tolist() for values in inputs(6)), [1, 1, 1, 5, 5, 5], strict=True)
    after = [adamw.step(*coordinate) for coordinate in coordinates]
    found = {name: pack([new[i] for new in after]).hex() for i, name in enumerate(GOLDEN_STEP)}
    assert found == GOLDEN_STEP


@settings(max_examples=150)
@given(
    chunks=st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=6),
    counts=st.lists(st.integers(1, 40), min_size=6, max_size=6),
    betas=st.tuples(BETAS, BETAS),
    eps=st.floats(2.0**-40, 1.0),
    rate=st.floats(0.0, 1.0, width=32),
    decay=st.floats(0.0, 1.0),
)
def test_the_step_is_float32_adamw_bit_for_bit(
    chunks: list[tuple[Coordinate, Coordinate]],
    counts: list[int],
    betas: tuple[float, float],
    eps: float,
    rate: float,
    decay: float,
) -> None:
    adamw = AdamW(rate, *betas, eps, decay)
    expected = [
        adamw.step(*coordinate, count)
        for chunk, count in zip(chunks, counts, strict=False)
        for coordinate in chunk
    ]
    columns = zip(*(coordinate for chunk in chunks for coordinate in chunk), strict=True)
    theta, m, v, gradient = (array(column).reshape(len(chunks), 2) for column in columns)
    config = OuterConfig(((0, rate),), *betas, eps, decay)
    step_with(rate, config).apply(theta, m, v, gradient, np.array(counts[: len(chunks)], np.int32))
    for found, i in ((theta, 0), (m, 1), (v, 2)):
        assert found.tobytes() == pack([new[i] for new in expected])


@given(per_piece=st.integers(1, 40), windows=st.integers(1, 3))
def test_pieces_change_neither_bits_nor_root(per_piece: int, windows: int) -> None:
    def run(chunks_at_once: int) -> tuple[list[bytes], bytes]:
        theta, m, v, _ = (values.reshape(37, 8) for values in inputs(296))
        root = bytes(32)
        powers = Powers(CONFIG.beta1), Powers(CONFIG.beta2)
        for window in range(windows):
            gradient = inputs(296, str(window))[3].reshape(37, 8)
            counts = np.arange(37, dtype=np.int32) % 5 + 1 + np.int32(window)
            step = Step(np.float32(0.01), CONFIG, *powers)
            hasher = RootHasher(root, "ab" * 32)
            for first in range(0, 37, chunks_at_once):
                part = slice(first, first + chunks_at_once)
                step.apply(theta[part], m[part], v[part], gradient[part], counts[part])
                hasher.add(theta[part], m[part], v[part])
            root = hasher.root()
        return [values.tobytes() for values in (theta, m, v)], root

    assert run(per_piece) == run(37)


def test_the_gradient_is_left_alone() -> None:
    theta, m, v, gradient = (values.reshape(2, 3) for values in inputs(6))
    before = gradient.tobytes()
    step_with(0.003, CONFIG).apply(theta, m, v, gradient, np.array(COUNTS, np.int32))
    assert gradient.tobytes() == before
    assert {values.dtype for values in (theta, m, v)} == {np.dtype(np.float32)}


def test_a_zero_gradient_from_zero_moments_stays_finite() -> None:
    """0/0 would have platform-dependent bits; eps keeps it away down to float32's smallest."""
    config = OuterConfig(
        ((0, 0.1),), 0.9, 0.95, eps=float(np.finfo(np.float32).tiny), weight_decay=0
    )
    theta, m, v, gradient = (np.full((1, 1), x, np.float32) for x in (1.0, 0.0, 0.0, 0.0))
    step_with(0.1, config).apply(theta, m, v, gradient, np.array([1], np.int32))
    assert (theta.item(), m.item(), v.item()) == (1.0, 0.0, 0.0)


def test_corrections_are_pinned() -> None:
    found = Powers(0.95).corrections(np.array([1, 2, 10, 1000], np.int32))
    assert hexes(found) == GOLDEN_CORRECTIONS
    assert pack([correction(0.95, count) for count in (1, 2, 10, 1000)]).hex() == (
        GOLDEN_CORRECTIONS
    )


@given(
    beta=BETAS,
    queries=st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=8), min_size=1, max_size=6),
)
def test_powers_do_not_depend_on_what_was_asked_before(
    beta: float, queries: list[list[int]]
) -> None:
    powers = Powers(beta)
    for counts in queries:
        found = powers.corrections(np.array(counts, np.int32))
        fresh = Powers(beta).corrections(np.array(counts, np.int32))
        assert found.dtype == np.float32
        assert found.tobytes() == fresh.tobytes() == pack([correction(beta, c) for c in counts])


@pytest.mark.parametrize("age", GOLDEN_RATES)
def test_rates_are_pinned(age: int) -> None:
    rate = learning_rate(SCHEDULE, age)
    assert hexes(array([float(rate)])) == GOLDEN_RATES[age]
    assert float(rate) == pytest.approx(float(exact_rate(SCHEDULE, age)), rel=2.0**-23)


RATES = st.floats(0.0, 1.0)
SCHEDULES = st.dictionaries(st.integers(0, 60), RATES, min_size=1, max_size=6).map(
    lambda points: tuple(sorted(points.items()))
)


@given(schedule=SCHEDULES)
def test_a_rate_is_the_exact_line_rounded(schedule: tuple[tuple[int, float], ...]) -> None:
    largest = Fraction(max(rate for _, rate in schedule))
    for age in range(schedule[-1][0] + 3):
        exact = exact_rate(schedule, age)
        tolerance = exact * Fraction(1, 2**23) + largest * Fraction(1, 2**50) + Fraction(1, 2**149)
        assert abs(Fraction(float(learning_rate(schedule, age))) - exact) <= tolerance


@given(schedule=SCHEDULES)
def test_a_rate_is_flat_outside_the_points(schedule: tuple[tuple[int, float], ...]) -> None:
    (first, low), (last, high) = schedule[0], schedule[-1]
    assert learning_rate(schedule, first - 1) == learning_rate(schedule, 0) == np.float32(low)
    assert learning_rate(schedule, last + 1) == learning_rate(schedule, 10**9) == np.float32(high)


@given(
    low=RATES,
    high=RATES,
    start=st.integers(0, 1000),
    length=st.integers(1, 1000),
    ages=st.lists(st.integers(0, 1000), min_size=2),
)
def test_a_rate_is_monotone_between_two_points(
    low: float, high: float, start: int, length: int, ages: list[int]
) -> None:
    schedule = ((start, low), (start + length, high))
    inside = sorted(start + age % (length + 1) for age in ages)
    rates = [float(learning_rate(schedule, age)) for age in inside]
    assert rates == sorted(rates, reverse=high < low)


def test_a_rate_is_float32() -> None:
    assert {learning_rate(SCHEDULE, age).dtype for age in (0, 5, 10, 2000)} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"schedule": ()}, "schedule"),
        ({"schedule": ((5, 0.1), (5, 0.2))}, "schedule"),
        ({"schedule": ((5, 0.1), (4, 0.2))}, "schedule"),
        ({"schedule": ((0, -0.1),)}, "learning rate"),
        ({"schedule": ((0, float("nan")),)}, "learning rate"),
        ({"schedule": ((0, float("inf")),)}, "learning rate"),
        ({"beta1": 1.0}, "beta1"),
        ({"beta1": -0.1}, "beta1"),
        ({"beta2": float("nan")}, "beta2"),
        ({"eps": 0.0}, "eps"),
        ({"eps": 1e-60}, "eps"),
        ({"eps": float("inf")}, "eps"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"weight_decay": float("inf")}, "weight_decay"),
        ({"weight_decay": float("nan")}, "weight_decay"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, object], named: str) -> None:
    good: dict[str, object] = {
        "schedule": SCHEDULE,
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-8,
        "weight_decay": 0.1,
    }
    OuterConfig(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=named):
        OuterConfig(**{**good, **changed})  # type: ignore[arg-type]
