"""Scoring: what s, the gate and the thresholds say of honest work, copies and worse."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import array, sample

from boltzmann.protocol.codec import Codec
from boltzmann.protocol.rejection import Reason
from boltzmann.protocol.scoring import (
    AuditConfig,
    Comparison,
    GateConfig,
    compare,
    halfway,
    judge,
    judge_shares,
)

Floats = NDArray[np.float32]

BOUNDS = (0, 700, 1000, 2000)
NAMES = ("a", "b", "c")
GATE = GateConfig(gate_min=0.995, tensor_min=0.98, norm_min=0.9, norm_max=1.1)
PASSING = Comparison(score=0.999, gate=0.999, tensor=1, tensor_cosine=0.99, norm_ratio=1.0)
ZERO = np.zeros(2000, np.float32)
VECTORS = st.lists(st.floats(-100, 100, width=32), min_size=6, max_size=6).map(array)


def noise(label: str) -> Floats:
    """2,000 coordinates, nearly orthogonal to every other label's."""
    return array(sample(label, 2000, scale=32768))


def honest(label: str) -> Floats:
    """A gradient of some pages: mostly the direction all pages share, and its own part."""
    return noise("shared") * np.float32(2.0) + noise(label)


CONTROL = honest("control pages")


def reference(delta: Floats, recomputed: Floats, control: Floats) -> tuple[float, float]:
    """s and ρ from the vectors themselves, in float64."""
    d, g, c = (x.astype(np.float64) for x in (delta, recomputed, control))

    def cosine(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return math.fsum(x * y) / math.sqrt(math.fsum(x * x) * math.fsum(y * y))

    def without_control(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x - c * (math.fsum(c * x) / math.fsum(c * c))

    return cosine(d, g), cosine(without_control(d), without_control(g))


@given(vector=VECTORS, control=VECTORS)
def test_identical_vectors_agree_in_everything(vector: Floats, control: Floats) -> None:
    # What is left beside the control direction must be more than rounding noise.
    d, c = vector.astype(np.float64), control.astype(np.float64)
    beside = d @ d - ((d @ c) ** 2 / (c @ c) if c.any() else 0.0)
    assume(beside > 1e-6 * (d @ d))
    found = compare(vector, vector, control, (0, 2, 6))
    assert found.score == pytest.approx(1.0)
    assert found.gate == pytest.approx(1.0)
    assert found.tensor_cosine == pytest.approx(1.0)
    assert found.norm_ratio == pytest.approx(1.0)
    assert judge(found, GATE, ("a", "b")) is None


@pytest.mark.parametrize("other", ["other pages", "x", "y"])
def test_figures_equal_the_formula_on_whole_vectors(other: str) -> None:
    found = compare(honest(other), honest("own pages"), CONTROL, BOUNDS)
    score, gate = reference(honest(other), honest("own pages"), CONTROL)
    assert found.score == pytest.approx(score, rel=1e-9)
    assert found.gate == pytest.approx(gate, rel=1e-6)


def test_honest_work_through_the_codec_passes() -> None:
    recomputed = Codec.BF16.roundtrip(honest("own pages"))
    jitter = honest("own pages") * (1 + np.float32(1e-4) * noise("device"))
    found = compare(Codec.BF16.roundtrip(jitter), recomputed, CONTROL, BOUNDS)
    assert found.gate >= 0.999
    assert judge(found, GATE, NAMES) is None


def test_a_copy_keeps_its_score_but_not_its_gate() -> None:
    """Raw cosine cannot tell a copy from honest work (docs/gate.md); the gate can."""
    found = compare(honest("other pages"), honest("own pages"), CONTROL, BOUNDS)
    assert found.score > 0.75
    assert found.gate < 0.6
    verdict = judge(found, GATE, NAMES)
    assert verdict is not None
    assert verdict.reason is Reason.GATE


@pytest.mark.parametrize("cheat", ["random", "sign", "control", "flipped"])
def test_cheap_cheats_fail_the_gate(cheat: str) -> None:
    own = honest("own pages")
    delta = {
        "random": noise("made up"),
        "sign": np.sign(own),
        "control": CONTROL,
        "flipped": -own,
    }[cheat]
    verdict = judge(compare(delta, own, CONTROL, BOUNDS), GATE, NAMES)
    assert verdict is not None
    assert verdict.reason is Reason.GATE


@given(
    scale=st.floats(2.0**-30, 2.0**30, width=32),
    which=st.sampled_from(["delta", "recomputed", "control"]),
)
def test_cosines_do_not_depend_on_scale(scale: float, which: str) -> None:
    vectors = {"delta": honest("x"), "recomputed": honest("y"), "control": CONTROL}
    before = compare(**vectors, bounds=BOUNDS)  # type: ignore[arg-type]
    after = compare(**{**vectors, which: vectors[which] * np.float32(scale)}, bounds=BOUNDS)  # type: ignore[arg-type]
    for figure in ("score", "gate", "tensor_cosine"):
        assert getattr(after, figure) == pytest.approx(getattr(before, figure), rel=1e-3)
    ratio = {"delta": scale, "recomputed": 1 / scale, "control": 1.0}[which]
    assert after.norm_ratio == pytest.approx(before.norm_ratio * ratio, rel=1e-6)


def test_the_worst_tensor_is_named() -> None:
    own = honest("own pages")
    for tensor, (start, end) in enumerate(pairwise(BOUNDS)):
        delta = own.copy()
        delta[start:end] = -delta[start:end]
        found = compare(delta, own, CONTROL, BOUNDS)
        assert found.tensor == tensor
        assert found.tensor_cosine == pytest.approx(-1.0)


def test_a_small_tensor_cannot_hide_behind_a_large_one() -> None:
    own = honest("own pages")
    own[:10] *= np.float32(1e-4)
    delta = own.copy()
    delta[:10] = 0.0
    found = compare(delta, own, CONTROL, (0, 10, 2000))
    verdict = judge(found, GATE, ("bias", "weight"))
    assert found.gate > 0.999
    assert verdict is not None
    assert verdict.reason is Reason.TENSOR
    assert "bias" in verdict.detail


def test_zero_vectors_agree_with_each_other_only() -> None:
    own = honest("own pages")
    both = compare(ZERO, ZERO, CONTROL, BOUNDS)
    assert (both.score, both.gate, both.tensor_cosine, both.norm_ratio) == (1.0, 1.0, 1.0, 1.0)
    lazy = compare(ZERO, own, CONTROL, BOUNDS)
    assert (lazy.score, lazy.gate, lazy.tensor_cosine, lazy.norm_ratio) == (0.0, 0.0, 0.0, 0.0)
    invented = compare(own, ZERO, CONTROL, BOUNDS)
    assert (invented.score, invented.gate, invented.norm_ratio) == (0.0, 0.0, float("inf"))
    without_control = compare(own, own, ZERO, BOUNDS)
    assert without_control.gate == pytest.approx(1.0)


def test_a_tensor_that_is_zero_on_both_sides_agrees() -> None:
    own = honest("own pages")
    own[700:1000] = 0.0
    assert compare(own, own, CONTROL, BOUNDS).tensor_cosine == pytest.approx(1.0)


@pytest.mark.parametrize("which", ["recomputed", "control"])
def test_a_validators_own_nan_never_opens_the_gate(which: str) -> None:
    """A copy must not pass because the audit itself went wrong."""
    vectors = {"delta": honest("x"), "recomputed": honest("x"), "control": CONTROL}
    vectors[which] = np.full(2000, np.nan, np.float32)
    assert judge(compare(**vectors, bounds=BOUNDS), GATE, NAMES) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"gate": 0.9949}, Reason.GATE),
        ({"gate": float("nan")}, Reason.GATE),
        ({"gate": -1.0}, Reason.GATE),
        ({"tensor_cosine": 0.9799}, Reason.TENSOR),
        ({"tensor_cosine": float("nan")}, Reason.TENSOR),
        ({"norm_ratio": 0.8999}, Reason.NORM),
        ({"norm_ratio": 1.1001}, Reason.NORM),
        ({"norm_ratio": float("inf")}, Reason.NORM),
        ({"norm_ratio": float("nan")}, Reason.NORM),
        ({"gate": 0.0, "tensor_cosine": 0.0, "norm_ratio": 9.0}, Reason.GATE),
        ({"tensor_cosine": 0.0, "norm_ratio": 9.0}, Reason.TENSOR),
    ],
)
def test_each_threshold_has_its_reason(changed: dict[str, float], reason: Reason) -> None:
    verdict = judge(replace(PASSING, **changed), GATE, NAMES)  # type: ignore[arg-type]
    assert verdict is not None
    assert verdict.reason is reason


@pytest.mark.parametrize(
    "changed",
    [{}, {"gate": 0.995}, {"tensor_cosine": 0.98}, {"norm_ratio": 0.9}, {"norm_ratio": 1.1}],
)
def test_thresholds_themselves_pass(changed: dict[str, float]) -> None:
    assert judge(replace(PASSING, **changed), GATE, NAMES) is None  # type: ignore[arg-type]


@given(
    gate=st.floats(0.9, 1.0),
    tensor=st.floats(0.9, 1.0),
    norm=st.floats(0.8, 1.2),
)
def test_who_passes_halfway_thresholds_passes_the_runs(
    gate: float, tensor: float, norm: float
) -> None:
    found = replace(PASSING, gate=gate, tensor_cosine=tensor, norm_ratio=norm)
    stricter, shares = halfway(GATE, AuditConfig())
    assert stricter == GateConfig(0.9975, 0.99, 0.95, 1.05)
    assert (shares.share_min, shares.share_mean_min) == (0.95, 0.995)
    if judge(found, stricter, NAMES) is None and judge_shares([found], stricter, shares) is None:
        assert judge(found, GATE, NAMES) is None
        assert judge_shares([found], GATE, AuditConfig()) is None


def test_the_score_is_no_threshold() -> None:
    assert judge(replace(PASSING, score=-1.0), GATE, NAMES) is None


@pytest.mark.parametrize(
    ("sent", "recomputed", "spared"),
    [
        (1e-6, 1e-6, True),
        (3.9e-6, 1e-6, True),  # rounding alone makes it so long
        (9e-6, 1e-6, True),
        (1.1e-5, 1e-6, False),
        (2.8e-5, 1e-5, True),
        (2.8e-5, 6e-6, False),
        (3.1e-5, 1e-5, False),
        (1e-6, 3.1e-5, False),
    ],
)
def test_a_short_tensor_is_compared_if_it_would_outweigh_all_others(
    sent: float, recomputed: float, spared: bool
) -> None:
    whole = honest("pages")
    length = float(np.linalg.norm(whole[700:]))
    other = noise("rounding")[:700]
    own = noise("tiny")[:700]
    shown, found = whole.copy(), whole.copy()
    shown[:700] = other * np.float32(sent * length / np.linalg.norm(other))
    found[:700] = own * np.float32(recomputed * length / np.linalg.norm(own))
    cosine = compare(shown, found, CONTROL, BOUNDS, 3e-5).tensor_cosine
    assert (cosine > 0.99) is spared
