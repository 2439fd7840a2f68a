"""The update of one manifest: found at any of its holders, checked, and applied."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from boltzmann.errors import Divergence
from boltzmann.node.laps import Laps
from boltzmann.node.node import Node
from boltzmann.node.objects import expected, update_key
from boltzmann.node.outbox import make_folder
from boltzmann.node.route import Link
from boltzmann.node.tip import Holder
from boltzmann.privacy import shown
from boltzmann.protocol.manifest import Proposal
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.slices import Slice, select
from boltzmann.protocol.wire import Expected, Kind, Opened, open_object

_FOLDER = "updates"


@dataclass(frozen=True)
class Fetched:
    """An update on this node's disk, not looked at yet, and what its seal must say."""

    holder: str
    path: Path
    known: Expected
    chosen: Slice
    seconds: dict[str, float]


def drop_downloads(folder: Path) -> None:
    """At a node's start: what one that was killed here was reading is of no use."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)


async def fetch_update(
    node: Node,
    holders: tuple[Holder, ...],
    link: Link,
    base_root: bytes,
    avoid: frozenset[str] = frozenset(),
) -> Fetched | Rejection:
    """The update, from the first holder not in `avoid` that has an object of its size.

    Every holder seals its own copy: values are one, signatures are not. Raises: NoRoom, StoreError.
    """
    proposal, laps = link.manifest.proposal, Laps()
    close_hash = await node.blocks.hash(node.clock.close(proposal.window))
    chosen = await asyncio.to_thread(select, node.worker.state.layout, close_hash)
    laps.end("select")
    folder = node.folder / _FOLDER
    make_folder(folder)
    path = folder / f"{proposal.window}.update"
    refusal = Rejection(Reason.ABSENT, f"in none of {len(holders)} buckets")
    for holder in sorted(holders, key=lambda h: h.hotkey != proposal.leader):
        if holder.hotkey in avoid:
            continue
        known = expected(node.run, Kind.UPDATE, holder.hotkey, proposal.window, base_root, chosen)
        found = await asyncio.to_thread(
            node.store.download,
            holder.address,
            update_key(node.run.run.id, proposal.window, proposal.update),
            path,
            exact_bytes=known.object_bytes,
            seconds=node.fetch_seconds,
        )
        if found is None:
            laps.end("fetch")
            return Fetched(holder.hotkey, path, known, chosen, laps.seconds)
        if found.reason is not Reason.ABSENT:
            refusal = Rejection(found.reason, f"{found.detail} in {shown(holder.address)}".strip())
    return refusal


async def apply_update(node: Node, link: Link, fetched: Fetched) -> Rejection | None:
    """Take the step, so that the state stands at the manifest; else why the object is refused.

    Raises: Divergence if the step leads to another root than the manifest names.
    """
    proposal, state, laps = link.manifest.proposal, node.worker.state, Laps()
    root = await node.worker.run(partial(_apply, node, link, fetched))
    if isinstance(root, Rejection):
        return root
    if root.hex() != proposal.root:
        await node.worker.run(state.undo)
        raise Divergence(
            f"window {proposal.window} gives this node the root {root.hex()[:12]}, its manifest "
            f"names {proposal.root[:12]}: the state was put back; delete {node.snapshot} and start "
            f"again to load the run's checkpoint"
        )
    state.confirm(link.digest)
    laps.end("apply")
    seconds = {**fetched.seconds, **laps.seconds}
    tell_applied(node, link.digest, proposal, fetched.known.object_bytes, seconds)
    return None


def tell_applied(
    node: Node, head: str, proposal: Proposal, bytes_down: int, seconds: Mapping[str, float]
) -> None:
    """The state now stands at this agreed update."""
    node.telemetry.event(
        "applied",
        window=proposal.window,
        root=proposal.root,
        head=head,
        parent=proposal.parent.digest if proposal.parent else "",
        accepted=[entry.hotkey for entry in proposal.accepted],
        receipts=[witness for witness, _ in proposal.receipts],
        bytes_down=bytes_down,
        seconds=seconds,
    )


def _apply(node: Node, link: Link, fetched: Fetched) -> bytes | Rejection:
    """In the worker's thread, which also lets the object go: its memory is used again there."""
    proposal = link.manifest.proposal
    opened = open_update(node, link, fetched)
    fetched.path.unlink()
    if isinstance(opened, Rejection):
        return opened
    return node.worker.state.apply(fetched.chosen, opened.values, proposal.update, proposal.window)


def open_update(node: Node, link: Link, fetched: Fetched) -> Opened | Rejection:
    """A holder's copy, if it is sealed by the holder and holds what the manifest names."""
    opened = open_object(fetched.path.read_bytes(), fetched.known, node.verify)
    if isinstance(opened, Rejection):
        return opened
    found = opened.header.body_sha256.hex()
    if found != link.manifest.proposal.update:
        return Rejection(Reason.BAD_DIGEST, f"update {found[:12]}")
    return opened
