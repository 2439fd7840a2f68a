"""Alarms: whom other validators' audits have failed, and looking at that work again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from boltzmann.node.audit import audit_until
from boltzmann.node.book import Book
from boltzmann.node.node import Node
from boltzmann.node.objects import alarms_key
from boltzmann.node.publish import publish
from boltzmann.node.reading import Place, read_all, well_formed
from boltzmann.node.round import Alarm, Round, Task
from boltzmann.protocol.alarms import Alarms, open_alarms
from boltzmann.protocol.auditing import is_heard
from boltzmann.protocol.receipts import Verdict
from boltzmann.protocol.rejection import RECOMPUTED, Rejection

MOST_ALARMS = 8  # of others that are looked at again in a window
Told = Mapping[str, Sequence[Verdict]]  # by validator
_CAN_BE_CHECKED = frozenset(reason.value for reason in RECOMPUTED)


def news(rounds: Iterable[Round]) -> tuple[Verdict, ...]:
    """What others are to be told of failed audits: one per hotkey, in hotkey order."""
    found = {
        verdict.hotkey: verdict
        for this in rounds
        for verdict in this.untold
        if verdict.refusal in _CAN_BE_CHECKED
    }
    return tuple(verdict for _, verdict in sorted(found.items()))


async def sound(node: Node, window: int, rounds: Sequence[Round]) -> None:
    """Tell the others of failed audits, in time for their receipts of `window`."""
    verdicts = news(rounds)
    for this in rounds:
        this.count_as_told()
    if verdicts:
        sealed = Alarms(node.run.run.id, window, verdicts).seal(node.hotkey, node.keys.sign)
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
    return {witness: alarms.verdicts for witness, alarms in found.items()}


async def heed(node: Node, book: Book, rounds: Sequence[Round], told: Told, block: int) -> None:
    """Look at once, until `block`, at what alarms tell of these rounds: who is found out here as
    well does not enter the next update."""
    if not rounds:
        return
    hear(node, book, rounds, told)
    look_again(rounds)
    for this in rounds:
        await audit_until(node, book, this, block, newcomers=True)


def hear(node: Node, book: Book, rounds: Sequence[Round], told: Told) -> None:
    """Take in what other validators' audits say: whom they have audited, and whom they failed.

    A few failures at most, which a recomputation found, of who is not found out here as well, and
    none of a validator that has raised a false alarm lately: alarms must not keep a validator from
    its own audits, nor honest members out. The others wait for the next windows: cheats that turn
    all at once must not hide behind each other.
    """
    this = rounds[-1]
    heard = [
        Alarm(witness, verdict)
        for witness, verdicts in told.items()
        for verdict in verdicts
        if witness != node.hotkey
    ]
    stakes = this.council.stakes
    for alarm in heard:
        if is_heard(stakes.get(alarm.witness, 0), stakes):
            book.cover(alarm.verdict)
    fresh = [
        alarm
        for alarm in heard
        if alarm.verdict.refusal in _CAN_BE_CHECKED and _saw_the_same(rounds, alarm)
    ]
    alarms = [
        alarm
        for alarm in dict.fromkeys((*book.waiting, *fresh))
        if not book.is_muted(alarm.witness, this.window)
        and not book.has_failed(alarm.verdict.hotkey)
    ]
    node.private.shuffle(alarms)
    this.alarms, book.waiting = alarms[:MOST_ALARMS], tuple(alarms[MOST_ALARMS:])
    for alarm in this.alarms:
        book.doubt(alarm.verdict)


def _saw_the_same(rounds: Sequence[Round], alarm: Alarm) -> bool:
    """Whether the accuser's receipt of the window has the bytes that this node has, and the page is
    the member's: who is shown others cannot check them, whoever shows no receipt could not be held
    to its word, and a page of nobody's would cost trust without ever being looked at."""
    hotkey, page = alarm.verdict.hotkey, alarm.verdict.page
    for this in rounds:
        if this.window == alarm.verdict.window and hotkey in this.received:
            if page not in (-1, *this.pages.get(hotkey, ())):
                return False
            receipt = this.receipts.get(alarm.witness)
            mine = this.received[hotkey].sha256
            entries = receipt.entries if receipt else ()
            return any((e.hotkey, e.sha256, e.received) == (hotkey, mine, True) for e in entries)
    return False


def look_again(rounds: Sequence[Round]) -> None:
    """Queue what other validators' audits have failed in these rounds, before anything else.

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
                and verdict.hotkey not in this.unpaid
                and verdict.page in (-1, *pages)
            ):
                place = None if verdict.page < 0 else pages.index(verdict.page)
                this.queue.insert(0, Task(verdict.hotkey, place, alarm.witness))
    for this in rounds:
        this.alarms = []
