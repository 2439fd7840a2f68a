"""Whom to audit, when, and how much of it: the queue, and working through it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from boltzmann.errors import BrokenOff
from boltzmann.node.book import Book
from boltzmann.node.examine import examine
from boltzmann.node.node import Node
from boltzmann.node.reckoning import is_known, record, refuse
from boltzmann.node.round import Round, Task
from boltzmann.protocol.auditing import chance, renewal, responsible, second_chance
from boltzmann.protocol.rejection import Rejection


async def plan(node: Node, book: Book, this: Round) -> None:
    """Queue the round's audits: who is not trusted first, then a private draw of the others.

    Of those on probation one is looked at, so that many cheats cost no more than one.
    """
    close_hash = await node.blocks.hash(node.clock.close(this.window))
    fresh, others = [], []
    probation = {hotkey for hotkey in this.received if book.on_probation(hotkey)}
    for hotkey in sorted(this.received.keys() - probation):
        if not is_known(node, book, this, hotkey):
            fresh.append(Task(hotkey, None if book.suspects(hotkey) else _spot(node, this)))
        elif _is_due(node, book, this, hotkey):
            others.append(Task(hotkey, _page(node, book, this, hotkey)))
    chances = [Task(hotkey) for hotkey in second_chance(close_hash, probation)]
    this.queue = [*_shuffled(node, fresh), *chances, *_shuffled(node, others)]


async def watch(node: Node, book: Book, this: Round) -> None:
    """Queue, before anything else, the trusted who are in debt or whom nobody has audited for long,
    if it is for this node to look at them.

    Only once the window is decided, when deltas are neither shown nor read any more.
    """
    this.decide_hash = await node.blocks.hash(node.clock.decide(this.window))
    drawn_by_lot = {task.hotkey: task for task in this.queue if not task.accuser}
    undecided = {task.hotkey for task in this.open}
    stakes, ours = this.council.stakes, []
    for hotkey in sorted(this.received.keys() - this.passed - this.unpaid - undecided):
        if not is_known(node, book, this, hotkey):
            continue
        owes = book[hotkey].debt > 0.0
        neglected = book.age(hotkey, this.window) >= node.run.audit.age_max
        if (owes or neglected) and responsible(this.decide_hash, hotkey, stakes) == node.hotkey:
            task = drawn_by_lot.get(hotkey) or Task(hotkey, _page(node, book, this, hotkey))
            ours.append(task)
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


def _page(node: Node, book: Book, this: Round, hotkey: str) -> int | None:
    """What to recompute of a trusted hotkey's: one page, or all, now and then and after a doubt."""
    full = node.private.random() < node.run.audit.full_rate or hotkey in book.unsettled
    return None if full else _spot(node, this)


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
    if task.accuser or not is_known(node, book, this, task.hotkey):
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

    Ends as soon as the round's parameters are out of the state's reach. An audit that is not done
    when the block comes is broken off and begun anew the next time: no receipt waits for one.
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
        if newcomers and not task.accuser and is_known(node, book, this, task.hotkey):
            return
        try:
            finding = await node.worker.run(partial(examine, node, this, task, block))
        except BrokenOff:
            return
        this.queue.pop(0)
        if isinstance(finding, Rejection):
            refuse(node, book, this, task.hotkey, finding)
        elif finding.is_open:
            _leave_open(node, book, this, replace(task, page=None))
        else:
            record(node, book, this, task, finding)


def _is_moot(book: Book, task: Task) -> bool:
    """Whether nothing hangs on an audit any more: the hotkey has left, or who was accused is found
    out already."""
    return task.hotkey not in book or (bool(task.accuser) and book.has_failed(task.hotkey))


def is_within_reach(node: Node, this: Round) -> bool:
    """Whether the parameters that the round's miners trained on can be had: not where the state has
    gone far beyond them, nor where the chain has ordered it to another branch since."""
    return node.worker.state.reaches(this.duty.base_root)
