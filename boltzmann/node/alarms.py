"""Alarms: whom other validators' audits have failed, and looking at that work again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from boltzmann.node.audit import audit_until, is_within_reach
from boltzmann.node.book import Book
from boltzmann.node.node import Node
from boltzmann.node.objects import alarms_key
from boltzmann.node.publish import publish
from boltzmann.node.reading import Place, read_all, well_formed
from boltzmann.node.round import Alarm, Round, Task
from boltzmann.protocol.alarms import Alarms, Judged, open_alarms
from boltzmann.protocol.auditing import responsible
from boltzmann.protocol.rejection import RECOMPUTED, Rejection

MOST_ALARMS = 8  # of others that are looked at before the next are believed
Told = Mapping[str, Sequence[Judged]]  # by validator
_CAN_BE_CHECKED = frozenset(reason.value for reason in RECOMPUTED)


def news(rounds: Iterable[Round]) -> tuple[Judged, ...]:
    """What others are to be told of failed audits: one per hotkey, in hotkey order."""
    found = {
        verdict.hotkey: Judged(verdict, this.received[verdict.hotkey].sha256)
        for this in rounds
        for verdict in this.untold
        if verdict.refusal in _CAN_BE_CHECKED
    }
    return tuple(failure for _, failure in sorted(found.items()))


async def sound(node: Node, window: int, rounds: Sequence[Round]) -> None:
    """Tell the others of failed audits, in time for their receipts of `window`."""
    failures = news(rounds)
    for this in rounds:
        this.count_as_told()
    if failures:
        sealed = Alarms(node.run.run.id, window, failures).seal(node.hotkey, node.keys.sign)
        key = alarms_key(node.run.run.id, window)
        await publish(node, key, sealed, before=node.clock.receipts_by(window))


async def overhear(node: Node, this: Round) -> Told:
    """The others' alarms, read when those of honest validators are there."""
    run, others = node.run.run.id, [h for h in this.council.validators if h != node.hotkey]

    def opened(data: bytes, validator: str) -> Alarms | Rejection:
        return open_alarms(data, run, this.window, validator, node.verify)

    await node.blocks.until(node.clock.reveal_at(this.window))
    key = alarms_key(run, this.window)
    places = {hotkey: Place(this.council.validators[hotkey].bucket, key) for hotkey in others}
    found = well_formed(await read_all(node, places), opened)
    return {witness: alarms.failures for witness, alarms in found.items()}


def told_by_receipts(rounds: Sequence[Round]) -> Told:
    """What the last round's receipts say of audits. Which bytes a validator means is in its receipt
    of the window that it has audited."""
    held = {
        (witness, this.window, entry.hotkey): entry.sha256
        for this in rounds
        for witness, receipt in this.receipts.items()
        for entry in receipt.entries
        if entry.received
    }
    return {
        witness: [
            Judged(verdict, held.get((witness, verdict.window, verdict.hotkey), ""))
            for verdict in receipt.verdicts
        ]
        for witness, receipt in rounds[-1].receipts.items()
    }


async def heed(node: Node, book: Book, rounds: Sequence[Round], told: Told, block: int) -> None:
    """Look at once, until `block`, at what alarms tell of these rounds: who is found out here as
    well does not enter the next update."""
    if rounds:
        hear(node, book, rounds, told)
        await look_into(node, book, rounds, block, newcomers=True)


async def look_into(
    node: Node, book: Book, rounds: Sequence[Round], block: int, *, newcomers: bool
) -> None:
    """Do the rounds' audits, what alarms tell of first in each, and go on with the alarms that wait
    until `block`."""
    while True:
        look_again(book, rounds)
        for this in rounds:
            await audit_until(node, book, this, block, newcomers=newcomers)
        if not book.waiting or node.blocks.latest >= block:
            return
        if not _take_in(node, book, rounds):
            return


def hear(node: Node, book: Book, rounds: Sequence[Round], told: Told) -> None:
    """Take in what other validators' audits say: whom they have audited, and whom they failed.

    Nobody is believed to have audited whom it was not drawn for: whoever says that of everybody
    would keep the others from looking. Only failures that a recomputation found count, of who is
    not found out here as well, and none of a validator that has raised a false alarm lately; a few
    at a time: alarms must not keep a validator from its own audits, nor honest members out. The
    others wait until those were looked at: cheats that turn all at once must not hide behind each
    other.
    """
    fresh = []
    for witness, failures in told.items():
        if witness == node.hotkey:
            continue
        for judged in failures:
            if _was_drawn(rounds, witness, judged):
                book.cover(judged.verdict)
            if judged.verdict.refusal in _CAN_BE_CHECKED and _is_at_hand(rounds, judged):
                fresh.append(Alarm(witness, judged.verdict, judged.sha256))
    believed = {alarm for r in rounds for alarm in r.alarms}
    told_of = dict.fromkeys((*book.waiting, *fresh))
    book.waiting = tuple(alarm for alarm in told_of if alarm not in believed)
    _take_in(node, book, rounds)


def _was_drawn(rounds: Sequence[Round], witness: str, judged: Judged) -> bool:
    """Whether it was for this validator to look at that hotkey's window."""
    verdict = judged.verdict
    return any(
        responsible(this.decide_hash, verdict.hotkey, this.council.stakes) == witness
        for this in rounds
        if this.window == verdict.window and this.decide_hash
    )


def _take_in(node: Node, book: Book, rounds: Sequence[Round]) -> bool:
    """Believe a few of the alarms that wait, one of a hotkey, until they are looked at; whether
    there was one. None while earlier ones can still be looked at: whoever raises false ones is
    muted then."""
    this, windows = rounds[-1], {r.window for r in rounds}
    alarms = [
        alarm
        for alarm in book.waiting
        if alarm.verdict.window in windows
        and not book.is_muted(alarm.witness, this.window)
        and not book.has_failed(alarm.verdict.hotkey)
    ]
    book.waiting = tuple(alarms)
    if any(r.alarms for r in rounds) or any(
        task.accuser and not book.comes_last(task.accuser, this.window)
        for r in rounds
        if is_within_reach(node, r)
        for task in r.queue
    ):
        return False
    node.private.shuffle(alarms)
    # Of several about one hotkey the last counts: those of whoever comes last count for least.
    alarms.sort(key=lambda alarm: not book.comes_last(alarm.witness, this.window))
    one_each = list({alarm.verdict.hotkey: alarm for alarm in alarms}.values())
    node.private.shuffle(one_each)  # else whom many name would come first
    one_each.sort(key=lambda alarm: book.comes_last(alarm.witness, this.window))
    this.alarms = one_each[:MOST_ALARMS]
    book.waiting = tuple(alarm for alarm in alarms if alarm not in this.alarms)
    for alarm in this.alarms:
        if not book.comes_last(alarm.witness, this.window):
            book.doubt(alarm.verdict)
    return bool(this.alarms)


def _is_at_hand(rounds: Sequence[Round], judged: Judged) -> bool:
    """Whether this node has the very bytes, and the page is the member's: who is shown others
    cannot check them, and a page of nobody's would cost trust without ever being looked at."""
    hotkey, page = judged.verdict.hotkey, judged.verdict.page
    return any(
        this.received[hotkey].sha256 == judged.sha256 and page in (-1, *this.pages.get(hotkey, ()))
        for this in rounds
        if this.window == judged.verdict.window and hotkey in this.received
    )


def look_again(book: Book, rounds: Sequence[Round]) -> None:
    """Queue what other validators' audits have failed in these rounds, before anything else, but
    after it what those tell who come last.

    Who is found out by one validator so owes the same to all: each goes by its own recomputation.
    """
    alarms = [alarm for this in rounds for alarm in this.alarms]
    for this in rounds:
        for alarm in alarms:
            verdict = alarm.verdict
            pages = this.pages.get(verdict.hotkey, ())
            if (
                verdict.window == this.window
                and verdict.hotkey in this.received
                and alarm.sha256 in ("", this.received[verdict.hotkey].sha256)
                and verdict.hotkey not in this.unpaid
                and verdict.page in (-1, *pages)
            ):
                place = None if verdict.page < 0 else pages.index(verdict.page)
                task = Task(verdict.hotkey, place, alarm.witness)
                if task not in this.queue:
                    last = book.comes_last(alarm.witness, rounds[-1].window)
                    this.queue.insert(len(this.queue) if last else 0, task)
    for this in rounds:
        this.alarms = []
