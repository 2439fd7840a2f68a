"""Was the work done? One upload against its recomputation, on the slice, after the codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.setting import meaning

Floats = NDArray[np.float32]

_TINY = 1e-36  # what underflow may leave


@dataclass(frozen=True)
class GateConfig:
    """What an audit must show. Measured margins: docs/gate.md."""

    gate_min: float = field(
        metadata=meaning(
            "least ρ: the cosine of what was sent and what was recomputed, after the control "
            "gradient was projected out of both"
        )
    )
    tensor_min: float = field(metadata=meaning("least cosine of any one tensor"))
    norm_min: float = field(metadata=meaning("least length of what was sent, by the recomputed"))
    norm_max: float = field(metadata=meaning("largest length of what was sent, by the recomputed"))


@dataclass(frozen=True)
class AuditConfig:
    """How audits are done."""

    points: int = field(
        default=4096,
        metadata=meaning(
            "audit points per window, on which each page's share travels; 0 for none, which makes "
            "all audits full",
            "coordinates",
        ),
    )
    full_rate: float = field(
        default=0.125, metadata=meaning("share of a trusted hotkey's audits that are full")
    )
    age_max: int = field(
        default=16,
        metadata=meaning(
            "after so long without anybody's audit of a hotkey one is certain", "windows"
        ),
    )
    tensor_floor: float = field(
        default=0.01,
        metadata=meaning(
            "share of a page's gradient length below which a tensor is not compared by itself in a "
            "spot audit"
        ),
    )
    tensor_floor_full: float = field(
        default=3e-5,
        metadata=meaning(
            "share of a delta's gradient length below which a tensor is not compared by itself in "
            "a full audit: in bf16 it is rounding"
        ),
    )
    share_min: float = field(
        default=0.9,
        metadata=meaning(
            "least ρ of one page's share: below it a spot audit refuses; what fails a spot audit "
            "above it is decided by a full one"
        ),
    )
    share_mean_min: float = field(
        default=0.99,
        metadata=meaning("least mean ρ of all pages' shares, which a full audit looks at as well"),
    )
    doubt: float = field(
        default=0.15,
        metadata=meaning(
            "most by which the delta's cosines with the page that a spot audit recomputed may be "
            "below what the audit points suggest, on average over tensors: beyond it a full audit "
            "decides"
        ),
    )

    def __post_init__(self) -> None:
        """Raises: ValueError naming what is out of range."""
        if self.points < 0:
            raise ValueError(f"audit.points must not be negative: {self.points}")
        if not 0.0 < self.full_rate <= 1.0:
            raise ValueError(f"audit.full_rate must be in (0, 1], not {self.full_rate}")
        if self.age_max < 1:
            raise ValueError(f"audit.age_max must be 1 or more: {self.age_max}")
        for name in ("tensor_floor", "tensor_floor_full"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"audit.{name} must be in [0, 1), not {getattr(self, name)}")
        if not -1.0 <= self.share_min <= self.share_mean_min:
            raise ValueError(
                f"audit.share_min must be from -1 to audit.share_mean_min ({self.share_mean_min}), "
                f"not {self.share_min}"
            )
        if not 0.0 < self.doubt <= 2.0:
            raise ValueError(f"audit.doubt must be in (0, 2], not {self.doubt}")


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
    delta: Floats,
    recomputed: Floats,
    control: Floats,
    bounds: Sequence[int],
    floor: float = 0.0,
) -> Comparison:
    """Figures of the upload δ against the recomputed ĝ and the control gradient c.

    All are `[n] float32` over the same slice; tensor i is `[bounds[i], bounds[i+1])`.

        s = cos(δ, ĝ),   ρ = cos(δ - P_c δ, ĝ - P_c ĝ),   P_c x = c (c·x) / (c·c)

    The control gradient comes from pages nobody was assigned: what all honest gradients share lies
    along it, so a copy from other pages keeps a high s but loses ρ.

    Tensors shorter than `floor` times the whole, in both, are not compared by themselves: in bf16
    they are mostly rounding. Unless what was sent is much longer than what was recomputed, and than
    rounding makes it: it would outweigh all others' there.
    """
    products = np.array(
        [_products(delta[i:j], recomputed[i:j], control[i:j]) for i, j in pairwise(bounds)]
    )
    dd, gg, cc, dg, dc, gc = products.sum(axis=0)
    least = floor * floor * gg
    cosines = [
        1.0 if _is_rounding(row[0], row[1], least) else _cosine(row[3], row[0], row[1])
        for row in products
    ]
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


def compare_shares(
    shares: Floats, recomputed: Floats, control: Floats, bounds: Sequence[int]
) -> tuple[Comparison, ...]:
    """Each page's: `shares` and `recomputed` are `[pages, points]`, `control` is `[points]`."""
    pairs = zip(shares, recomputed, strict=True)
    return tuple(compare(sent, own, control, bounds) for sent, own in pairs)


def add_up(shares: Floats, values: Floats, rounding: float) -> Rejection | None:
    """None if shares `[pages, n]` add up to the delta's `values` `[n]` at the same coordinates.

    Each number is off by at most `rounding` of itself, once for the codec; a little is left for the
    additions.
    """
    total = shares.sum(axis=0, dtype=np.float64)
    room = np.abs(shares).sum(axis=0, dtype=np.float64) + np.abs(values)
    wrong = np.flatnonzero(~(np.abs(total - values) <= 1.05 * rounding * room + _TINY))
    if len(wrong) == 0:
        return None
    detail = f"at {len(wrong)} of {len(values)} points, first {total[wrong[0]]:g}, not "
    return Rejection(Reason.SHARES, f"{detail}{values[wrong[0]]:g}")


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


def halfway(gate: GateConfig, audit: AuditConfig) -> tuple[GateConfig, AuditConfig]:
    """Thresholds halfway to what work without any rounding shows.

    Who passes the run's own thresholds and fails these may well fail the former on another machine.
    """

    def half(threshold: float) -> float:
        return (1.0 + threshold) / 2.0

    stricter = map(half, (gate.gate_min, gate.tensor_min, gate.norm_min, gate.norm_max))
    shares, mean = half(audit.share_min), half(audit.share_mean_min)
    return GateConfig(*stricter), replace(audit, share_min=shares, share_mean_min=mean)


def decides(share: Comparison, config: AuditConfig) -> bool:
    """Whether a spot audit that failed refuses by itself; else a full audit has to say.

    bf16 blurs some pages' gradients far more than others': one page that falls short by a little
    tells nothing, all pages together do.
    """
    return not share.gate >= config.share_min


def judge_shares(
    found: Sequence[Comparison], gate: GateConfig, audit: AuditConfig
) -> Rejection | None:
    """None if a full audit finds the pages' shares to be those of the work, else what is wrong.

    Each must be near, and they must be nearer on average, and as long: rounding in bf16 puts few
    pages off, and work that was not done adds up. No pages: there is nothing to judge.
    """
    for place, share in enumerate(found):
        if not share.gate >= audit.share_min:
            detail = f"page {place + 1} of {len(found)}: rho {share.gate:.4f} < {audit.share_min}"
            return Rejection(Reason.GATE, detail)
    if not found:
        return None
    mean = fmean(share.gate for share in found)
    if not mean >= audit.share_mean_min:
        return Rejection(Reason.GATE, f"mean of the pages: rho {mean:.4f} < {audit.share_mean_min}")
    ratio = fmean(share.norm_ratio for share in found)
    if not gate.norm_min <= ratio <= gate.norm_max:
        return Rejection(Reason.NORM, f"mean of the pages: norm ratio {ratio:.4f}")
    return None


def _is_rounding(sent: float, recomputed: float, least: float) -> bool:
    """Of squared lengths: whether a tensor is so short that it need not be compared by itself."""
    return recomputed < least and sent < least and sent <= max(16.0 * recomputed, least / 9.0)


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
