"""Audits: recompute a member's update on its pages, and judge what it sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from boltzmann.node.book import Book
from boltzmann.node.node import Node
from boltzmann.node.round import Floats, Received, Round, reopen
from boltzmann.protocol import aggregate
from boltzmann.protocol.receipts import LARGEST_NORM, SMALLEST_NORM, Verdict
from boltzmann.protocol.rejection import ABSENCES, Reason, Rejection
from boltzmann.protocol.rewards import absent, failed, passed, weights
from boltzmann.protocol.scoring import Comparison, compare, judge


@dataclass(frozen=True)
class Finding:
    """An audit's outcome. `loss`: the validator's own, in nats per token, on the member's pages."""

    comparison: Comparison
    refusal: Rejection | None
    loss: float
    norm: float


def plan(node: Node, book: Book, this: Round) -> None:
    """Queue the round's audits: who is not trusted first, then a private draw of the others."""
    known = [hotkey for hotkey in this.received if _is_known(node, book, this, hotkey)]
    fresh = [hotkey for hotkey in this.received if hotkey not in known]
    drawn = [hotkey for hotkey in known if node.private.random() < node.run.rewards.audit_rate]
    this.queue = [*_shuffled(node, fresh), *_shuffled(node, drawn)]


async def audit_until(node: Node, book: Book, this: Round, block: int, *, newcomers: bool) -> None:
    """Work through the queue until `block`; with `newcomers`, those without trust only.

    Ends as soon as the state has gone beyond the round: its parameters are out of reach then.
    """
    while this.queue and node.blocks.latest < block and _is_within_reach(node, this):
        hotkey = this.queue[0]
        if newcomers and _is_known(node, book, this, hotkey):
            return
        finding = await node.worker.run(partial(examine, node, this, hotkey, this.received[hotkey]))
        this.queue.pop(0)
        _record(node, book, this, hotkey, finding)


def _is_known(node: Node, book: Book, this: Round, hotkey: str) -> bool:
    """Whether a hotkey has a recent pass, so that its delta may enter before it is audited."""
    return book.trusts(hotkey, this.window - 1 - node.run.rewards.trust_windows)


def _is_within_reach(node: Node, this: Round) -> bool:
    """Whether the parameters that the round's miners trained on can be had."""
    state = node.worker.state
    at = state.position.window
    return at < this.window or (at == this.window and state.can_undo)


def refuse(node: Node, book: Book, this: Round, hotkey: str, why: Rejection) -> None:
    """Record a member whose object did not arrive or open: absence decays, a forgery fails."""
    if not book.counts(hotkey, this.window, why.reason.value):
        return
    if why.reason in ABSENCES:
        book[hotkey] = absent(book[hotkey], node.run.rewards)
    else:
        book[hotkey] = failed(book[hotkey], node.run.rewards, 0.0, 0.0)
        book.judge(Verdict(hotkey, this.window, why.reason.value, 0.0, 0.0, 0.0))
    _report_refusal(node, this, hotkey, why)


def examine(node: Node, this: Round, hotkey: str, received: Received) -> Finding | Rejection:
    """In the worker's thread: the parameters are put back to what the window trained on."""
    opened = reopen(node, received)
    if isinstance(opened, Rejection):
        return opened
    with node.worker.state.parameters_before(this.window):
        recomputed, loss, tokens = _recompute(node, this, this.pages[hotkey])
    control = node.run.exchange.codec.decode(this.control)
    result = compare(opened.values, recomputed, control, this.chosen.bounds)
    refusal = judge(result, node.run.gate, this.chosen.layout.names)
    if refusal is None and opened.header.tokens != tokens:
        refusal = Rejection(Reason.BAD_TOKENS, f"claims {opened.header.tokens}, not {tokens}")
    return Finding(result, refusal, loss, aggregate.norm(recomputed))


def _recompute(node: Node, this: Round, pages: Sequence[int]) -> tuple[Floats, float, int]:
    """(slice values after the codec, loss, tokens) of the gradient on `pages`."""
    delta = node.worker.compute(pages)
    values = this.chosen.gather(delta.tensors)
    return node.run.exchange.codec.roundtrip(values), delta.loss, delta.tokens


def _record(node: Node, book: Book, this: Round, hotkey: str, finding: Finding | Rejection) -> None:
    if isinstance(finding, Rejection):
        refuse(node, book, this, hotkey, finding)
        return
    this.losses.append(finding.loss)
    if not book.counts(hotkey, this.window, "audited"):
        return
    rewards, found, refusal = node.run.rewards, finding.comparison, finding.refusal
    if not SMALLEST_NORM <= finding.norm <= LARGEST_NORM:  # nothing that could be aggregated
        refusal = refusal or Rejection(Reason.NORM, f"recomputed {finding.norm:g}")
    change = passed if refusal is None else failed
    book[hotkey] = change(book[hotkey], rewards, found.score, found.gate)
    reason = "" if refusal is None else refusal.reason.value
    norm = finding.norm if finding.norm <= LARGEST_NORM else 0.0
    book.judge(Verdict(hotkey, this.window, reason, found.score, found.gate, norm))
    node.telemetry.event("audited", window=this.window, hotkey=hotkey, reason=reason)
    if refusal is not None:
        _report_refusal(node, this, hotkey, refusal)


def _report_refusal(node: Node, this: Round, hotkey: str, why: Rejection) -> None:
    node.telemetry.event(
        "rejected",
        window=this.window,
        hotkey=hotkey,
        uid=this.members[hotkey].neuron.uid,
        reason=why.reason.value,
        detail=why.detail,
    )


def report(node: Node, book: Book, this: Round) -> None:
    """Tell what the round came to for each member. `loss` is the validator's own recomputation."""
    if this.queue:
        detail = (
            f"{len(this.queue)} of window {this.window} were still to do at its successor's close"
        )
        node.telemetry.event("error", what="audits dropped", detail=detail)
    shares = weights(book.standings)
    loss = fmean(this.losses) if this.losses else None
    node.telemetry.event("round", window=this.window, loss=loss, audited=len(this.losses))
    for hotkey, peer in this.members.items():
        standing = book[hotkey]
        node.telemetry.event(
            "peer",
            window=this.window,
            hotkey=hotkey,
            uid=peer.neuron.uid,
            score=standing.score,
            gate=standing.gate,
            moving=standing.moving,
            weight=shares.get(hotkey, 0.0),
        )


def _shuffled(node: Node, hotkeys: list[str]) -> list[str]:
    return node.private.sample(hotkeys, len(hotkeys))
