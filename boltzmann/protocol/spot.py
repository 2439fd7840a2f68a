"""An audit of one page: the page's share against its recomputation, and what the rest suggests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from boltzmann.protocol.scoring import AuditConfig, Comparison, Floats, compare

Doubles = NDArray[np.float64]

# Pages of one run are of a length, so one that is much longer is not taken at its word.
LONGEST_PAGE = 2.0


@dataclass(frozen=True)
class OnPage:
    """Values on the audit points `[points] float32` and on the slice `[n] float32`."""

    points: Floats
    slice: Floats


@dataclass(frozen=True)
class Bounds:
    """Tensor i's values are `[bounds[i], bounds[i + 1])`, of the points' and the slice's vector."""

    points: Sequence[int]
    slice: Sequence[int]


@dataclass(frozen=True)
class Spot:
    """A spot audit's figures.

    `share`: the page's share against its recomputation, on the audit points; `norm`: how long page
    and points suggest that the delta's slice is; `shortfall`: by how much the slice agrees less
    with the page, tensor by tensor, than the shares do on the points.
    """

    share: Comparison
    norm: float
    shortfall: float


def compare_page(
    page: int,
    sent: tuple[Floats, Floats],
    recomputed: OnPage,
    control: Floats,
    bounds: Bounds,
    floor: float,
) -> Spot:
    """Figures of one page of an upload: its shares `[pages, points]` and its slice δ `[n]`.

    The page's share is compared as in `scoring.compare`, on the points. All shares together, d, are
    what the delta is there, and the points are a sample of the slice. With g the page's gradient,
    n_t the slice's coordinates in tensor t and points_t the points there,

        norm = |g| √(dd / gg),   xy = Σ_t n_t / points_t · Σ_{points of t} x_i y_i
        shortfall = Σ_t √n_t (cos_t(d, g) - cos_t(δ, g)) / Σ_t √n_t

    where cos_t(d, g) is on the points of t and cos_t(δ, g) on the slice in t. A few coordinates
    carry much of a gradient, so one cosine over everything is rough, and the norm is (.3 to 2 times
    the true one for honest work); errors of many tensors cancel each other. A page that is longer
    than `LONGEST_PAGE` times the recomputed one counts for no more: nobody makes its own norm.
    """
    shares, values = sent
    total = _together(shares, recomputed.points)
    weight, own = _weights(bounds), recomputed.points.astype(np.float64)
    dd, gg = float(np.dot(weight, total * total)), float(np.dot(weight, own * own))
    length = _length(recomputed.slice)
    return Spot(
        share=compare(shares[page], recomputed.points, control, bounds.points, floor),
        norm=length * float(np.sqrt(dd / gg)) if gg > 0.0 else 0.0,
        shortfall=_shortfall(total, values, recomputed, bounds),
    )


def is_doubtful(spot: Spot, config: AuditConfig) -> bool:
    """Whether the slice is so far from what the points suggest that a full audit has to look.

    It refuses nobody: honest work may be this far off now and then.
    """
    return not spot.shortfall <= config.doubt


def _together(shares: Floats, recomputed: Floats) -> Doubles:
    """The sum of all pages' shares, none of them longer than may be."""
    lengths = np.sqrt(np.square(shares, dtype=np.float64).sum(axis=1))
    most = LONGEST_PAGE * _length(recomputed)
    kept = np.minimum(1.0, np.divide(most, lengths, out=np.ones_like(lengths), where=lengths > 0.0))
    together: Doubles = kept @ shares.astype(np.float64)
    return together


def _shortfall(total: Doubles, values: Floats, recomputed: OnPage, bounds: Bounds) -> float:
    lost, whole = 0.0, 0.0
    for (i, j), (k, m) in zip(pairwise(bounds.points), pairwise(bounds.slice), strict=True):
        on_points = _cosine(total[i:j], recomputed.points[i:j])
        on_slice = _cosine(values[k:m], recomputed.slice[k:m])
        weight = float(np.sqrt(m - k))
        lost += weight * (on_points - on_slice)
        whole += weight
    return lost / whole if whole else 0.0


def _weights(bounds: Bounds) -> Doubles:
    """For how many coordinates of the slice each point stands."""
    rows = zip(pairwise(bounds.points), pairwise(bounds.slice), strict=True)
    parts = [np.full(j - i, (m - k) / max(1, j - i)) for (i, j), (k, m) in rows]
    return np.concatenate(parts) if parts else np.zeros(0)


def _cosine(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """0 where there is nothing."""
    x, y = left.astype(np.float64), right.astype(np.float64)
    size = float(np.sqrt(np.dot(x, x) * np.dot(y, y)))
    return float(np.dot(x, y)) / size if size != 0.0 else 0.0


def _length(vector: Floats) -> float:
    return float(np.linalg.norm(vector.astype(np.float64)))
