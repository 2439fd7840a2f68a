"""Audits: recompute a member's update on its pages, and judge what it sent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from boltzmann.node.book import Book
from boltzmann.node.node import Node
from boltzmann.node.round import Floats, Received, Round, reopen
from boltzmann.protocol import aggregate
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.rewards import absent, failed, passed, trusted, weights
from boltzmann.protocol.scoring import Comparison, compare, judge

# Who is audited is private to the validator, and never consensus-relevant.
_private = random.SystemRandom()


@dataclass(frozen=True)
class Verdict:
    """An audit's outcome. `loss`: the validator's own, in nats per token, on the member's pages."""

    comparison: Comparison
    refusal: Rejection | None
    loss: float
    norm: float


def plan(node: Node, book: Book, this: Round) -> None:
    """Queue the round's audits: who is not trusted first, then a private draw of the others."""
    rewards = node.run.rewards
    known = [h for h in this.received if trusted(book[h], rewards, this.window - 1)]
    fresh = [h for h in this.received if h not in known]
    drawn = [h for h in known if _private.random() < rewards.audit_rate]
    this.queue = [*_shuffled(fresh), *_shuffled(drawn)]


async def audit_until(node: Node, book: Book, this: Round, block: int, *, newcomers: bool) -> None:
    """Work through the queue until `block`; with `newcomers`, those without trust only.

    Ends as soon as the state has gone beyond the round: its parameters are out of reach then.
    """
    state = node.worker.state
    while this.queue and node.blocks.latest < block and state.position.window <= this.window:
        hotkey = this.queue[0]
        if newcomers and trusted(book[hotkey], node.run.rewards, this.window - 1):
            return
        verdict = await node.worker.run(
            lambda who=hotkey: _audit(node, this, who, this.received[who])  # type: ignore[misc]
        )
        this.queue.pop(0)
        _record(node, book, this, hotkey, verdict)


def refuse(node: Node, book: Book, this: Round, hotkey: str, why: Rejection) -> None:
    """Record a member whose object did not arrive or open: absence decays, a forgery fails."""
    if why.reason in (Reason.ABSENT, Reason.SLOW, Reason.UNREACHABLE):
        book[hotkey] = absent(book[hotkey], node.run.rewards)
    else:
        book[hotkey] = failed(book[hotkey], node.run.rewards, this.window, 0.0, 0.0)
    _report_refusal(node, this, hotkey, why)


def _audit(node: Node, this: Round, hotkey: str, received: Received) -> Verdict | Rejection:
    """In the worker's thread: the parameters are put back to what the window trained on."""
    opened = reopen(node, received.path, received.known)
    if isinstance(opened, Rejection):
        return opened
    with node.worker.state.parameters_before(this.window):
        recomputed, loss, tokens = _recompute(node, this, this.pages[hotkey])
    control = node.run.exchange.codec.decode(this.control)
    result = compare(opened.values, recomputed, control, this.chosen.bounds)
    refusal = judge(result, node.run.gate, this.chosen.layout.names)
    if refusal is None and opened.header.tokens != tokens:
        refusal = Rejection(Reason.BAD_TOKENS, f"claims {opened.header.tokens}, not {tokens}")
    return Verdict(result, refusal, loss, aggregate.norm(recomputed))


def _recompute(node: Node, this: Round, pages: Sequence[int]) -> tuple[Floats, float, int]:
    """(slice values after the codec, loss, tokens) of the gradient on `pages`."""
    delta = node.worker.compute(pages)
    values = this.chosen.gather(delta.tensors)
    return node.run.exchange.codec.roundtrip(values), delta.loss, delta.tokens


def _record(node: Node, book: Book, this: Round, hotkey: str, verdict: Verdict | Rejection) -> None:
    if isinstance(verdict, Rejection):
        refuse(node, book, this, hotkey, verdict)
        return
    rewards, found = node.run.rewards, verdict.comparison
    if verdict.refusal is None:
        book[hotkey] = passed(
            book[hotkey], rewards, this.window, found.score, found.gate, verdict.norm
        )
    else:
        book[hotkey] = failed(book[hotkey], rewards, this.window, found.score, found.gate)
        _report_refusal(node, this, hotkey, verdict.refusal)
    this.losses.append(verdict.loss)


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


def _shuffled(hotkeys: list[str]) -> list[str]:
    return _private.sample(hotkeys, len(hotkeys))
