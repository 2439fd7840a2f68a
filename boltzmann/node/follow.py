"""Following the chain: which manifest closes a window, and bringing the state to it.

The chain orders digests; buckets only carry bytes. A node walks back from the newest digest along
the manifests' parents to one it knows, undoes what the chain decided otherwise, and applies the
rest in order, each proven by its root.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from functools import partial

from boltzmann.errors import Divergence
from boltzmann.node.laps import Laps
from boltzmann.node.membership import leader, peers_at
from boltzmann.node.node import Node
from boltzmann.node.objects import checkpoint_key, expected, manifest_key, update_key
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, digest
from boltzmann.protocol.manifest import Manifest, open_manifest
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.slices import select
from boltzmann.protocol.wire import Kind, open_object
from boltzmann.train import checkpoint

_TELL_SECONDS = 10.0  # between two words on the same wait
_CHECKPOINT_HEADER = 1 << 20  # bytes for names and shapes beside the values


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
    came later left its window empty for everybody. A validator that has named none yet orders
    nothing, however large its stake: else its arrival would take the run's model from everybody.
    """
    while window >= 0:
        peers = await peers_at(node.chain, node.run.run.id, node.clock.decide(window))
        first = leader([peer for peer in peers if peer.commitment.manifest is not None])
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
    since, told = time.monotonic(), time.monotonic()
    while True:
        latest = node.blocks.latest
        window = node.clock.window(latest)
        if latest >= node.clock.close(window):
            window += 1
        await node.blocks.until(node.clock.decide(window - 1))
        missing = await follow(node, window - 1)
        if missing is None and node.blocks.latest < node.clock.close(window):
            return window
        if missing is not None and time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            node.telemetry.event("waiting", what=missing, seconds=told - since)
        await node.blocks.until(node.blocks.latest + 1)


async def follow(node: Node, window: int) -> str | None:
    """Bring the state to where it stands after `window`; else what is not there yet.

    Raises: Divergence if an agreed update leads to another root than its manifest names, or if the
    newest manifest would begin the run anew or take back what the chain has ordered.
    """
    tip = await tip_at(node, window)
    if tip is None:
        return "the first validator's genesis on chain"
    state = node.worker.state
    if state.position.head == tip.digest:
        return None
    known = set(state.heads)
    links = [] if tip.digest in known else await _trace(node, tip, known)
    if isinstance(links, str):
        return links
    if links and links[0].manifest.is_genesis:
        await _require_first(node, tip, links[0].manifest.window)
    base = links[0].manifest.parent if links else tip.digest
    while base and state.position.head != base:
        await _require_unordered(node, tip)
        node.telemetry.event("undone", window=state.position.window, head=state.position.head)
        await node.worker.run(state.undo)
    for link in links:
        missing = await _apply(node, tip, link)
        if missing is not None:
            return missing
    return None


async def _trace(node: Node, tip: Tip, known: set[str]) -> list[_Link] | str:
    """The manifests from the newest known one to the tip, oldest first; else what is missing."""
    links: list[_Link] = []
    window, name = tip.window, tip.digest
    while not links or (not links[-1].manifest.is_genesis and name not in known):
        manifest = await _fetch_manifest(node, tip, window, name)
        if isinstance(manifest, Rejection):
            return _missing(f"the manifest of window {window}", tip, manifest)
        links.append(_Link(manifest, name))
        window, name = manifest.parent_window, manifest.parent
    return links[::-1]


async def _require_first(node: Node, tip: Tip, window: int) -> None:
    """Refuse a genesis of `window` if the chain ordered a manifest before it.

    It is looked for at the window before, and where this node's own state began: the first record
    may be gone from the chain by now, a state that was ordered once is not given up for that.
    Raises: Divergence.
    """
    began = node.worker.state.position.genesis
    for earlier in {window - 1, min(began, window - 1)}:
        first = await tip_at(node, earlier)
        if first is not None:
            raise Divergence(
                f"the manifest of window {window} by {tip.hotkey} would begin run "
                f"{node.run.run.id} anew, though the chain ordered one of window {first.window} "
                f"before it: the state was kept; tell the run's owner"
            )


async def _require_unordered(node: Node, tip: Tip) -> None:
    """Refuse to take back the window this state stands at if it is the chain's own.

    Raises: Divergence.
    """
    at = node.worker.state.position
    ordered = await tip_at(node, at.window)
    if ordered is not None and ordered.digest == at.head:
        raise Divergence(
            f"the manifest of window {tip.window} by {tip.hotkey} does not stand on window "
            f"{at.window}, which the chain ordered before it: the state was kept; tell the run's "
            f"owner"
        )


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


async def _apply(node: Node, tip: Tip, link: _Link) -> str | None:
    if link.manifest.is_genesis:
        return await _apply_genesis(node, tip, link)
    return await _apply_update(node, tip, link)


async def _apply_genesis(node: Node, tip: Tip, link: _Link) -> str | None:
    manifest, state = link.manifest, node.worker.state
    data = await asyncio.to_thread(
        node.store.get,
        tip.bucket,
        checkpoint_key(node.run.run.id, manifest.window),
        max_bytes=min(manifest.update_bytes, 4 * state.layout.total + _CHECKPOINT_HEADER),
        seconds=node.fetch_seconds * 10,
    )
    if not isinstance(data, Rejection) and hashlib.sha256(data).hexdigest() != manifest.update:
        data = Rejection(Reason.BAD_DIGEST)
    if isinstance(data, Rejection):
        return _missing("the initial checkpoint", tip, data)
    parameters = checkpoint.decode(data)
    if state.position.head:
        node.telemetry.event("undone", window=state.position.window, head=state.position.head)
    # Without a head until the root is right: a state without one is never saved.
    await node.worker.run(lambda: state.reset(parameters, "", manifest.window))
    if state.position.root.hex() != manifest.root:
        raise Divergence(
            f"the initial checkpoint of run {manifest.run} gives the root "
            f"{state.position.root.hex()[:12]}, its manifest names {manifest.root[:12]}: do not "
            f"join this run, and tell its owner"
        )
    state.confirm(link.digest)
    return None


async def _apply_update(node: Node, tip: Tip, link: _Link) -> str | None:
    manifest, state, laps = link.manifest, node.worker.state, Laps()
    chosen = select(state.layout, await node.blocks.hash(node.clock.close(manifest.window)))
    known = expected(
        node.run, Kind.UPDATE, tip.hotkey, manifest.window, state.position.root, chosen
    )
    laps.end("select")
    # In the worker's thread, which has nothing else to do here: glibc keeps much of what a thread
    # freed for that thread, so objects as large as this one are best all freed in the same.
    blob = await node.worker.run(
        partial(
            node.store.get,
            tip.bucket,
            update_key(node.run.run.id, manifest.window),
            max_bytes=known.object_bytes,
            seconds=node.fetch_seconds,
        )
    )
    if isinstance(blob, Rejection):
        return _missing(f"the update of window {manifest.window}", tip, blob)
    laps.end("fetch")
    update = await node.worker.run(partial(open_object, blob, known, node.verify))
    if isinstance(update, Rejection):
        raise Divergence(f"the update of window {manifest.window} by {tip.hotkey} is {update}")
    laps.end("open")
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
    laps.end("apply")
    node.telemetry.event(
        "applied",
        window=manifest.window,
        root=root.hex(),
        bytes_down=len(blob),
        seconds=laps.seconds,
    )
    return None


def _missing(what: str, tip: Tip, why: Rejection) -> str:
    return f"{what} from {tip.bucket}: {why}"
