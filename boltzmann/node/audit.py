"""Audits: recompute a member's update, or one page of it, and judge what it sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

import numpy as np

from boltzmann.node.book import Book
from boltzmann.node.node import Node
from boltzmann.node.round import Received, Round, Task, on_page, reopen
from boltzmann.protocol import aggregate
from boltzmann.protocol.auditing import chance, is_neglected, renewal, responsible, second_chance
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.receipts import LARGEST_NORM, SMALLEST_NORM, Verdict
from boltzmann.protocol.rejection import ABSENCES, Reason, Rejection
from boltzmann.protocol.rewards import (
    absent,
    audited,
    earned,
    failed,
    newcomer,
    unearned,
    weights,
)
from boltzmann.protocol.scoring import (
    AuditConfig,
    Comparison,
    GateConfig,
    compare,
    compare_page,
    compare_shares,
    decides,
    halfway,
    judge,
    judge_shares,
)
from boltzmann.protocol.wire import Opened

MANY = 3  # failed audits in a window that make a validator doubt itself if nobody passes


@dataclass(frozen=True)
class Finding:
    """An audit's outcome.

    `score` and `gate`: of the delta, or of the one page's share; `loss`: the validator's own, in
    nats per token, on what it recomputed; `norm`: of the recomputed delta, estimated from its page
    in a spot audit; `page`: that page's number in the dataset, -1 for all; `is_open`: a spot audit
    that failed, but not by so much that it would tell: a full one has to; `is_narrow`: passed, by
    so little that another machine may have found otherwise.
    """

    score: float
    gate: float
    refusal: Rejection | None
    loss: float
    norm: float
    page: int = -1
    is_open: bool = False
    is_narrow: bool = False


async def plan(node: Node, book: Book, this: Round) -> None:
    """Queue the round's audits: who is not trusted first, then a private draw of the others.

    Of those on probation one is looked at, so that many cheats cost no more than one.
    """
    close_hash = await node.blocks.hash(node.clock.close(this.window))
    fresh, others = [], []
    probation = {hotkey for hotkey in this.received if book.on_probation(hotkey)}
    for hotkey in sorted(this.received.keys() - probation):
        if not _is_known(node, book, this, hotkey):
            fresh.append(Task(hotkey, None if book.suspects(hotkey) else _spot(node, this)))
        elif _is_due(node, book, this, hotkey):
            full = node.private.random() < node.run.audit.full_rate or hotkey in book.unsettled
            others.append(Task(hotkey, None if full else _spot(node, this)))
    chances = [Task(hotkey) for hotkey in second_chance(close_hash, probation)]
    this.queue = [*_shuffled(node, fresh), *chances, *_shuffled(node, others)]


async def watch(node: Node, book: Book, this: Round) -> None:
    """Queue, before anything else, the trusted who are in debt or whom nobody has audited for long,
    if it is for this node to look at them.

    Only once the window is decided, when deltas are neither shown nor read any more. One page is
    enough, unless the last one did not tell.
    """
    decide_hash = await node.blocks.hash(node.clock.decide(this.window))
    drawn_by_lot = {task.hotkey: task for task in this.queue if not task.accuser}
    undecided = {task.hotkey for task in this.open}
    stakes, ours = this.council.stakes, []
    for hotkey in sorted(this.received.keys() - this.passed - this.unpaid - undecided):
        if not _is_known(node, book, this, hotkey):
            continue
        owes = book[hotkey].debt > 0.0
        neglected = is_neglected(book.age(hotkey, this.window), node.run.audit.age_max)
        if (owes or neglected) and responsible(decide_hash, hotkey, stakes) == node.hotkey:
            page = None if hotkey in book.unsettled else _spot(node, this)
            ours.append(drawn_by_lot.get(hotkey, Task(hotkey, page)))
            if owes:
                this.watched.add(hotkey)
    this.queue = [*_shuffled(node, ours), *(task for task in this.queue if task not in ours)]


def _is_due(node: Node, book: Book, this: Round, hotkey: str) -> bool:
    """Whether to audit a trusted hotkey by lot, or to renew its pass."""
    stakes, rules = this.council.stakes, node.run.rewards
    total = sum(stakes.values())
    odds = chance(rules.audit_rate, stakes.get(node.hotkey, 0) / total if total else 0.0)
    renewing = renewal(this.window - book.audited[hotkey], rules.trust_windows)
    return node.private.random() < max(odds, renewing)


def _spot(node: Node, this: Round) -> int | None:
    """The place of the page to recompute, private to this node; None where there are no points."""
    return node.private.randrange(node.run.data.pages_per_member) if this.points.size else None


def _shuffled(node: Node, tasks: list[Task]) -> list[Task]:
    return node.private.sample(tasks, len(tasks))


def _leave_open(node: Node, book: Book, this: Round, task: Task) -> None:
    """A full audit has to decide: at once for whom an update or another validator's word waits.

    Of the trusted after everything else: shares that are blurred on purpose must keep nobody from
    being audited.
    """
    if task.accuser or not _is_known(node, book, this, task.hotkey):
        this.queue.insert(0, task)
    else:
        this.open.append(task)
        book.unsettled.add(task.hotkey)


async def decide_open(node: Node, book: Book, this: Round, block: int) -> None:
    """Do what was left open, as far as there is time; the queue must be empty, or out of time."""
    if this.queue:
        return
    this.queue, this.open = this.open, []
    await audit_until(node, book, this, block, newcomers=False)
    this.queue, this.open = [], this.queue


async def audit_until(node: Node, book: Book, this: Round, block: int, *, newcomers: bool) -> None:
    """Work through the queue until `block`; with `newcomers`, whom others have failed and those
    without trust only.

    Ends as soon as the state has gone beyond the round: its parameters are out of reach then.
    """
    while this.queue and node.blocks.latest < block and is_within_reach(node, this):
        task = this.queue[0]
        if task.accuser and book.is_muted(task.accuser, this.window):
            this.queue.pop(0)
            book.reassure(task.hotkey, this.window)  # a liar's word holds nothing against anybody
            continue
        if _is_moot(book, task):
            this.queue.pop(0)
            continue
        if newcomers and not task.accuser and _is_known(node, book, this, task.hotkey):
            return
        received = this.received[task.hotkey]
        finding = await node.worker.run(partial(examine, node, this, task, received))
        this.queue.pop(0)
        _record(node, book, this, task, finding)


def _is_known(node: Node, book: Book, this: Round, hotkey: str) -> bool:
    """Whether a hotkey has a recent pass, so that its delta may enter before it is audited."""
    return book.trusts(hotkey, this.window - node.run.rewards.trust_windows)


def _is_moot(book: Book, task: Task) -> bool:
    """Whether nothing hangs on an audit any more: the hotkey has left, or who was accused is found
    out already."""
    return task.hotkey not in book or (bool(task.accuser) and book.has_failed(task.hotkey))


def is_within_reach(node: Node, this: Round) -> bool:
    """Whether the parameters that the round's miners trained on can be had."""
    return node.worker.state.reaches_before(this.window)


def enrol(node: Node, book: Book, this: Round, registered: Iterable[Neuron]) -> None:
    """Begin the standings of new members.

    Who keeps its slot but is no member any more, by another record on chain say, keeps debt and
    probation and counts as absent: nobody shall leave for a window and come back without them.
    """
    held = book.standings
    rewards = node.run.rewards
    staying = (n for n in registered if n.hotkey in this.pages or n.hotkey in held)
    book.enrol(staying, lambda registered_at: newcomer(registered_at, rewards))
    for hotkey in book.standings.keys() - this.pages.keys():
        if book.counts(hotkey, this.window, Reason.ABSENT.value):
            book[hotkey] = absent(book[hotkey], rewards)


def refuse(node: Node, book: Book, this: Round, hotkey: str, why: Rejection) -> None:
    """Record a member whose object did not arrive or open: absence decays, a forgery fails."""
    this.unpaid.add(hotkey)
    if not book.counts(hotkey, this.window, why.reason.value):
        return
    if why.reason in ABSENCES:
        book[hotkey] = absent(book[hotkey], node.run.rewards)
    else:
        book[hotkey] = failed(audited(book[hotkey], 0.0, 0.0), node.run.rewards)
        book.judge(Verdict(hotkey, this.window, why.reason.value, 0.0, 0.0, 0.0))
    _report_refusal(node, this, hotkey, why)


def examine(node: Node, this: Round, task: Task, received: Received) -> Finding | Rejection:
    """In the worker's thread: the parameters are put back to what the window trained on."""
    opened = reopen(node, received)
    if isinstance(opened, Rejection):
        return opened
    with node.worker.state.parameters_before(this.window):
        if not this.control:
            this.set_control(node, node.worker.compute(node.schedule.control(this.window)))
        if task.page is None:
            return _examine_all(node, this, task.hotkey, opened)
        return _examine_page(node, this, task.hotkey, task.page, opened)


def _examine_all(node: Node, this: Round, hotkey: str, opened: Opened) -> Finding:
    codec, gate, rules = node.run.exchange.codec, node.run.gate, node.run.audit
    delta = node.worker.compute(this.pages[hotkey], this.points)
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


def _examine_page(node: Node, this: Round, hotkey: str, place: int, opened: Opened) -> Finding:
    page = this.pages[hotkey][place]
    delta = node.worker.compute((page,), this.points)
    pages = len(this.pages[hotkey])
    spot = compare_page(
        place,
        opened.shares,
        on_page(node, this, delta, pages),
        this.control_points,
        this.points.bounds,
        node.run.audit.tensor_floor,
    )
    share, names = spot.share, this.chosen.layout.names
    strict, _ = halfway(node.run.gate, node.run.audit)
    refusal, is_narrow = judge(share, node.run.gate, names), bool(judge(share, strict, names))
    is_open = refusal is not None and not decides(share, node.run.audit)
    loss, norm = delta.loss, spot.norm
    return Finding(share.score, share.gate, refusal, loss, norm, page, is_open, is_narrow)


def _record(node: Node, book: Book, this: Round, task: Task, finding: Finding | Rejection) -> None:
    hotkey = task.hotkey
    if isinstance(finding, Rejection):
        refuse(node, book, this, hotkey, finding)
        return
    if finding.is_open:
        _leave_open(node, book, this, replace(task, page=None))
        return
    this.losses.append(finding.loss)
    refusal = finding.refusal
    if not SMALLEST_NORM <= finding.norm <= LARGEST_NORM:  # nothing that could be aggregated
        refusal = refusal or Rejection(Reason.NORM, f"recomputed {finding.norm:g}")
    if task.accuser and refusal is None:
        # What hardly passes here may have failed on another machine, or is made to be so.
        if not finding.is_narrow:
            book.mute(task.accuser, this.window + node.run.rewards.trust_windows)
        book.reassure(hotkey, this.window)
        return
    if refusal is None:
        this.passed.add(hotkey)
    if not book.counts(hotkey, this.window, "again" if task.accuser else "audited"):
        return
    book[hotkey] = audited(book[hotkey], finding.score, finding.gate)
    reason = "" if refusal is None else refusal.reason.value
    norm = finding.norm if finding.norm <= LARGEST_NORM else 0.0
    verdict = Verdict(hotkey, this.window, reason, finding.score, finding.gate, norm, finding.page)
    book.judge(verdict)
    pages = len(this.pages[hotkey]) if finding.page < 0 else 1
    node.telemetry.event("audited", window=this.window, hotkey=hotkey, reason=reason, pages=pages)
    if refusal is not None:
        this.failed.append(verdict)
        if task.accuser or this.window <= book.settled:
            book.convict(verdict)
    if refusal is not None and hotkey not in this.unpaid:
        this.unpaid.add(hotkey)
        credited = this.credited.pop(hotkey, 0.0)
        book[hotkey] = failed(book[hotkey], node.run.rewards, credited)
        _report_refusal(node, this, hotkey, refusal)


def settle(node: Node, book: Book, this: Round) -> None:
    """Credit the round to whose work counts as done: who passed, or is trusted and unaudited.

    Who failed is on probation from here on, and earns only where it was looked at. Nothing moves
    for those whose spot audit failed narrowly when no time was left for a full one, nor for who is
    in debt and was this node's to look at, in vain.
    """
    _convict(node, book, this)
    unknown = {task.hotkey for task in this.open} | (this.watched - this.passed)
    for hotkey in this.members:
        if hotkey in this.unpaid or hotkey in unknown:
            continue
        done = hotkey in this.passed or _is_known(node, book, this, hotkey)
        if not done and not book.on_probation(hotkey):
            continue
        if book.counts(hotkey, this.window, "paid"):
            if done:
                this.credited[hotkey] = max(0.0, book[hotkey].score)
            credit = earned if done else unearned
            book[hotkey] = credit(book[hotkey], node.run.rewards)


def _convict(node: Node, book: Book, this: Round) -> None:
    """Put on probation whoever failed, unless that is everybody: then the fault may be here."""
    if len(this.failed) >= MANY and not this.passed:
        detail = (
            f"all {len(this.failed)} audits of window {this.window} failed: if other validators "
            f"pass these miners, this machine computes something else than they do"
        )
        node.telemetry.event("error", what="every audit failed", detail=detail)
        return
    for verdict in this.failed:
        book.convict(verdict)


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
    if left := len(this.queue) + len(this.open):
        detail = f"{left} of window {this.window} were still to do at its successor's close"
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
            debt=standing.debt,
            weight=shares.get(hotkey, 0.0),
        )
