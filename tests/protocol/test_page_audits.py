"""Audits of one page: what honest work shows, and what each way to cheat is called."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from page_kit import CONFIG, GATE, LAYOUT, PAGES, Scene, cut, noise, scene, whole
from reference import array

from boltzmann.protocol.codec import Codec
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.scoring import (
    Comparison,
    OnPage,
    Spot,
    add_up,
    compare,
    compare_page,
    judge,
    judge_page,
)

Floats = NDArray[np.float32]

HERE = scene()
PASSING = Spot(Comparison(0.999, 0.999, 1, 0.99, 1.0), 1.0, 1.0)
NAMES = LAYOUT.names


def reason(verdict: Rejection | None) -> Reason | None:
    return verdict.reason if verdict else None


def adds_up(here: Scene, shares: Floats, delta: Floats) -> bool:
    """Whether what was sent gets past the door."""
    on_points, on_slice = here.points.meet(here.slice)
    return add_up(shares[:, on_points], delta[on_slice], here.codec.rounding) is None


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("pages", [1, 2, 3, PAGES, 30])
def test_every_page_of_honest_work_passes(codec: Codec, pages: int) -> None:
    here = scene(codec, pages)
    assert adds_up(here, here.shares, here.delta)
    for page in range(pages):
        found = here.spot(page, here.shares, here.delta)
        assert found.share.gate > 0.9999
        assert found.norm_ratio == pytest.approx(1.0, abs=0.1)
        assert found.norm == pytest.approx(float(np.linalg.norm(here.delta)), rel=0.1)
        assert judge_page(found, GATE, CONFIG, NAMES) is None


@pytest.mark.parametrize("page", range(PAGES))
def test_honest_work_of_another_machine_passes(page: int) -> None:
    jitter = [1 + np.float32(1e-3) * noise(f"device {i}", LAYOUT.total) for i in range(PAGES)]
    there = replace(HERE, gradients=HERE.gradients * np.stack(jitter))
    assert adds_up(there, there.shares, there.delta)
    assert HERE.verdict(page, there.shares, there.delta) is None


def test_a_page_on_which_no_work_was_done_fails_the_gate() -> None:
    """Another's page, another of one's own, the mean of all, the control gradient, nothing."""
    pages = np.float32(PAGES)
    others = {
        "another's": HERE.on_page(whole("elsewhere"), PAGES).points,
        "own": HERE.shares[4],
        "mean": HERE.on_page(HERE.mean, PAGES).points,
        "control": HERE.on_page(HERE.control, PAGES).points,
        "flipped": -HERE.shares[3],
        "nothing": np.zeros_like(HERE.shares[3]),
        "made up": noise("made up", HERE.points.size) / pages,
        "signs": np.sign(HERE.shares[3]) / pages,
    }
    for what, other in others.items():
        shares = HERE.shares.copy()
        shares[3] = other
        assert reason(HERE.verdict(3, shares, HERE.delta)) is Reason.GATE, what
        assert HERE.verdict(2, shares, HERE.delta) is None, "an audit of another page is blind"


def test_shares_in_another_order_fail_the_gate() -> None:
    """They still add up: whoever swaps pages is found by any audit of one of them."""
    turned = np.roll(HERE.shares, 1, axis=0)
    assert adds_up(HERE, turned, HERE.delta)
    for page in range(PAGES):
        assert reason(HERE.verdict(page, turned, HERE.delta)) is Reason.GATE


@pytest.mark.parametrize("factor", [0.5, 0.89, 1.11, 2.0])
def test_a_share_of_another_length_fails_the_norm(factor: float) -> None:
    shares = HERE.shares.copy()
    shares[3] *= np.float32(factor)
    verdict = HERE.verdict(3, shares, HERE.delta)
    assert verdict is not None
    assert verdict.reason is Reason.NORM
    assert verdict.detail.startswith("norm ratio")


def test_a_small_tensor_of_a_share_is_compared_by_itself() -> None:
    small = HERE.gradients.copy()
    small[:, LAYOUT.sizes[0] : LAYOUT.sizes[0] + LAYOUT.sizes[1]] *= np.float32(1e-4)
    here = replace(HERE, gradients=small)
    start, end = here.points.bounds[1:3]
    shares = here.shares.copy()
    assert here.verdict(3, shares, here.delta) is None
    shares[3, start:end] *= -1
    verdict = here.verdict(3, shares, here.delta)
    assert verdict is not None
    assert verdict.reason is Reason.TENSOR
    assert verdict.detail.startswith("b:")


def test_poison_off_the_points_passes_here_and_is_left_to_full_audits() -> None:
    delta = HERE.off_points(-HERE.delta)
    assert adds_up(HERE, HERE.shares, delta)
    assert {reason(HERE.verdict(page, HERE.shares, delta)) for page in range(PAGES)} == {None}
    control = HERE.slice.gather(cut(HERE.control))
    honest = HERE.slice.gather(cut(HERE.mean))
    full = compare(delta, honest, control, HERE.slice.bounds)
    assert reason(judge(full, GATE, NAMES)) is Reason.GATE


@pytest.mark.parametrize("factor", [6.0, 30.0, 0.15, 0.01])
def test_a_slice_much_longer_or_shorter_off_the_points_fails_the_norm(factor: float) -> None:
    here = replace(HERE, gradients=HERE.gradients)
    kept = here.points.meet(here.slice)[1]
    delta = here.off_points(here.delta * np.float32(factor))
    if factor < 1.0:  # what must add up would give such a slice its length
        delta[kept] *= np.float32(factor)
    verdict = here.verdict(3, here.shares, delta)
    assert verdict is not None
    assert verdict.reason is Reason.NORM
    assert verdict.detail.startswith("the slice's norm ratio")


def test_a_slice_somewhat_longer_passes() -> None:
    assert HERE.verdict(3, HERE.shares, HERE.off_points(HERE.delta * np.float32(2.5))) is None


@pytest.mark.parametrize("whose", ["points", "slice", "control"])
@pytest.mark.parametrize("sent", ["honest", "nothing"])
def test_a_validators_own_nan_never_passes_anybody(whose: str, sent: str) -> None:
    factor = np.float32(sent == "honest")
    own, control = HERE.on_page(HERE.gradients[3], PAGES), HERE.on_page(HERE.control).points
    if whose == "control":
        control = np.full_like(control, np.nan)
    else:
        own = replace(own, **{whose: np.full_like(getattr(own, whose), np.nan)})
    shares, delta = HERE.shares * factor, HERE.delta * factor
    found = compare_page(3, shares, delta, own, control, HERE.points.bounds)
    assert judge_page(found, GATE, CONFIG, NAMES) is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_never_passes(bad: float) -> None:
    shares, delta = HERE.shares.copy(), HERE.delta.copy()
    shares[3, 7] = delta[11] = bad
    with np.errstate(invalid="ignore"):
        assert HERE.verdict(3, shares, HERE.delta) is not None
        assert HERE.verdict(3, HERE.shares, delta) is not None


@pytest.mark.filterwarnings("error")
def test_pages_of_nothing_agree_with_nothing_only() -> None:
    none = np.zeros_like(HERE.delta)
    empty = replace(HERE, gradients=np.zeros_like(HERE.gradients))
    found = empty.spot(0, empty.shares, empty.delta)
    assert (found.share.gate, found.norm, found.norm_ratio) == (1, 0, 1)
    assert judge_page(found, GATE, CONFIG, NAMES) is None
    assert reason(empty.verdict(0, HERE.shares, none)) is Reason.GATE
    assert reason(empty.verdict(0, empty.shares, HERE.delta)) is Reason.NORM
    assert reason(HERE.verdict(0, empty.shares, none)) is Reason.GATE
    assert reason(HERE.verdict(0, HERE.shares, none)) is Reason.NORM


@pytest.mark.filterwarnings("error")
def test_without_a_control_gradient_the_cosines_are_bare() -> None:
    bare = replace(HERE, control=np.zeros_like(HERE.control))
    found = bare.spot(3, bare.shares, bare.delta)
    assert found.share.gate == pytest.approx(found.share.score)


def test_the_norm_is_reckoned_from_page_and_points() -> None:
    """A page of half its points' length on the slice: so is all of the delta, then."""
    page = OnPage(array([3.0, 4.0]), array([0.0, 1.5, 2.0]))
    shares = np.stack([page.points, 0 * page.points, page.points])
    found = compare_page(0, shares, array([0.0, 3.0, 4.0]), page, page.points, [0, 2])
    assert found.norm == pytest.approx(5.0)
    assert found.norm_ratio == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"norm_ratio": 4.0}, None),
        ({"norm_ratio": 0.25}, None),
        ({"norm_ratio": 4.0001}, Reason.NORM),
        ({"norm_ratio": 0.2499}, Reason.NORM),
        ({"norm_ratio": math.nan}, Reason.NORM),
        ({"norm_ratio": math.inf}, Reason.NORM),
        ({"share": replace(PASSING.share, gate=0.99), "norm_ratio": 9.0}, Reason.GATE),
        ({"share": replace(PASSING.share, tensor_cosine=0.9)}, Reason.TENSOR),
        ({"share": replace(PASSING.share, norm_ratio=1.2)}, Reason.NORM),
        ({"norm": 0.0}, None),
    ],
)
def test_each_threshold_has_its_reason(changed: dict[str, float], expected: Reason | None) -> None:
    spot = replace(PASSING, **changed)  # type: ignore[arg-type]
    assert reason(judge_page(spot, GATE, CONFIG, NAMES)) is expected
