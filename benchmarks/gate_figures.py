"""Full and spot audits of what was sent, and the distributions of their figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from statistics import fmean

import numpy as np

from benchmarks.gate_scene import Recomputed, Scene
from boltzmann.node.conduct import Offer
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.scoring import (
    AuditConfig,
    Comparison,
    GateConfig,
    add_up,
    compare,
    compare_shares,
    decides,
    judge,
    judge_shares,
)
from boltzmann.protocol.spot import Bounds, compare_page, is_doubtful

QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)
LEAST, LOW, MEDIAN, HIGH, MOST = range(5)
LARGEST_ROOM = 1e6


@dataclass(frozen=True)
class Limits:
    """The thresholds an audit is judged by."""

    gate: GateConfig
    audit: AuditConfig


@dataclass(frozen=True)
class Audited:
    """One audit. `refusal`: its reason's word, "" for a pass; `tensor`: the one that it refused;
    `unsure`: a spot audit that left it to a full one.

    Among the figures `room` is how many times further off the worst of them could be before the
    audit refuses: 1 is at a threshold, below 1 is refused.
    """

    figures: Mapping[str, float]
    refusal: str
    tensor: str = ""
    unsure: bool = False


@dataclass(frozen=True)
class Summary:
    """Audits of one case. `figures`: the QUANTILES of each; `reasons`: how often which refused;
    `tensors`: how often which tensor was what refused; `unsure`: spot audits that a full one had to
    decide, whatever it came to."""

    audits: int
    refused: int
    reasons: Mapping[str, int]
    figures: Mapping[str, Sequence[float]]
    tensors: Mapping[str, int] = field(default_factory=dict)
    unsure: int = 0


def full_audit(scene: Scene, offer: Offer, work: Recomputed, limits: Limits) -> Audited:
    """As validators do it: every page recomputed, the whole slice compared, and each share."""
    floor = limits.audit.tensor_floor_full
    found = compare(offer.values, work.whole, work.control.slice, scene.chosen.bounds, floor)
    own = np.stack([page.points for page in work.pages])
    bounds = scene.points.bounds
    shares = compare_shares(offer.shares, own, work.control.points, bounds)
    gates = [share.gate for share in shares]
    refusal = (
        _arrival(scene, offer)
        or judge(found, limits.gate, scene.chosen.layout.names)
        or judge_shares(shares, limits.gate, limits.audit)
    )
    figures = {
        "score": found.score,
        "gate": found.gate,
        "tensor": found.tensor_cosine,
        "norm": found.norm_ratio,
        "share": min(gates),
        "shares": fmean(gates),
        "room": min(
            _room(found, limits.gate),
            _part(1.0 - min(gates), 1.0 - limits.audit.share_min),
            _part(1.0 - fmean(gates), 1.0 - limits.audit.share_mean_min),
            _ratio(
                fmean(share.norm_ratio for share in shares),
                limits.gate.norm_min,
                limits.gate.norm_max,
            ),
        ),
    }
    return _audited(figures, refusal, found, scene)


def spot_audit(
    scene: Scene, offer: Offer, page: int, work: Recomputed, limits: Limits, full: Audited
) -> Audited:
    """As validators do it: one page recomputed, and what it leaves open decided by `full`.

    `room` is that of the share alone: at 1 a full audit has to decide.
    """
    own, control, chosen = work.pages[page], work.control, scene.chosen
    bounds, sent = Bounds(scene.points.bounds, chosen.bounds), (offer.shares, offer.values)
    spot = compare_page(page, sent, own, control.points, bounds, limits.audit.tensor_floor)
    share = spot.share
    judged = judge(share, limits.gate, chosen.layout.names)
    figures = {
        "gate": share.gate,
        "tensor": share.tensor_cosine,
        "norm": share.norm_ratio,
        "room": _room(share, limits.gate),
        "shortfall": spot.shortfall,
    }
    at_the_door = _arrival(scene, offer)
    undecided = not decides(share, limits.audit) if judged else is_doubtful(spot, limits.audit)
    if at_the_door is None and undecided:
        return Audited(figures, full.refusal, full.tensor, unsure=True)
    return _audited(figures, at_the_door or judged, share, scene)


def summary(audits: Sequence[Audited]) -> Summary:
    """The distributions over some audits, at least one."""
    reasons = Counter(audit.refusal for audit in audits if audit.refusal)
    columns = {name: [audit.figures[name] for audit in audits] for name in audits[0].figures}
    figures = {name: np.quantile(values, QUANTILES).tolist() for name, values in columns.items()}
    tensors = Counter(audit.tensor for audit in audits if audit.tensor)
    refused, unsure = sum(reasons.values()), sum(audit.unsure for audit in audits)
    return Summary(len(audits), refused, _counted(reasons), figures, _counted(tensors), unsure)


def merged(parts: Sequence[Summary]) -> Summary:
    """All audits of a case together; of the quantiles within, the outermost, or their median."""
    reasons: Counter[str] = Counter()
    tensors: Counter[str] = Counter()
    for part in parts:
        reasons.update(part.reasons)
        tensors.update(part.tensors)
    rows = {name: np.array([part.figures[name] for part in parts]) for name in parts[0].figures}
    figures = {
        name: [*row.min(axis=0)[:MEDIAN], np.median(row[:, MEDIAN]), *row.max(axis=0)[HIGH:]]
        for name, row in rows.items()
    }
    audits, refused, unsure = (
        sum(getattr(part, name) for part in parts) for name in ("audits", "refused", "unsure")
    )
    return Summary(audits, refused, _counted(reasons), figures, _counted(tensors), unsure)


def _counted(counter: Counter[str]) -> dict[str, int]:
    """The most frequent first."""
    return dict(counter.most_common())


def _arrival(scene: Scene, offer: Offer) -> Rejection | None:
    """What is checked of every upload before any audit: that its shares add up."""
    on_points, on_slice = scene.points.meet(scene.chosen)
    return add_up(offer.shares[:, on_points], offer.values[on_slice], scene.codec.rounding)


def _audited(
    figures: Mapping[str, float], refusal: Rejection | None, found: Comparison, scene: Scene
) -> Audited:
    if refusal is None:
        return Audited(figures, "")
    by_tensor = refusal.reason is Reason.TENSOR
    name = scene.chosen.layout.names[found.tensor] if by_tensor else ""
    return Audited(figures, refusal.reason.value, name)


def _room(found: Comparison, config: GateConfig) -> float:
    return min(
        _part(1.0 - found.gate, 1.0 - config.gate_min),
        _part(1.0 - found.tensor_cosine, 1.0 - config.tensor_min),
        _ratio(found.norm_ratio, config.norm_min, config.norm_max),
    )


def _part(off: float, allowed: float) -> float:
    return allowed / max(off, allowed / LARGEST_ROOM)


def _ratio(found: float, least: float, most: float) -> float:
    if found <= 0.0 or found == float("inf"):
        return 0.0
    return _part(log(found), log(most)) if found > 1.0 else _part(-log(found), -log(least))
