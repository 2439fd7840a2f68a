"""Each epoch's checkpoint: written by every validator, published by a few, named by manifests."""

from __future__ import annotations

import asyncio
import os
import shutil
from functools import partial
from pathlib import Path

from boltzmann.errors import NoRoom, StoreError, StoreUnavailable
from boltzmann.node.keepsake import save_state
from boltzmann.node.manifests import Held
from boltzmann.node.node import Node
from boltzmann.node.objects import descriptor_key, shard_key
from boltzmann.node.outbox import writing
from boltzmann.node.stages import Stage
from boltzmann.protocol.ballots import Objection
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import CheckpointName
from boltzmann.protocol.rejection import Rejection
from boltzmann.train.checkpoint import DESCRIPTOR, Descriptor, open_descriptor, shard_name

_RETRY_SECONDS = 5.0
_CHOSEN = "chosen"  # marks a folder that this node is to publish
_PUBLISHED = "published"  # marks a folder whose objects are all in the bucket
NAMING_WINDOWS = 3  # of an epoch, in which a checkpoint is made and named, or not at all


def newest_checkpoint(node: Node, base: Held, window: int) -> CheckpointName:
    """What a proposal of `window` on top of `base` names: this node's own if it is newer, else the
    parent's.

    In an epoch's first windows only: validators that stood elsewhere when it was made object, and
    where these and others are half of the stake each, nothing would be agreed on until the next.
    """
    inherited = base.manifest.proposal.checkpoint
    if window - _epoch_start(node, window) >= NAMING_WINDOWS:
        return inherited
    for descriptor in _written(node):
        # One of a state that was taken back since is nobody's.
        if descriptor.window > inherited.window and descriptor.head in _lineage(node, base):
            return CheckpointName(descriptor.window, descriptor.digest)
    return inherited


def checkpoint_objection(node: Node, base: Held, named: CheckpointName) -> Objection:
    """Against a proposal that names this checkpoint.

    One that this node did not make counts as wrong: it has nothing to compare it with.
    """
    if named == base.manifest.proposal.checkpoint:
        return Objection.NONE
    own = {CheckpointName(d.window, d.digest) for d in _written(node)}
    return Objection.NONE if named in own else Objection.CHECKPOINT


def _epoch_start(node: Node, window: int) -> int:
    """The first window of the epoch that `window` is in."""
    return window - window % node.run.exchange.epoch_windows


def _lineage(node: Node, base: Held) -> set[str]:
    return {base.name.digest, *node.worker.state.heads}


def folder_of(node: Node, window: int) -> Path:
    """Where this node keeps what it publishes of the checkpoint after `window`."""
    return node.folder / "checkpoints" / str(window)


def _written(node: Node) -> list[Descriptor]:
    """The checkpoints this node has made, newest first."""
    found = []
    for path in (node.folder / "checkpoints").glob(f"*/{DESCRIPTOR}"):
        if not path.parent.name.isdecimal():
            continue  # what a crash left half-made
        opened = open_descriptor(path.read_bytes(), node.run.run.id, int(path.parent.name))
        if not isinstance(opened, Rejection):
            found.append(opened)
    return sorted(found, key=lambda descriptor: -descriptor.window)


def _outdated(node: Node) -> list[Descriptor]:
    """Those beyond what the run keeps; the genesis never is: audits may begin there."""
    return [d for d in _written(node)[node.run.exchange.checkpoints_kept :] if d.head]


async def _remove(node: Node, descriptor: Descriptor) -> None:
    """Take a checkpoint out of the bucket. Raises: StoreError."""
    run, window = node.run.run.id, descriptor.window
    # The descriptor first: a checkpoint that lacks shards must not be found.
    await asyncio.to_thread(node.store.delete, descriptor_key(run, window, descriptor.digest))
    for shard in descriptor.shards:
        await asyncio.to_thread(node.store.delete, shard_key(run, window, shard.sha256))


class Checkpoints:
    """Makes a validator's checkpoints, and publishes them while it goes on working."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._upload: asyncio.Task[None] | None = None
        self._to_remove: dict[str, Descriptor] = {}  # what the bucket has not let go yet, by digest

    async def enter(self, window: int) -> None:
        """At the start of every window: at an epoch's, save the state and publish it."""
        if self._is_due(window) and await save_state(self._node, window):
            chosen = await self._is_copyist(_epoch_start(self._node, window))
            await self._keep(window, chosen)
        if self._upload is None or self._upload.done():
            self._upload = asyncio.create_task(self._publish_all(window))

    def _is_due(self, window: int) -> bool:
        """Whether the epoch's checkpoint is to be made: as it begins, and soon after it by who came
        late to the state that it began at."""
        node, start = self._node, _epoch_start(self._node, window)
        if window == start:
            return True
        stands_at = node.worker.state.position.window
        is_soon = window - start < NAMING_WINDOWS
        return is_soon and stands_at < start and not folder_of(node, stands_at).exists()

    async def _keep(self, window: int, chosen: bool) -> None:
        """Keep what was just saved; a disk that does not take it costs this checkpoint only."""
        try:
            await asyncio.to_thread(_link, self._node, chosen)
        except OSError as error:  # also of file systems without hard links
            self._node.telemetry.event(
                "error", what=f"keeping the checkpoint made at window {window}", detail=str(error)
            )

    async def close(self) -> None:
        """Leave an upload that is under way; the next start goes on with it."""
        if self._upload is not None:
            self._upload.cancel()
            await asyncio.gather(self._upload, return_exceptions=True)

    async def _is_copyist(self, window: int) -> bool:
        """Whether this node is one of those who publish the checkpoint made at this window."""
        node = self._node
        council = await node.councils.at(max(0, window - 1))
        return node.hotkey in council.order[: node.run.exchange.checkpoint_copies]

    async def _publish_all(self, window: int) -> None:
        """What is still to publish, also from before a restart, and then what is to be removed."""
        for what, step in (
            ("publishing a checkpoint", partial(self._publish, window)),
            ("removing old checkpoints", self._retire),
        ):
            try:
                await step()
            except (StoreError, NoRoom, OSError) as error:
                self._node.telemetry.event("error", what=what, detail=str(error))

    async def _publish(self, window: int) -> None:
        node = self._node
        for descriptor in _written(node)[:1]:
            folder = folder_of(node, descriptor.window)
            if (folder / _CHOSEN).exists() and not (folder / _PUBLISHED).exists():
                with node.stage(Stage.CHECKPOINT, window):
                    await publish_checkpoint(node, descriptor)

    async def _retire(self) -> None:
        """Remove what is older than the run keeps: from the disk whatever the bucket says.

        The bucket is asked again at each window, until it lets it go or this node ends.
        Raises: StoreError.
        """
        old, refusal = _outdated(self._node), None
        self._to_remove.update({descriptor.digest: descriptor for descriptor in old})
        try:
            for name in tuple(self._to_remove):
                await _remove(self._node, self._to_remove[name])
                del self._to_remove[name]
        except StoreError as error:
            refusal = error
        for descriptor in old:
            folder = folder_of(self._node, descriptor.window)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        if refusal is not None:
            raise refusal


async def publish_checkpoint(node: Node, descriptor: Descriptor) -> None:
    """Put the shards into the bucket, the descriptor last; a bucket that is silent is waited for,
    until this checkpoint is older than the run keeps.

    Raises: StoreError if the bucket refuses, NoRoom if the disk does.
    """
    folder, run, window = folder_of(node, descriptor.window), node.run.run.id, descriptor.window
    objects = [
        (shard_key(run, window, s.sha256), folder / shard_name(s)) for s in descriptor.shards
    ]
    objects.append((descriptor_key(run, window, descriptor.digest), folder / DESCRIPTOR))
    for number, (key, path) in enumerate(objects):
        waited = 0.0
        while True:
            try:
                await asyncio.to_thread(node.store.put_file, key, path)
                break
            except StoreUnavailable as error:
                if descriptor in _outdated(node):
                    raise  # newer ones take its place, and the disk must not fill up meanwhile
                node.telemetry.event("waiting", what=f"the own bucket: {error}", seconds=waited)
                await asyncio.sleep(_RETRY_SECONDS)
                waited += _RETRY_SECONDS
        node.telemetry.event(
            "progress", what="publishing a checkpoint", done=number + 1, of=len(objects)
        )
    with writing(folder / _PUBLISHED):
        (folder / _PUBLISHED).touch()
    node.telemetry.event(
        "checkpoint", window=window, digest=descriptor.digest, bytes_up=descriptor.size
    )


def _link(node: Node, chosen: bool) -> None:
    """The state that was just saved, under the name of its window: files, not copies.

    Raises: OSError; nothing half-made is left, since a full disk is no place for it.
    """
    window = node.worker.state.position.window
    folder = folder_of(node, window)
    aside = folder.with_suffix(".new")
    if folder.exists():
        return
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        for path in sorted(node.snapshot.iterdir()):
            os.link(path, aside / path.name)
        if chosen:
            (aside / _CHOSEN).touch()
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def named(descriptor: Descriptor) -> CheckpointName:
    """How a proposal names it."""
    return CheckpointName(descriptor.window, digest(descriptor.encode()))
