"""Was the work done? One upload against its recomputation, on the slice, after the codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from boltzmann.protocol.rejection import Reason, Rejection

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class GateConfig:
    """What an audit must show. Measured margins: PROTOCOL §9 (honest bf16 ρ ≥ .9991)."""

    gate_min: float
    tensor_min: float
    norm_min: float
    norm_max: float


@dataclass(frozen=True)
class Comparison:
    """An audit's figures.

    `score` is s = cos(δ, ĝ); `gate` is ρ, the cosine after projecting the control gradient out of
    both; `tensor_cosine` is the smallest cosine over tensors, at tensor number `tensor`;
    `norm_ratio` is |δ| / |ĝ|.
    """

    score: float
    gate: float
    tensor: int
    tensor_cosine: float
    norm_ratio: float


def compare(
    delta: Floats, recomputed: Floats, control: Floats, bounds: Sequence[int]
) -> Comparison:
    """Figures of the upload δ against the recomputed ĝ and the control gradient c.

    All are `[n] float32` over the same slice; tensor i is `[bounds[i], bounds[i+1])`.

        s = cos(δ, ĝ),   ρ = cos(δ - P_c δ, ĝ - P_c ĝ),   P_c x = c (c·x) / (c·c)

    The control gradient comes from pages nobody was assigned: what all honest gradients share lies
    along it, so a copy from other pages keeps a high s but loses ρ.
    """
    products = np.array(
        [_products(delta[i:j], recomputed[i:j], control[i:j]) for i, j in pairwise(bounds)]
    )
    dd, gg, cc, dg, dc, gc = products.sum(axis=0)
    cosines = [_cosine(row[3], row[0], row[1]) for row in products]
    worst = int(np.argmin(cosines))
    if cc == 0.0:
        gate = _cosine(dg, dd, gg)
    else:  # also where cc is NaN: the gate is NaN then, which `judge` refuses
        gate = _cosine(dg - dc * gc / cc, dd - dc * dc / cc, gg - gc * gc / cc)
    return Comparison(
        score=_cosine(dg, dd, gg),
        gate=gate,
        tensor=worst,
        tensor_cosine=cosines[worst],
        norm_ratio=_norm_ratio(dd, gg),
    )


def judge(comparison: Comparison, config: GateConfig, names: Sequence[str]) -> Rejection | None:
    """None if the work passes, else the first threshold it fails, with the figure.

    Every test asks for what must hold, so that NaN fails.
    """
    if not comparison.gate >= config.gate_min:
        return Rejection(Reason.GATE, f"rho {comparison.gate:.4f} < {config.gate_min}")
    if not comparison.tensor_cosine >= config.tensor_min:
        name = names[comparison.tensor]
        return Rejection(
            Reason.TENSOR, f"{name}: {comparison.tensor_cosine:.4f} < {config.tensor_min}"
        )
    if not config.norm_min <= comparison.norm_ratio <= config.norm_max:
        return Rejection(Reason.NORM, f"norm ratio {comparison.norm_ratio:.4f}")
    return None


def _products(delta: Floats, recomputed: Floats, control: Floats) -> tuple[float, ...]:
    d, g, c = (x.astype(np.float64) for x in (delta, recomputed, control))
    pairs = ((d, d), (g, g), (c, c), (d, g), (d, c), (g, c))
    return tuple(float(np.dot(x, y)) for x, y in pairs)


def _norm_ratio(dd: float, gg: float) -> float:
    """√(dd / gg); two zero vectors agree here as well."""
    if gg > 0.0:
        return float(np.sqrt(dd / gg))
    return 1.0 if dd <= 0.0 else float("inf")


def _cosine(dot: float, left: float, right: float) -> float:
    """dot / √(left·right); two zero vectors agree, a zero and a non-zero one do not."""
    if left <= 0.0 and right <= 0.0:
        return 1.0
    if left <= 0.0 or right <= 0.0:
        return 0.0
    return float(dot / np.sqrt(left * right))
