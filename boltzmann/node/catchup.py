"""Loading a checkpoint from whichever validators hold its shards."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

from boltzmann.errors import CorruptState
from boltzmann.node.node import Node
from boltzmann.node.objects import shard_key
from boltzmann.node.outbox import make_folder
from boltzmann.node.route import Start
from boltzmann.node.tip import Holder, Tip
from boltzmann.privacy import shown
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.train import checkpoint
from boltzmann.train.checkpoint import Descriptor, Shard

_BYTES_PER_SECOND = 1_000_000  # the slowest bucket that is worth waiting for


async def load_checkpoint(node: Node, tip: Tip, start: Start) -> str | None:
    """Make the state what the checkpoint holds; else what is not there.

    Each shard comes from the first holder whose copy has its sha256; who failed with one is asked
    last for the next: a bucket that never answers must not cost its limit once per shard.
    Raises: NoRoom or StoreError if the disk does not take it.
    """
    holders, failed = tip.holders, set[str]()
    descriptor, began = start.descriptor, time.monotonic()
    folder = node.folder / "download"
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    try:
        paths = []
        for number, shard in enumerate(descriptor.shards):
            path = folder / f"{number}.safetensors"
            holders = tuple(sorted(holders, key=lambda holder: holder.hotkey in failed))
            missing = await fetch_shard(node, holders, descriptor, shard, path, failed)
            if missing is not None:
                return f"shard {number} of the checkpoint of window {descriptor.window}: {missing}"
            paths.append(path)
            node.telemetry.event(
                "progress", what="checkpoint", done=number + 1, of=len(descriptor.shards)
            )
        try:
            await node.worker.run(lambda: checkpoint.load(node.worker.state, descriptor, paths))
        except CorruptState as error:
            return str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    node.worker.state.confirm(start.head.digest)
    node.telemetry.event(
        "loaded",
        window=start.head.manifest.proposal.window,
        head=start.head.digest,
        root=node.worker.state.position.root.hex(),
        checkpoint=descriptor.window,
        bytes_down=descriptor.size,
        seconds=time.monotonic() - began,
    )
    return None


async def fetch_shard(
    node: Node,
    holders: tuple[Holder, ...],
    descriptor: Descriptor,
    shard: Shard,
    path: Path,
    failed: set[str] | None = None,
) -> Rejection | None:
    """One shard into `path`, from the first holder whose copy has its sha256.

    Who did not have it is added to `failed`.
    """
    refusal: Rejection | None = Rejection(Reason.ABSENT)
    for holder in holders:
        refusal = await asyncio.to_thread(
            node.store.download,
            holder.address,
            shard_key(node.run.run.id, descriptor.window, shard.sha256),
            path,
            exact_bytes=shard.size,
            seconds=node.fetch_seconds + shard.size / _BYTES_PER_SECOND,
        )
        if refusal is None and not await asyncio.to_thread(_is, path, shard.sha256):
            refusal = Rejection(Reason.BAD_DIGEST, f"in {shown(holder.address)}")
            path.unlink()
        if refusal is None:
            return None
        if failed is not None:
            failed.add(holder.hotkey)
        if refusal.reason is not Reason.ABSENT:
            node.telemetry.event(
                "refused",
                what=f"a shard of the checkpoint of window {descriptor.window}",
                holder=holder.hotkey,
                reason=refusal.reason.value,
                detail=refusal.detail,
            )
    return refusal


def _is(path: Path, sha256: str) -> bool:
    return checkpoint.file_sha256(path) == sha256
