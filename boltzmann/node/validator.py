"""The validator: one window after another, readable top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from boltzmann.node.agree import agree
from boltzmann.node.alarms import hear, heed, look_into, overhear, sound, told_by_receipts
from boltzmann.node.audit import audit_until, decide_open, plan, watch
from boltzmann.node.behind import Lateness, open_behind
from boltzmann.node.book import Book
from boltzmann.node.budget import tell_budget
from boltzmann.node.checkpoints import Checkpoints
from boltzmann.node.endure import forever
from boltzmann.node.follow import join_window
from boltzmann.node.genesis import ensure_genesis
from boltzmann.node.ingest import Collected, collect, ingest
from boltzmann.node.keepsake import tidy
from boltzmann.node.laps import Laps
from boltzmann.node.node import Node
from boltzmann.node.payday import Payday
from boltzmann.node.reckoning import enrol, judge_absences, refuse_two_faced, report, settle
from boltzmann.node.round import Duty, Round, assign, open_round, with_behind
from boltzmann.node.stages import Stage
from boltzmann.node.vote import mirror_manifests
from boltzmann.node.witness import publish_receipt


async def validate(node: Node) -> None:
    """Take part in every window until cancelled."""
    book, payday = Book(node.folder / "standings.json"), Payday()
    checkpoints, lateness = Checkpoints(node), Lateness()
    await tell_budget(node)
    await ensure_genesis(node)
    rounds: list[Round] = []  # the last two

    async def one_window() -> None:
        joined = await join_window(node, node.clock.decide)
        window = joined.window
        is_late = lateness.of(joined, node.worker.state.position.head)
        await mirror_manifests(node, window)  # the miners wait for it
        tidy(node, window)
        await checkpoints.enter(window)
        duty = await assign(node, window, is_late=is_late)
        collecting = asyncio.create_task(collect(node, duty))
        sounding: asyncio.Task[None] | None = None
        try:
            with node.stage(Stage.PAY, window):
                # Weights wait for a block: who comes back late has a window to agree on first.
                if node.blocks.latest < node.clock.close(window):
                    await payday.settle(node, book)
            await conclude(node, book, rounds, node.clock.close(window))
            sounding = asyncio.create_task(sound(node, window, with_behind(rounds)))
            del rounds[:-1]
            rounds.append(await validate_window(node, book, duty, collecting, rounds))
            await sounding
        finally:
            begun = [task for task in (collecting, sounding) if task is not None]
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    try:
        await forever(node, one_window)
    finally:
        await checkpoints.close()


async def conclude(node: Node, book: Book, rounds: list[Round], block: int) -> None:
    """While the miners train: audits of the last window, and what others found wrong before.

    A window that broke off leaves the last round as it was: concluded before its members changed.
    """
    if not rounds or rounds[-1].is_concluded:
        return
    last, parts = rounds[-1], with_behind(rounds)
    for this in with_behind([last]):
        await watch(node, book, this)
    await look_into(node, book, parts, block, newcomers=False)
    for this in parts:
        await decide_open(node, book, this, block)
        this.control = bytearray()  # half a slice's memory
    settle(node, book, last)
    book.save()
    report(node, book, last)
    last.is_concluded = True


async def validate_window(
    node: Node,
    book: Book,
    duty: Duty,
    collecting: Awaitable[Collected],
    rounds: list[Round],
) -> Round:
    """Read the window's deltas, audit the newcomers, say what was seen, and agree on the update.

    `rounds`: the one before, whose deltas the others' alarms are about.
    """
    clock, window, laps = node.clock, duty.window, Laps()
    this = await open_round(node, duty)
    # Not the members only: who got no pages this time keeps its standing.
    registered = await node.chain.neurons(clock.open(window))
    enrol(node, book, this, registered)
    collected, told = await asyncio.gather(collecting, overhear(node, this))
    laps.end("wait")
    await ingest(node, this, collected)
    this.behind = await open_behind(node, this, collected)
    judge_absences(node, book, this)
    laps.end("ingest")
    earlier = with_behind(rounds)
    with node.stage(Stage.AUDIT, window):
        await heed(node, book, earlier, told, clock.audit_by(window))
        for part in with_behind([this]):
            await plan(node, book, part)
        await audit_until(node, book, this, clock.audit_by(window), newcomers=True)
        book.save()
    laps.end("audit")
    with node.stage(Stage.RECEIPT, window):
        if await publish_receipt(node, book, this):
            for told_of in (*rounds, this):  # of what is behind no receipt tells
                told_of.count_as_told()
    desk = await agree(node, this)
    this.receipts = {witness: filed.receipt for witness, filed in desk.receipts.items()}
    hear(node, book, (*earlier, this), told_by_receipts((*earlier, this)))
    refuse_two_faced(node, book, this)
    laps.end("agree")
    accepted = desk.candidate.admission.accepted if desk.candidate else ()
    node.telemetry.event(
        "window",
        window=window,
        root=node.worker.state.position.root.hex(),
        loss=None,
        tokens=0,
        seconds=laps.seconds,
        bytes_up=desk.candidate.update_bytes if desk.candidate else 0,
        bytes_down=sum(received.known.object_bytes for received in this.received.values()),
        accepted=[entry.hotkey for entry in accepted],
        obstacle=desk.obstacle if node.hotkey in desk.this.council.validators else "",
    )
    await node.blocks.until(clock.decide(window))
    return this
