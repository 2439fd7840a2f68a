"""The validator: one window after another, readable top to bottom."""

from __future__ import annotations

from boltzmann.node.audit import audit_until, plan, refuse, report
from boltzmann.node.book import Book
from boltzmann.node.follow import join_window
from boltzmann.node.genesis import ensure_genesis
from boltzmann.node.keepsake import keep_state
from boltzmann.node.laps import Laps
from boltzmann.node.membership import leader, peers_at
from boltzmann.node.node import Node
from boltzmann.node.payday import Payday
from boltzmann.node.propose import Proposal, propose
from boltzmann.node.round import Round, ingest, open_round


async def validate(node: Node) -> None:
    """Take part in every window until cancelled."""
    book, payday = Book(node.folder / "standings.json"), Payday()
    await ensure_genesis(node)
    last: Round | None = None
    while True:
        window = await join_window(node)
        await keep_state(node)
        if last is not None:
            # Audits of the last window run while the miners train this one.
            await audit_until(node, book, last, node.clock.close(window), newcomers=False)
            report(node, book, last)
            last = None  # half a slice's memory: its control gradient
        await payday.settle(node, book)
        last = await validate_window(node, book, window)


async def validate_window(node: Node, book: Book, window: int) -> Round:
    """Read the window's deltas, audit the newcomers, and lead if it is this node's turn."""
    clock, laps = node.clock, Laps()
    this = await open_round(node, window)
    # Not the members only: who got no pages this time keeps its standing.
    registered = await node.chain.neurons(clock.open(window))
    book.enrol(neuron for neuron in registered if neuron.hotkey in this.pages)
    await node.blocks.until(clock.upload_by(window))
    laps.end("wait")
    for hotkey, why in (await ingest(node, this)).items():
        refuse(node, book, this, hotkey, why)
    laps.end("ingest")
    plan(node, book, this)
    await audit_until(node, book, this, clock.decide(window) - 1, newcomers=True)
    laps.end("audit")
    proposal: Proposal | None = None
    first = leader(await peers_at(node.chain, node.run.run.id, clock.close(window)))
    if first is not None and first.hotkey == node.hotkey:
        proposal = await propose(node, book, this)
        laps.end("propose")
    book.save()
    node.telemetry.event(
        "window",
        window=window,
        root=node.worker.state.position.root.hex(),
        loss=None,
        tokens=0,
        seconds=laps.seconds,
        bytes_up=len(proposal.update) + len(proposal.manifest) if proposal else 0,
        bytes_down=sum(received.known.object_bytes for received in this.received.values()),
        accepted=list(proposal.accepted) if proposal else [],
    )
    return this
