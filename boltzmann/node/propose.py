"""The leader's proposal: aggregate, apply, publish, and put the manifest's digest on chain."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from boltzmann.errors import BoltzmannError, ChainError, StoreError
from boltzmann.node.book import Book
from boltzmann.node.laps import Laps
from boltzmann.node.node import Node
from boltzmann.node.objects import expected, manifest_key, update_key
from boltzmann.node.round import Floats, Received, Round, blocks
from boltzmann.protocol.aggregate import Mean
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import Accepted, Manifest, open_manifest
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.rewards import norm_limit, trusted
from boltzmann.protocol.wire import Kind, open_object, seal
from boltzmann.train.state import Position


@dataclass(frozen=True)
class Proposal:
    """A window's sealed update and manifest."""

    update: bytes
    manifest: bytes
    accepted: tuple[str, ...]


async def propose(node: Node, book: Book, this: Round) -> Proposal | None:
    """Close the window with an update; None leaves it empty, for everyone alike.

    The state stands at the new root afterwards. If the digest does not reach the chain in time,
    `follow` takes it back.
    """
    laps = Laps()
    proposal = _journalled(node, this)
    if proposal is None:
        entries = {
            hotkey: received
            for hotkey, received in sorted(this.received.items())
            if trusted(book[hotkey], node.run.rewards, this.window)
        }
        if not entries:
            node.telemetry.event("empty", window=this.window)
            return None
        limit = norm_limit(book.standings, node.run.rewards, this.window)
        proposal = await node.worker.run(lambda: _build(node, this, entries, limit, laps))
        node.outbox.keep(this.window, "update", proposal.update)
        node.outbox.keep(this.window, "manifest", proposal.manifest)
        laps.end("journal")
    else:
        await node.worker.run(lambda: _replay(node, this, proposal))
        laps.end("apply")
    await _publish(node, this.window, proposal)
    laps.end("publish")
    node.telemetry.event("proposed", window=this.window, seconds=laps.seconds)
    return proposal


def _build(
    node: Node, this: Round, entries: dict[str, Received], limit: float, laps: Laps
) -> Proposal:
    """Aggregate what was received and apply the result.

    Holds one and a half slices of float32 at most: each array is let go before the next is made.
    """
    state, codec = node.worker.state, node.run.exchange.codec
    before = state.position
    mean = _aggregate(this.chosen.size, entries, limit)
    laps.end("aggregate")
    body = codec.encode(mean)
    del mean
    laps.end("encode")
    update = digest(body)
    state.apply(this.chosen, codec.decode(body), update, this.window)
    laps.end("apply")
    known = expected(node.run, Kind.UPDATE, node.hotkey, this.window, before.root, this.chosen)
    sealed = seal(known, 0, body, node.keys.sign)
    accepted = tuple(Accepted(hotkey, r.sha256) for hotkey, r in entries.items())
    manifest = _manifest(node, this.window, before, accepted, limit, update, len(body))
    state.confirm(digest(manifest))
    laps.end("seal")
    return Proposal(sealed, manifest, tuple(entries))


def _aggregate(size: int, entries: dict[str, Received], limit: float) -> Floats:
    mean = Mean(size, limit)
    for hotkey, received in entries.items():
        mean.add_blocks(hotkey, received.norm, blocks(received))
    return mean.result()


def _manifest(
    node: Node,
    window: int,
    before: Position,
    accepted: tuple[Accepted, ...],
    limit: float,
    update: str,
    update_bytes: int,
) -> bytes:
    return Manifest(
        run=node.run.run.id,
        window=window,
        parent=before.head,
        parent_window=before.window,
        accepted=accepted,
        norm_limit=limit,
        update=update,
        update_bytes=update_bytes,
        root=node.worker.state.position.root.hex(),
    ).seal(node.hotkey, node.keys.sign)


def _journalled(node: Node, this: Round) -> Proposal | None:
    """What this node had written down for the window before it was killed."""
    update = node.outbox.find(this.window, "update")
    manifest = node.outbox.find(this.window, "manifest")
    if update is None or manifest is None:
        return None
    opened = open_manifest(manifest, node.run.run.id, this.window, node.hotkey, node.verify)
    if isinstance(opened, Rejection) or opened.parent != node.worker.state.position.head:
        return None
    return Proposal(update, manifest, tuple(entry.hotkey for entry in opened.accepted))


def _replay(node: Node, this: Round, proposal: Proposal) -> None:
    state = node.worker.state
    known = expected(
        node.run, Kind.UPDATE, node.hotkey, this.window, state.position.root, this.chosen
    )
    opened = open_object(proposal.update, known, node.verify)
    if isinstance(opened, Rejection):
        raise BoltzmannError(f"the journalled update of window {this.window} is {opened}")
    state.apply(this.chosen, opened.values, opened.header.body_sha256.hex(), this.window)
    state.confirm(digest(proposal.manifest))


async def _publish(node: Node, window: int, proposal: Proposal) -> None:
    run = node.run.run.id
    commitment = Commitment(
        Role.VALIDATOR, run, node.store.address, manifest=(window, digest(proposal.manifest))
    )
    try:
        await asyncio.to_thread(node.store.put, update_key(run, window), proposal.update)
        await asyncio.to_thread(node.store.put, manifest_key(run, window), proposal.manifest)
        await node.chain.commit(commitment.encode())
    except (StoreError, ChainError) as error:
        node.telemetry.event("error", what=f"publishing window {window}", detail=str(error))
