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
    add_up,
    compare,
    compare_shares,
    decides,
    judge,
    judge_shares,
)
from boltzmann.protocol.spot import Bounds, OnPage, compare_page, is_doubtful

Floats = NDArray[np.float32]

HERE = scene()
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
        found = here.spot(page, here.shares)
        assert found.share.gate > 0.9999
        assert found.norm == pytest.approx(float(np.linalg.norm(here.delta)), rel=0.1)
        assert judge(found.share, GATE, NAMES) is None


@pytest.mark.parametrize("page", range(PAGES))
def test_honest_work_of_another_machine_passes(page: int) -> None:
    jitter = [1 + np.float32(1e-3) * noise(f"device {i}", LAYOUT.total) for i in range(PAGES)]
    there = replace(HERE, gradients=HERE.gradients * np.stack(jitter))
    assert adds_up(there, there.shares, there.delta)
    assert HERE.verdict(page, there.shares) is None


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
        assert reason(HERE.verdict(3, shares)) is Reason.GATE, what
        assert HERE.verdict(2, shares) is None, "an audit of another page is blind"


def test_shares_in_another_order_fail_the_gate() -> None:
    """They still add up: whoever swaps pages is found by any audit of one of them."""
    turned = np.roll(HERE.shares, 1, axis=0)
    assert adds_up(HERE, turned, HERE.delta)
    for page in range(PAGES):
        assert reason(HERE.verdict(page, turned)) is Reason.GATE


@pytest.mark.parametrize("factor", [0.5, 0.89, 1.11, 2.0])
def test_a_share_of_another_length_fails_the_norm(factor: float) -> None:
    shares = HERE.shares.copy()
    shares[3] *= np.float32(factor)
    verdict = HERE.verdict(3, shares)
    assert verdict is not None
    assert verdict.reason is Reason.NORM
    assert verdict.detail.startswith("norm ratio")


@pytest.mark.parametrize(("length", "compared"), [(0.05, True), (1e-3, False)])
def test_a_tensor_is_compared_by_itself_from_a_hundredth_of_the_length_on(
    length: float, compared: bool
) -> None:
    small = HERE.gradients.copy()
    small[:, LAYOUT.sizes[0] : LAYOUT.sizes[0] + LAYOUT.sizes[1]] *= np.float32(length)
    here = replace(HERE, gradients=small)
    start, end = here.points.bounds[1:3]
    shares = here.shares.copy()
    assert here.verdict(3, shares) is None
    shares[3, start:end] *= -1
    verdict = here.verdict(3, shares)
    assert reason(verdict) is (Reason.TENSOR if compared else None)
    shares[3, start:end] *= np.float32(0.1 / length)  # what is long in the upload counts as well
    assert here.verdict(3, shares) is not None


def test_poison_off_the_points_passes_here_and_is_left_to_full_audits() -> None:
    delta = HERE.off_points(-HERE.delta)
    assert adds_up(HERE, HERE.shares, delta)
    assert {reason(HERE.verdict(page, HERE.shares)) for page in range(PAGES)} == {None}
    control = HERE.slice.gather(cut(HERE.control))
    honest = HERE.slice.gather(cut(HERE.mean))
    full = compare(delta, honest, control, HERE.slice.bounds)
    assert reason(judge(full, GATE, NAMES)) is Reason.GATE


@pytest.mark.parametrize(
    ("gate", "alone"),
    [(0.9, False), (0.9949, False), (0.8999, True), (-1.0, True), (math.nan, True)],
)
def test_a_spot_audit_refuses_alone_only_what_is_far_off(gate: float, alone: bool) -> None:
    found = replace(HERE.spot(3, HERE.shares).share, gate=gate)
    assert judge(found, GATE, NAMES) is not None
    assert decides(found, CONFIG) is alone


@pytest.mark.parametrize(
    ("gates", "detail"),
    [
        ((), None),
        ((0.99,), None),
        ((0.9899,), "mean of the pages: rho 0.9899 < 0.99"),
        ((1.0, 0.9, 1.0), "mean of the pages: rho 0.9667 < 0.99"),
        ((1.0,) * 10 + (0.9,), None),
        ((1.0, 1.0, 0.8999), "page 3 of 3: rho 0.8999 < 0.9"),
        ((1.0, math.nan), "page 2 of 2: rho nan < 0.9"),
        ((0.98, 0.9796, 1.0, 1.0), "mean of the pages: rho 0.9899 < 0.99"),
        ((0.98, 0.98, 1.0, 1.0), None),
        ((0.985,) * 8, "mean of the pages: rho 0.9850 < 0.99"),
    ],
)
def test_a_full_audit_wants_each_share_near_and_all_together_nearer(
    gates: tuple[float, ...], detail: str | None
) -> None:
    whole = HERE.spot(3, HERE.shares).share
    refusal = judge_shares([replace(whole, gate=gate) for gate in gates], GATE, CONFIG)
    assert (refusal and refusal.detail) == detail
    assert refusal is None or refusal.reason is Reason.GATE


def every(shares: Floats) -> tuple[Comparison, ...]:
    """What a full audit sees of all pages."""
    own = np.stack([HERE.on_page(gradient, PAGES).points for gradient in HERE.gradients])
    return compare_shares(shares, own, HERE.on_page(HERE.control).points, HERE.points.bounds)


def test_a_full_audit_sees_each_page_as_a_spot_audit_of_it_does() -> None:
    shares = HERE.shares + np.float32(0.05 / PAGES) * noise("blur", HERE.shares.size).reshape(
        HERE.shares.shape
    )
    spots = [HERE.spot(page, shares).share.gate for page in range(PAGES)]
    assert [share.gate for share in every(shares)] == pytest.approx(spots)
    assert max(spots) < 0.9999


def test_a_full_audit_finds_pages_that_were_made_up_or_swapped_or_shortened() -> None:
    one = HERE.shares.copy()
    one[5] = HERE.shares.mean(axis=0)  # of the whole, little is missing
    blur = noise("all", HERE.shares.size).reshape(HERE.shares.shape) * np.float32(0.15 / PAGES)
    few = HERE.shares.copy()
    few[:3] += blur[:3]
    long = HERE.shares.copy()
    long[:4] *= np.float32(1.3)
    found = {
        name: judge_shares(every(shares), GATE, CONFIG)
        for name, shares in {
            "honest": HERE.shares,
            "one": one,
            "swapped": np.roll(HERE.shares, 1, axis=0),
            "all a little": HERE.shares + blur,
            "three a little": few,
            "four longer": long,
        }.items()
    }
    said = {
        name: refusal.detail.split(":")[0] if refusal else "" for name, refusal in found.items()
    }
    assert said == {
        "honest": "",
        "one": "page 6 of 8",
        "swapped": "page 1 of 8",
        "all a little": "mean of the pages",
        "three a little": "",
        "four longer": "mean of the pages",
    }


@pytest.mark.parametrize("whose", ["points", "control"])
@pytest.mark.parametrize("sent", ["honest", "nothing"])
def test_a_validators_own_nan_never_passes_anybody(whose: str, sent: str) -> None:
    factor = np.float32(sent == "honest")
    own, control = HERE.on_page(HERE.gradients[3], PAGES), HERE.on_page(HERE.control).points
    if whose == "control":
        control = np.full_like(control, np.nan)
    else:
        own = replace(own, **{whose: np.full_like(getattr(own, whose), np.nan)})
    shares, floor = HERE.shares * factor, CONFIG.tensor_floor
    found = compare_page(3, (shares, HERE.delta), own, control, HERE.bounds, floor)
    assert judge(found.share, GATE, NAMES) is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_never_passes(bad: float) -> None:
    shares = HERE.shares.copy()
    shares[3, 7] = bad
    with np.errstate(invalid="ignore"):
        assert HERE.verdict(3, shares) is not None


@pytest.mark.filterwarnings("error")
def test_pages_of_nothing_agree_with_nothing_only() -> None:
    empty = replace(HERE, gradients=np.zeros_like(HERE.gradients))
    found = empty.spot(0, empty.shares)
    assert (found.share.gate, found.norm) == (1, 0)
    assert judge(found.share, GATE, NAMES) is None
    assert reason(empty.verdict(0, HERE.shares)) is Reason.GATE
    assert reason(HERE.verdict(0, empty.shares)) is Reason.GATE


@pytest.mark.filterwarnings("error")
def test_without_a_control_gradient_the_cosines_are_bare() -> None:
    bare = replace(HERE, control=np.zeros_like(HERE.control))
    found = bare.spot(3, bare.shares)
    assert found.share.gate == pytest.approx(found.share.score)


def test_the_norm_is_reckoned_from_page_and_points() -> None:
    """A page of half its points' length on the slice: so is all of the delta, then."""
    page = OnPage(array([3.0, 4.0]), array([0.0, 1.5, 2.0]))
    shares = np.stack([page.points, 0 * page.points, page.points])
    sent = (shares, array([0.0, 3.0, 4.0]))
    found = compare_page(0, sent, page, page.points, Bounds([0, 2], [0, 3]), 0.0)
    assert found.norm == pytest.approx(5.0)


# Whether the slice is in keeping with the page


@pytest.mark.parametrize("pages", [1, 2, PAGES, 30])
def test_honest_work_leaves_no_doubt(pages: int) -> None:
    here = scene(Codec.BF16, pages)
    for page in range(pages):
        assert abs(here.spot(page, here.shares).shortfall) < 0.1


def test_a_slice_that_points_elsewhere_leaves_a_doubt() -> None:
    """Honest on the points, so that no share refuses it; noise as long as the work at the most."""
    honest = HERE.slice.gather(cut(HERE.mean))
    length = float(np.linalg.norm(honest)) / np.sqrt(len(honest))
    elsewhere = {
        "turned round": -honest,
        "noise": noise("poison", len(honest)) * np.float32(length),
        "nothing": np.zeros_like(honest),
    }
    for what, poison in elsewhere.items():
        found = HERE.spot(3, HERE.shares, HERE.off_points(poison))
        assert judge(found.share, GATE, NAMES) is None, what
        assert is_doubtful(found, CONFIG), what
    # Of what all gradients share it knows nothing, and of lengths: clip and median bound those.
    for slice_ in (HERE.slice.gather(cut(HERE.control)), HERE.delta * np.float32(5.0)):
        assert not is_doubtful(HERE.spot(3, HERE.shares, slice_), CONFIG)


def test_norm_and_shortfall_weigh_tensors_by_their_coordinates() -> None:
    """Two tensors, of two points each: those of the second stand for fifty coordinates each."""
    own = OnPage(array([1.0, 1.0, 1.0, -1.0]), np.ones(102, np.float32))
    shares = np.stack([own.points, array([-1.0, -1.0, 1.0, -1.0])])
    sent = (shares, np.ones(102, np.float32))
    found = compare_page(0, sent, own, own.points, Bounds([0, 2, 4], [0, 2, 102]), 0.0)
    # Together they are 0, 0, 2, -2: dd = 50 (4 + 4), gg = 1 + 1 + 50 (1 + 1); the slice agrees.
    assert found.norm == pytest.approx(math.sqrt(102) * math.sqrt(400 / 102))
    assert found.shortfall == pytest.approx(
        (math.sqrt(2) * (0 - 1) + 10 * (1 - 1)) / (math.sqrt(2) + 10)
    )


@pytest.mark.parametrize("factor", [3.0, 100.0, 1e6])
def test_nobody_makes_its_own_norm(factor: float) -> None:
    """A page that nobody recomputes counts for twice the one that is, at the most."""
    shares = HERE.shares.copy()
    shares[5] *= np.float32(factor)
    honest = HERE.spot(3, HERE.shares)
    assert HERE.spot(3, shares).norm < 2.0 * honest.norm


def test_a_doubt_is_one_only_beyond_the_threshold() -> None:
    found = HERE.spot(3, HERE.shares)
    for shortfall, doubtful in ((0.2, False), (0.2001, True), (-1.0, False), (math.nan, True)):
        spot = replace(found, shortfall=shortfall)
        assert is_doubtful(spot, replace(CONFIG, doubt=0.2)) is doubtful
