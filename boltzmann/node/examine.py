"""Recompute a member's update, or one page of it, and judge what it sent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boltzmann.node.node import Node
from boltzmann.node.round import Round, Task, on_page, reopen
from boltzmann.protocol import aggregate
from boltzmann.protocol.points import Points
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.scoring import (
    AuditConfig,
    Comparison,
    GateConfig,
    compare,
    compare_shares,
    decides,
    halfway,
    judge,
    judge_shares,
)
from boltzmann.protocol.spot import Bounds, compare_page, is_doubtful
from boltzmann.protocol.wire import Opened
from boltzmann.train.gradients import Delta


@dataclass(frozen=True)
class Finding:
    """An audit's outcome.

    `score` and `gate`: of the delta, or of the one page's share; `loss`: the validator's own, in
    nats per token, on what it recomputed; `norm`: of the recomputed delta, estimated from its page
    in a spot audit; `page`: that page's number in the dataset, -1 for all; `is_open`: a spot audit
    that failed, but not by so much that it would tell, or that leaves a doubt: a full one has to;
    `is_narrow`: passed, by so little that another machine may have found otherwise.
    """

    score: float
    gate: float
    refusal: Rejection | None
    loss: float
    norm: float
    page: int = -1
    is_open: bool = False
    is_narrow: bool = False


def examine(node: Node, this: Round, task: Task, until: int = sys.maxsize) -> Finding | Rejection:
    """In the worker's thread: the parameters are put back to what the window trained on.

    Raises: BrokenOff between two pages, once block `until` is there.
    """

    def compute(pages: Sequence[int], points: Points | None = None) -> Delta:
        return node.worker.compute(pages, points, lambda: node.blocks.latest < until)

    opened = reopen(node, this.received[task.hotkey])
    if isinstance(opened, Rejection):
        return opened
    with node.worker.state.parameters_at(this.duty.base_root):
        if not this.control:
            this.set_control(node, compute(node.schedule.control(this.window)))
        pages, place = this.pages[task.hotkey], task.page
        if place is None:
            return _examine_all(node, this, opened, compute(pages, this.points))
        share = compute((pages[place],), this.points)
        return _examine_page(node, this, task.hotkey, place, opened, share)


def _examine_all(node: Node, this: Round, opened: Opened, delta: Delta) -> Finding:
    codec, gate, rules = node.run.exchange.codec, node.run.gate, node.run.audit
    recomputed = codec.roundtrip(delta.on_slice(this.chosen))
    control = codec.decode(this.control)
    bounds, floor = this.chosen.bounds, rules.tensor_floor_full
    result = compare(opened.values, recomputed, control, bounds, floor)
    shares: tuple[Comparison, ...] = ()
    if this.points.size:
        own = np.stack([codec.roundtrip(share) for share in delta.shares])
        shares = compare_shares(opened.shares, own, this.control_points, this.points.bounds)

    def judged(gate: GateConfig, rules: AuditConfig) -> Rejection | None:
        refusal = judge(result, gate, this.chosen.layout.names)
        return refusal or judge_shares(shares, gate, rules)

    refusal, halfway_there = judged(gate, rules), judged(*halfway(gate, rules))
    if refusal is None and opened.header.tokens != delta.tokens:
        refusal = Rejection(Reason.BAD_TOKENS, f"claims {opened.header.tokens}, not {delta.tokens}")
    norm, is_narrow = aggregate.norm(recomputed), halfway_there is not None
    return Finding(result.score, result.gate, refusal, delta.loss, norm, is_narrow=is_narrow)


def _examine_page(
    node: Node, this: Round, hotkey: str, place: int, opened: Opened, delta: Delta
) -> Finding:
    pages = this.pages[hotkey]
    rules, names = node.run.audit, this.chosen.layout.names
    spot = compare_page(
        place,
        (opened.shares, opened.values),
        on_page(node, this, delta, len(pages)),
        this.control_points,
        Bounds(this.points.bounds, this.chosen.bounds),
        rules.tensor_floor,
    )
    share = spot.share
    strict, _ = halfway(node.run.gate, rules)
    refusal, is_narrow = judge(share, node.run.gate, names), bool(judge(share, strict, names))
    is_open = not decides(share, rules) if refusal else is_doubtful(spot, rules)
    loss, norm = delta.loss, spot.norm
    return Finding(share.score, share.gate, refusal, loss, norm, pages[place], is_open, is_narrow)
