"""Audits of one page: what honest work shows, and what each way to cheat is called."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from page_kit import CONFIG, GATE, LAYOUT, PAGES, Scene, cut, honest_gate, noise, scene, whole
from reference import array

from boltzmann.protocol.codec import Codec
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.scoring import (
    AuditConfig,
    Comparison,
    OnPage,
    Spot,
    add_up,
    compare,
    compare_page,
    judge_page,
)

Floats = NDArray[np.float32]

HERE = scene()
PASSING = Spot(Comparison(0.999, 0.999, 1, 0.99, 1.0), 0.35, 1.0, 1.0)
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
        assert found.slice_gate == pytest.approx(honest_gate(pages), rel=0.15)
        assert found.norm_ratio == pytest.approx(1.0, abs=0.1)
        assert found.norm == pytest.approx(float(np.linalg.norm(here.delta)), rel=0.1)
        assert judge_page(found, pages, GATE, CONFIG, NAMES) is None


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


SIZE = HERE.slice.size
INSTEAD = {
    "noise": noise("instead", SIZE) * np.float32(1.5),
    "nothing": np.zeros(SIZE, np.float32),
    "flipped": -HERE.delta,
    "another's": HERE.slice.gather(
        cut(np.mean([whole(f"else {i}") for i in range(PAGES)], axis=0, dtype=np.float32))
    ),
    "control": HERE.slice.gather(cut(HERE.control)),
    "flipped control": -HERE.slice.gather(cut(HERE.control)),
    # What all pages share, turned round: each page's own part, and ρ with it, is as it should be.
    "reflected": HERE.delta - 2 * HERE.slice.gather(cut(HERE.control)),
    "signs": np.copysign(np.float32(0.7), noise("signs", SIZE)),
}


@pytest.mark.parametrize("what", INSTEAD)
def test_a_slice_that_is_not_of_its_pages_off_the_points_fails(what: str) -> None:
    """Every share is honest and adds up: only the slice itself tells."""
    delta = HERE.off_points(INSTEAD[what])
    assert adds_up(HERE, HERE.shares, delta)
    for page in range(PAGES):
        verdict = HERE.verdict(page, HERE.shares, delta)
        assert verdict is not None
        assert verdict.reason is Reason.SLICE
        assert "< 0.1414" in verdict.detail


@pytest.mark.parametrize("factor", [3.0, 30.0, 0.3, 0.01])
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
    assert HERE.verdict(3, HERE.shares, HERE.off_points(HERE.delta * np.float32(1.5))) is None


def test_what_was_left_out_of_the_slice_is_found_in_the_page_left_out() -> None:
    """Half of the pages have their shares, but not their gradient off the points."""
    half = HERE.slice.gather(cut(HERE.gradients[:4].sum(axis=0) / np.float32(PAGES)))
    delta = HERE.off_points(half)
    assert adds_up(HERE, HERE.shares, delta)
    found = [reason(HERE.verdict(page, HERE.shares, delta)) for page in range(PAGES)]
    assert found[:4] == [None] * 4
    assert set(found[4:]) == {Reason.SLICE}


@pytest.mark.parametrize("which", ["points", "slice"])
@pytest.mark.parametrize("whose", ["recomputed", "control"])
@pytest.mark.parametrize("sent", ["honest", "nothing"])
def test_a_validators_own_nan_never_passes_anybody(which: str, whose: str, sent: str) -> None:
    factor = np.float32(sent == "honest")
    gradients = {
        "recomputed": HERE.on_page(HERE.gradients[3], PAGES),
        "control": HERE.on_page(HERE.control),
    }
    broken = np.full_like(getattr(gradients[whose], which), np.nan)
    gradients[whose] = replace(gradients[whose], **{which: broken})
    bounds = (HERE.points.bounds, HERE.slice.bounds)
    found = compare_page(3, HERE.shares * factor, HERE.delta * factor, **gradients, bounds=bounds)
    assert judge_page(found, PAGES, GATE, CONFIG, NAMES) is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_never_passes(bad: float) -> None:
    shares, delta = HERE.shares.copy(), HERE.delta.copy()
    shares[3, 7] = delta[11] = bad
    with np.errstate(invalid="ignore"):
        assert HERE.verdict(3, shares, HERE.delta) is not None
        assert HERE.verdict(3, HERE.shares, delta) is not None


@pytest.mark.filterwarnings("error")
def test_pages_of_nothing_agree_with_nothing_only() -> None:
    none = np.zeros(SIZE, np.float32)
    empty = replace(HERE, gradients=np.zeros_like(HERE.gradients))
    found = empty.spot(0, empty.shares, empty.delta)
    assert (found.share.gate, found.slice_gate, found.norm, found.norm_ratio) == (1, 1, 0, 1)
    assert judge_page(found, PAGES, GATE, CONFIG, NAMES) is None
    assert reason(empty.verdict(0, HERE.shares, none)) is Reason.GATE
    assert reason(empty.verdict(0, empty.shares, HERE.delta)) is Reason.SLICE
    invented = empty.spot(0, empty.shares, HERE.delta)
    lax = AuditConfig(slice_min=0.0)
    assert invented.norm_ratio == math.inf
    assert reason(judge_page(invented, PAGES, GATE, lax, NAMES)) is Reason.NORM
    assert reason(HERE.verdict(0, empty.shares, none)) is Reason.GATE
    assert reason(HERE.verdict(0, HERE.shares, none)) is Reason.SLICE


@pytest.mark.filterwarnings("error")
def test_without_a_control_gradient_the_cosines_are_bare() -> None:
    bare = replace(HERE, control=np.zeros_like(HERE.control))
    found = bare.spot(3, bare.shares, bare.delta)
    page = bare.on_page(bare.gradients[3], PAGES)
    same = compare(bare.delta, page.slice, np.zeros_like(page.slice), bare.slice.bounds)
    assert found.slice_gate == pytest.approx(same.score)
    assert found.share.gate == pytest.approx(found.share.score)


def test_the_norm_is_reckoned_from_page_and_points() -> None:
    """A page of half its points' length on the slice: so is all of the delta, then."""
    page = OnPage(array([3.0, 4.0]), array([0.0, 1.5, 2.0]))
    shares = np.stack([page.points, 0 * page.points, page.points])
    found = compare_page(0, shares, array([0.0, 3.0, 4.0]), page, page, ([0, 2], [0, 3]))
    assert found.norm == pytest.approx(5.0)
    assert found.norm_ratio == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changed", "pages", "expected"),
    [
        ({}, 8, None),
        ({"slice_gate": 0.4}, 1, None),
        ({"slice_gate": 0.3999}, 1, Reason.SLICE),
        ({"slice_gate": 0.2}, 4, None),
        ({"slice_gate": 0.1999}, 4, Reason.SLICE),
        ({"slice_gate": math.nan}, 8, Reason.SLICE),
        ({"slice_gate": -1.0}, 8, Reason.SLICE),
        ({"norm_ratio": 2.0}, 8, None),
        ({"norm_ratio": 0.5}, 8, None),
        ({"norm_ratio": 2.0001}, 8, Reason.NORM),
        ({"norm_ratio": 0.4999}, 8, Reason.NORM),
        ({"norm_ratio": math.nan}, 8, Reason.NORM),
        ({"norm_ratio": math.inf}, 8, Reason.NORM),
        ({"slice_gate": 0.0, "norm_ratio": 9.0}, 8, Reason.SLICE),
        ({"share": replace(PASSING.share, gate=0.99), "slice_gate": 0.0}, 8, Reason.GATE),
        ({"share": replace(PASSING.share, tensor_cosine=0.9)}, 8, Reason.TENSOR),
        ({"share": replace(PASSING.share, norm_ratio=1.2), "slice_gate": 0.0}, 8, Reason.NORM),
        ({"norm": 0.0}, 8, None),
    ],
)
def test_each_threshold_has_its_reason(
    changed: dict[str, float], pages: int, expected: Reason | None
) -> None:
    spot = replace(PASSING, **changed)  # type: ignore[arg-type]
    assert reason(judge_page(spot, pages, GATE, CONFIG, NAMES)) is expected
