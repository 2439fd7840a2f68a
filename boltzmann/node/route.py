"""The way from the state a node holds to the newest manifest that counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from boltzmann.node.node import Node
from boltzmann.node.objects import descriptor_key
from boltzmann.node.tip import Holder, Tip
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, digest
from boltzmann.protocol.manifest import CheckpointName, Manifest
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.train.checkpoint import Descriptor, open_descriptor

_STATE_BYTES = 12  # of θ, m and v per parameter: what a checkpoint weighs


@dataclass(frozen=True)
class Link:
    """One manifest to apply."""

    manifest: Manifest
    digest: str


@dataclass(frozen=True)
class Start:
    """A checkpoint to begin from: the state at manifest `head`, as `descriptor` has it."""

    descriptor: Descriptor
    head: Link


@dataclass(frozen=True)
class Route:
    """Go back to `base`, a head this state knows, or load `start`; then apply the links."""

    base: str
    start: Start | None
    links: Sequence[Link]


async def route_to(node: Node, tip: Tip, avoid: frozenset[str] = frozenset()) -> Route | str:
    """The cheapest way to the tip; else what is missing.

    Walks back along the manifests' parents, to a head this state knows or to the newest checkpoint
    whose digest is not in `avoid`, whichever takes fewer bytes.
    """
    known = set(node.worker.state.heads)
    back: list[Link] = []
    link: Link | str = Link(tip.manifest, tip.name.digest)
    named = tip.manifest.proposal.checkpoint
    found: tuple[Start, int] | None = None
    while True:
        if isinstance(link, str):
            return _from_checkpoint(found, back) if found else link
        if link.digest in known:
            return Route(link.digest, None, back[::-1])
        proposal = link.manifest.proposal
        if proposal.window < named.window:  # nothing on this line led to that one
            named = proposal.checkpoint
        if proposal.window == named.window and found is None:
            if named.digest not in avoid:
                start = await _start(node, tip, named, link)
                found = (start, len(back)) if isinstance(start, Start) else None
            named = proposal.checkpoint
        if found and (not known or _bytes(back) > _STATE_BYTES * node.worker.state.layout.total):
            return _from_checkpoint(found, back)
        if link.manifest.is_genesis:
            if found:
                return _from_checkpoint(found, back)
            return f"a checkpoint of run {node.run.run.id} that can be read"
        back.append(link)
        link = await parent_of(node, tip, link)


def _from_checkpoint(found: tuple[Start, int], back: list[Link]) -> Route:
    start, links = found
    return Route("", start, back[:links][::-1])


def _bytes(links: list[Link]) -> int:
    return sum(link.manifest.proposal.update_bytes for link in links)


async def parent_of(node: Node, tip: Tip, link: Link) -> Link | str:
    """What a manifest stands on, from one of the tip's holders; else what is missing."""
    parent = link.manifest.proposal.parent
    if parent is None:
        return "a genesis has no parent"
    # Whoever sealed it is asked first.
    holders = sorted(tip.holders, key=lambda holder: holder.hotkey != parent.leader)
    held = await node.manifests.get(parent, [holder.address for holder in holders])
    if isinstance(held, Rejection):
        return f"the manifest of window {parent.window}: {held}"
    return Link(held.manifest, parent.digest)


async def _start(node: Node, tip: Tip, named: CheckpointName, head: Link) -> Start | Rejection:
    """The descriptor of a checkpoint, from any holder."""
    refusal = Rejection(Reason.ABSENT)
    for holder in tip.holders:
        data = await read_descriptor(node, holder, named)
        if isinstance(data, Rejection):
            refusal = data
            continue
        descriptor = open_descriptor(data, node.run.run.id, named.window)
        if isinstance(descriptor, Rejection):
            return descriptor
        if not stands_at(descriptor, head):
            return Rejection(Reason.WRONG_BASE, f"a state at {descriptor.head[:12]}")
        return Start(descriptor, head)
    return refusal


async def read_descriptor(node: Node, holder: Holder, named: CheckpointName) -> bytes | Rejection:
    """One holder's copy of a checkpoint's descriptor, if it has the digest."""
    data = await asyncio.to_thread(
        node.store.get,
        holder.address,
        descriptor_key(node.run.run.id, named.window, named.digest),
        max_bytes=MAX_DOCUMENT_BYTES,
        seconds=node.fetch_seconds,
    )
    if isinstance(data, Rejection) or digest(data) == named.digest:
        return data
    return Rejection(Reason.BAD_DIGEST, f"{digest(data)[:12]}, not {named.digest[:12]}")


def stands_at(descriptor: Descriptor, head: Link) -> bool:
    """Whether a checkpoint says it is of the state after this manifest."""
    wanted = "" if head.manifest.is_genesis else head.digest
    return (descriptor.head, descriptor.root) == (wanted, head.manifest.proposal.root)
