"""Following the chain: which manifest closes a window, and bringing the state to it.

The chain orders digests; buckets only carry bytes. A node walks back from the newest digest along
the manifests' parents to one it knows, undoes what the chain decided otherwise, and applies the
rest in order, each proven by its root.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from boltzmann.errors import Divergence
from boltzmann.node.membership import leader, peers_at
from boltzmann.node.node import Node
from boltzmann.node.objects import checkpoint_key, expected, manifest_key, update_key
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, digest
from boltzmann.protocol.manifest import Manifest, open_manifest
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.slices import select
from boltzmann.protocol.wire import Kind, open_object
from boltzmann.train import checkpoint


@dataclass(frozen=True)
class Tip:
    """The newest manifest that the chain ordered, and who holds it."""

    hotkey: str
    bucket: str
    window: int
    digest: str


@dataclass(frozen=True)
class _Link:
    manifest: Manifest
    digest: str


async def tip_at(node: Node, window: int) -> Tip | None:
    """The newest manifest of a window up to `window`; None before genesis.

    A manifest counts only if its digest was on chain at its own window's deciding block: one that
    came later left its window empty for everybody.
    """
    while window >= 0:
        peers = await peers_at(node.chain, node.run.run.id, node.clock.decide(window))
        first = leader(peers)
        if first is None or first.commitment.manifest is None:
            return None
        named, name = first.commitment.manifest
        if named == window:
            return Tip(first.hotkey, first.bucket, window, name)
        window = min(named, window - 1)
    return None


async def join_window(node: Node) -> int:
    """Hold the state of a window that is still open for work; returns that window.

    Waits for the block that decides the window before it, for the run's genesis, and for objects
    that cannot be fetched yet.
    """
    while True:
        latest = node.blocks.latest
        window = node.clock.window(latest)
        if latest >= node.clock.close(window):
            window += 1
        await node.blocks.until(node.clock.decide(window - 1))
        followed = await follow(node, window - 1)
        if followed and node.blocks.latest < node.clock.close(window):
            return window
        await node.blocks.until(node.blocks.latest + 1)


async def follow(node: Node, window: int) -> bool:
    """Bring the state to where it stands after `window`; False if something is not there yet.

    Raises: Divergence if an agreed update leads to another root than its manifest names.
    """
    tip = await tip_at(node, window)
    if tip is None:
        node.telemetry.event("waiting", what="the run's genesis on chain", seconds=0.0)
        return False
    state = node.worker.state
    if state.position.head == tip.digest:
        return True
    known = set(state.heads)
    links = [] if tip.digest in known else await _trace(node, tip, known)
    if links is None:
        return False
    base = links[0].manifest.parent if links else tip.digest
    while base and state.position.head != base:
        node.telemetry.event("undone", window=state.position.window, head=state.position.head)
        await node.worker.run(state.undo)
    for link in links:
        if not await _apply(node, tip, link):
            return False
    return True


async def _trace(node: Node, tip: Tip, known: set[str]) -> list[_Link] | None:
    """The manifests after the newest known one up to the tip, oldest first."""
    links: list[_Link] = []
    window, name = tip.window, tip.digest
    while not links or (not links[-1].manifest.is_genesis and name not in known):
        manifest = await _fetch_manifest(node, tip, window, name)
        if isinstance(manifest, Rejection):
            _wait_for(node, f"the manifest of window {window}", tip, manifest)
            return None
        links.append(_Link(manifest, name))
        window, name = manifest.parent_window, manifest.parent
    return links[::-1]


async def _fetch_manifest(node: Node, tip: Tip, window: int, name: str) -> Manifest | Rejection:
    key = manifest_key(node.run.run.id, window)
    data = await asyncio.to_thread(
        node.store.get, tip.bucket, key, max_bytes=MAX_DOCUMENT_BYTES, seconds=node.fetch_seconds
    )
    if isinstance(data, Rejection):
        return data
    if digest(data) != name:
        return Rejection(Reason.BAD_DIGEST, f"{digest(data)[:12]}, not {name[:12]}")
    return open_manifest(data, node.run.run.id, window, tip.hotkey, node.verify)


async def _apply(node: Node, tip: Tip, link: _Link) -> bool:
    if link.manifest.is_genesis:
        return await _apply_genesis(node, tip, link)
    return await _apply_update(node, tip, link)


async def _apply_genesis(node: Node, tip: Tip, link: _Link) -> bool:
    manifest, state = link.manifest, node.worker.state
    data = await asyncio.to_thread(
        node.store.get,
        tip.bucket,
        checkpoint_key(node.run.run.id, manifest.window),
        max_bytes=manifest.update_bytes,
        seconds=node.fetch_seconds * 10,
    )
    if not isinstance(data, Rejection) and hashlib.sha256(data).hexdigest() != manifest.update:
        data = Rejection(Reason.BAD_DIGEST)
    if isinstance(data, Rejection):
        _wait_for(node, "the initial checkpoint", tip, data)
        return False
    parameters = checkpoint.decode(data)
    await node.worker.run(lambda: state.reset(parameters, link.digest, manifest.window))
    if state.position.root.hex() != manifest.root:
        raise Divergence(
            f"the initial checkpoint of run {manifest.run} gives the root "
            f"{state.position.root.hex()[:12]}, its manifest names {manifest.root[:12]}: do not "
            f"join this run, and tell its owner"
        )
    return True


async def _apply_update(node: Node, tip: Tip, link: _Link) -> bool:
    manifest, state = link.manifest, node.worker.state
    chosen = select(state.layout, await node.blocks.hash(node.clock.close(manifest.window)))
    known = expected(
        node.run, Kind.UPDATE, tip.hotkey, manifest.window, state.position.root, chosen
    )
    blob = await asyncio.to_thread(
        node.store.get,
        tip.bucket,
        update_key(node.run.run.id, manifest.window),
        max_bytes=known.object_bytes,
        seconds=node.fetch_seconds,
    )
    if isinstance(blob, Rejection):
        _wait_for(node, f"the update of window {manifest.window}", tip, blob)
        return False
    update = open_object(blob, known, node.verify)
    if isinstance(update, Rejection):
        raise Divergence(f"the update of window {manifest.window} by {tip.hotkey} is {update}")
    body = update.header.body_sha256.hex()
    root = await node.worker.run(lambda: state.apply(chosen, update.values, body, manifest.window))
    if root.hex() != manifest.root:
        await node.worker.run(state.undo)
        raise Divergence(
            f"window {manifest.window} gives this node the root {root.hex()[:12]}, its manifest "
            f"names {manifest.root[:12]}: the state was put back; delete "
            f"{node.snapshot} and start again to load the run's checkpoint"
        )
    state.confirm(link.digest)
    node.telemetry.event("applied", window=manifest.window, root=root.hex(), bytes_down=len(blob))
    return True


def _wait_for(node: Node, what: str, tip: Tip, why: Rejection) -> None:
    node.telemetry.event("waiting", what=f"{what} from {tip.bucket}: {why}", seconds=0.0)
