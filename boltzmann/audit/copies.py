"""The copies that validators hold: of the manifest, of its update, of checkpoints."""

from __future__ import annotations

import asyncio
from functools import partial

from boltzmann.audit.case import Case
from boltzmann.audit.line import link_of
from boltzmann.audit.report import is_gone, signature_of
from boltzmann.node.catchup import fetch_shard
from boltzmann.node.objects import descriptor_key, manifest_key, shard_key, update_key
from boltzmann.node.route import Link, read_descriptor, stands_at
from boltzmann.node.tip import Holder
from boltzmann.node.updates import fetch_update, open_update
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, digest
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.wire import SIGNATURE_BYTES
from boltzmann.train.checkpoint import Descriptor, open_descriptor


async def check_copies(case: Case) -> None:
    """Whoever holds the manifest or the update holds the right one; nobody has to."""
    if case.held is None:
        return
    for holder in case.holders:
        await _check_manifest(case, holder)
        if case.base is not None:
            await _check_update(case, holder, link_of(case.held))


async def _check_manifest(case: Case, holder: Holder) -> None:
    name = case.report.manifest
    key = manifest_key(case.node.run.run.id, case.window, name)
    data = await asyncio.to_thread(
        case.node.store.get,
        holder.address,
        key,
        max_bytes=MAX_DOCUMENT_BYTES,
        seconds=case.node.fetch_seconds,
    )
    if isinstance(data, Rejection):
        if not is_gone(data):
            case.report.wrong("manifest copy", holder.hotkey, str(data), key)
    elif digest(data) != name:
        detail = f"its sha256 is {digest(data)[:12]}, not {name[:12]}"
        case.report.wrong("manifest copy", holder.hotkey, detail, key, signature_of(data))


async def _check_update(case: Case, holder: Holder, link: Link) -> None:
    node, proposal = case.node, case.proposal
    base_root = case.base.manifest.proposal.root if case.base else ""
    found = await fetch_update(node, (holder,), link, bytes.fromhex(base_root))
    signature = ""
    if not isinstance(found, Rejection):
        start = found.known.body_start
        signature = found.path.read_bytes()[start - SIGNATURE_BYTES : start].hex()
        opened = await node.worker.run(partial(open_update, node, link, found))
        found.path.unlink()
        if not isinstance(opened, Rejection):
            return
        found = opened
    if not is_gone(found):
        key = update_key(node.run.run.id, case.window, proposal.update)
        case.report.wrong("update copy", holder.hotkey, str(found), key, signature)


async def check_checkpoint(case: Case, rebuilt: dict[int, str]) -> None:
    """A checkpoint that this manifest is the first to name, and everybody's copy of it.

    `rebuilt`: window -> digest, of the states that this audit has gone through itself.
    """
    if case.held is None:
        return
    named = case.proposal.checkpoint
    if case.base is not None and named == case.base.manifest.proposal.checkpoint:
        return
    made = rebuilt.get(named.window)
    if made is not None and made != named.digest:
        case.blame_leader(
            "checkpoint",
            f"the state of window {named.window} makes {made[:12]}, it names {named.digest[:12]}",
        )
    for holder in case.holders:
        data = await read_descriptor(case.node, holder, named)
        if not isinstance(data, Rejection):
            await _check_descriptor(case, holder, data)
        elif not is_gone(data):
            key = descriptor_key(case.node.run.run.id, named.window, named.digest)
            case.report.wrong("checkpoint descriptor", holder.hotkey, str(data), key)


async def _check_descriptor(case: Case, holder: Holder, data: bytes) -> None:
    named = case.proposal.checkpoint
    descriptor = open_descriptor(data, case.node.run.run.id, named.window)
    if isinstance(descriptor, Rejection):
        case.blame_leader("checkpoint", f"its descriptor is {descriptor}")
        return
    head = case.line.held.get(named.window)
    if head is not None and not stands_at(descriptor, link_of(head)):
        case.blame_leader("checkpoint", f"it is no state after window {named.window}'s manifest")
    await _check_shards(case, holder, descriptor)


async def _check_shards(case: Case, holder: Holder, descriptor: Descriptor) -> None:
    path = case.node.folder / "shard.safetensors"
    for shard in descriptor.shards:
        refusal = await fetch_shard(case.node, (holder,), descriptor, shard, path)
        path.unlink(missing_ok=True)
        if refusal is not None and not is_gone(refusal):
            key = shard_key(case.node.run.run.id, descriptor.window, shard.sha256)
            case.report.wrong("checkpoint shard", holder.hotkey, str(refusal), key)
