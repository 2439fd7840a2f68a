"""What audits come to: standings, verdicts, credit and debt, and what is told of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from boltzmann.node.book import Book
from boltzmann.node.examine import Finding
from boltzmann.node.node import Node
from boltzmann.node.round import Round, Task, with_behind
from boltzmann.protocol.admission import equivocators
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

MANY = 3  # failed audits in a window that make a validator doubt itself if nobody passes


def is_known(node: Node, book: Book, this: Round, hotkey: str) -> bool:
    """Whether a hotkey has a recent pass, so that its delta may enter before it is audited."""
    return book.trusts(hotkey, this.window - node.run.rewards.trust_windows)


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


def judge_absences(node: Node, book: Book, this: Round) -> None:
    """Refuse whoever sent nothing that could be read, but for those whose work is behind: they are
    paid there, or not."""
    behind = this.behind.received.keys() if this.behind else frozenset()
    for hotkey, why in this.refused.items():
        if hotkey not in behind:
            refuse(node, book, this, hotkey, why)
    this.unpaid |= behind
    if behind:
        node.telemetry.event("behind", window=this.window, members=len(behind))


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


def refuse_two_faced(node: Node, book: Book, this: Round) -> None:
    """Hold it against who has signed different commits, as the round's receipts prove."""
    two_faced = equivocators(this.receipts, node.verify)
    for part in with_behind([this]):
        for hotkey in sorted(two_faced & set(part.members)):
            refuse(node, book, part, hotkey, Rejection(Reason.EQUIVOCATED))


def record(node: Node, book: Book, this: Round, task: Task, finding: Finding) -> None:
    """Record an audit that told, for standing, receipts and alarms."""
    hotkey = task.hotkey
    this.losses.append(finding.loss)
    refusal = finding.refusal
    if not SMALLEST_NORM <= finding.norm <= LARGEST_NORM:  # nothing that could be aggregated
        refusal = refusal or Rejection(Reason.NORM, f"recomputed {finding.norm:g}")
    if task.accuser and refusal is None:
        # What hardly passes here may have failed on another machine, or is made to be so: whoever
        # tells of it goes on being heard, after everybody else.
        until = this.window + node.run.rewards.trust_windows
        (book.put_off if finding.is_narrow else book.mute)(task.accuser, until)
        book.reassure(hotkey, this.window)
        return
    reason = "" if refusal is None else refusal.reason.value
    # A machine's own fault, such as a NaN, must not make the receipt that tells of it unreadable.
    score, gate, norm = map(_telling, (finding.score, finding.gate, finding.norm))
    verdict = Verdict(hotkey, this.window, reason, score, gate, norm, finding.page)
    is_first = book.counts(hotkey, this.window, "again" if task.accuser else "audited")
    if is_first:
        book[hotkey] = audited(book[hotkey], score, gate)
        book.judge(verdict)
        pages = len(this.pages[hotkey]) if finding.page < 0 else 1
        node.telemetry.event(
            "audited", window=this.window, hotkey=hotkey, reason=reason, pages=pages
        )
    if refusal is None:
        this.passed.add(hotkey)
    else:
        _fail(node, book, this, verdict, refusal, is_first=is_first, accused=bool(task.accuser))


def _telling(figure: float) -> float:
    return figure if math.isfinite(figure) and figure <= LARGEST_NORM else 0.0


def _fail(
    node: Node,
    book: Book,
    this: Round,
    verdict: Verdict,
    why: Rejection,
    *,
    is_first: bool,
    accused: bool,
) -> None:
    """Hold a failed audit against its hotkey: once, but anew for the round after a restart."""
    hotkey = verdict.hotkey
    if hotkey not in {known.hotkey for known in this.failed}:
        this.failed.append(verdict)
    if accused or this.window <= book.settled:
        book.convict(verdict)
    if hotkey in this.unpaid:
        return
    this.unpaid.add(hotkey)
    if is_first:
        credited = this.credited.pop(hotkey, 0.0)
        book[hotkey] = failed(book[hotkey], node.run.rewards, credited)
        _report_refusal(node, this, hotkey, why)


def settle(node: Node, book: Book, this: Round) -> None:
    """Credit the round, and what is behind it, to whose work counts as done: who passed, or is
    trusted and unaudited.

    Who failed is on probation from here on, and earns only where it was looked at. Nothing moves
    for those whose spot audit failed narrowly when no time was left for a full one, nor for who is
    in debt and was this node's to look at, in vain.
    """
    parts = with_behind([this])
    _convict(node, book, parts)
    for part in parts:
        _credit(node, book, part)


def _credit(node: Node, book: Book, this: Round) -> None:
    unknown = {task.hotkey for task in this.open} | (this.watched - this.passed)
    for hotkey in this.members:
        if hotkey in this.unpaid or hotkey in unknown:
            continue
        done = hotkey in this.passed or is_known(node, book, this, hotkey)
        if not done and not book.on_probation(hotkey):
            continue
        if book.counts(hotkey, this.window, "paid"):
            if done:
                this.credited[hotkey] = max(0.0, book[hotkey].score)
            credit = earned if done else unearned
            book[hotkey] = credit(book[hotkey], node.run.rewards)


def _convict(node: Node, book: Book, parts: Sequence[Round]) -> None:
    """Put on probation whoever failed, unless that is everybody: then the fault may be here."""
    failed = [verdict for part in parts for verdict in part.failed]
    if len(failed) >= MANY and not any(part.passed for part in parts):
        detail = (
            f"all {len(failed)} audits of window {parts[-1].window} failed: if other validators "
            f"pass these miners, this machine computes something else than they do"
        )
        node.telemetry.event("error", what="every audit failed", detail=detail)
        return
    for verdict in failed:
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
    if left := sum(len(part.queue) + len(part.open) for part in with_behind([this])):
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
