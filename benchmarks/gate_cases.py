"""What cheats send instead of a window's work, and what saboteurs send beside their work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.gate_scene import MEMBERS, Recomputed, Scene, Training
from boltzmann.node.conduct import Offer, spread

Floats = NDArray[np.float32]

HONEST, UNLIKE, CHEAT, ELSEWHERE = "honest", "another precision", "cheat", "elsewhere"


@dataclass(frozen=True)
class View:
    """What a cheat has: its own work and pages, what others sent, and the public state."""

    scene: Scene
    member: str
    work: Recomputed
    random: np.random.Generator

    @property
    def own(self) -> Offer:
        return self.scene.uploads[self.member]

    @property
    def others(self) -> list[Offer]:
        return [self.scene.uploads[name] for name in MEMBERS if name != self.member]


def cheats(training: Training, view: View) -> Iterator[tuple[str, Offer]]:
    """Every cheat that is possible in this window, by name."""
    for name, make in _CHEATS.items():
        offer = make(view)
        if offer is not None:
            yield name, offer
    scene, member = view.scene, view.member
    yield "94% of the tokens", training.fewer_tokens(scene, member, 0.94)
    yield "other pages", training.other_pages(scene, member)
    stale = training.stale(scene, member)
    if stale is not None:
        yield "stale: the last window's state", stale


def saboteurs(view: View) -> Iterator[tuple[str, Offer]]:
    """Who sends honest shares, and a delta that is honest only where points and slice meet."""
    for name, make in _ELSEWHERE.items():
        values = make(view)
        if values is not None:
            yield f"elsewhere: {name}", view.scene.offer(values, view.own.shares)


def _copy(view: View) -> Offer:
    return view.others[0]


def _noisy_copy(view: View) -> Offer:
    copied = view.others[0]
    return view.scene.offer(_blurred(copied.values, view), _blurred(copied.shares, view))


def _rescaled_copy(view: View) -> Offer:
    """To the very length that the audit expects."""
    copied = view.others[0]
    factor = np.float32(_length(view.own.values) / _length(copied.values))
    return view.scene.offer(copied.values * factor, copied.shares * factor)


def _sign(view: View) -> Offer:
    return view.scene.offer(
        _signs(view.own.values), np.stack([_signs(row) for row in view.own.shares])
    )


def _half(view: View) -> Offer:
    """Half the pages, and the same share for each."""
    return _part(view, len(view.work.pages) // 2)


def _part(view: View, count: int) -> Offer:
    """The mean of the first `count` pages as that of all."""
    pages = view.work.pages
    factor = np.float32(len(pages) / count)
    values = np.sum([page.slice for page in pages[:count]], axis=0) * factor
    shares = np.sum([page.points for page in pages[:count]], axis=0) * factor
    return view.scene.offer(values, spread(shares, len(pages)))


def _one_page_made_up(view: View) -> Offer:
    """All pages but one, whose share is the mean of the others'."""
    pages = view.work.pages
    made_up = int(view.random.integers(len(pages)))
    rest = [page for place, page in enumerate(pages) if place != made_up]
    shares = [page.points for page in pages]
    shares[made_up] = np.mean([page.points for page in rest], axis=0)
    factor = np.float32(len(pages) / len(rest))
    values = np.sum([page.slice for page in rest], axis=0) * factor
    return view.scene.offer(values, np.stack(shares))


def _momentum(view: View) -> Offer | None:
    moment = view.scene.momentum
    if moment is None:
        return None
    factor = np.float32(_length(view.own.values) / _length(moment.slice))
    shares = spread(moment.points * factor, view.scene.pages)
    return view.scene.offer(moment.slice * factor, shares)


def _mean_of_others(view: View) -> Offer:
    return view.scene.offer(
        np.mean([other.values for other in view.others], axis=0),
        np.mean([other.shares for other in view.others], axis=0),
    )


def _random(view: View) -> Offer:
    return view.scene.offer(_noise(view.own.values, view), _noise(view.own.shares, view))


def _zero(view: View) -> Offer:
    return view.scene.offer(np.zeros_like(view.own.values), np.zeros_like(view.own.shares))


def _longer(view: View) -> Offer:
    factor = np.float32(1.2)
    return view.scene.offer(view.own.values * factor, view.own.shares * factor)


def _one_tensor_negated(view: View) -> Offer:
    """A drawn tensor, small ones as likely as large ones."""
    slices, points = view.scene.chosen.bounds, view.scene.points.bounds
    tensor = int(view.random.integers(len(slices) - 1))
    values, shares = view.own.values.copy(), view.own.shares.copy()
    values[slices[tensor] : slices[tensor + 1]] *= -1
    shares[:, points[tensor] : points[tensor + 1]] *= -1
    return view.scene.offer(values, shares)


_CHEATS: dict[str, Callable[[View], Offer | None]] = {
    "copy": _copy,
    "copy with 1% noise": _noisy_copy,
    "copy rescaled": _rescaled_copy,
    "mean of the others": _mean_of_others,
    "sign of its own": _sign,
    "half the pages": _half,
    "one page made up": _one_page_made_up,
    "the global direction": _momentum,
    "random": _random,
    "zero": _zero,
    "norm x1.2": _longer,
    "one tensor negated": _one_tensor_negated,
}


def _momentum_slice(view: View) -> Floats | None:
    offer = _momentum(view)
    return None if offer is None else offer.values


def _half_the_coordinates(view: View) -> Floats:
    return view.own.values * (view.random.random(len(view.own.values)) < 0.5)


def _tensor_slice(view: View) -> Floats:
    """The largest tensor turned round: the most that a small gate could still hide."""
    values, bounds = view.own.values.copy(), view.scene.chosen.bounds
    start, end = max(pairwise(bounds), key=lambda pair: pair[1] - pair[0])
    values[start:end] *= -1
    return values


_ELSEWHERE: dict[str, Callable[[View], Floats | None]] = {
    "noise": lambda view: _noise(view.own.values, view),
    "sign of its own": lambda view: _signs(view.own.values),
    "negated": lambda view: -view.own.values,
    "the largest tensor negated": _tensor_slice,
    "another's delta": lambda view: view.others[0].values,
    "mean of the others": lambda view: _mean_of_others(view).values,
    "the global direction": _momentum_slice,
    "x3": lambda view: view.own.values * np.float32(3.0),
    "half the coordinates": _half_the_coordinates,
}


def _signs(values: Floats) -> Floats:
    """The signs, as long as the values."""
    size = np.float32(_length(values) / max(1, int(np.count_nonzero(values))) ** 0.5)
    signs: Floats = np.sign(values)
    return signs * size


def _noise(values: Floats, view: View) -> Floats:
    """Noise about as long as the values."""
    size = np.float32(_length(values) / np.sqrt(values.size))
    return view.random.standard_normal(values.shape, np.float32) * size


def _blurred(values: Floats, view: View) -> Floats:
    return values + np.float32(0.01) * _noise(values, view)


def _length(values: Floats) -> float:
    return float(np.linalg.norm(values.astype(np.float64)))
