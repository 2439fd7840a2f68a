"""Attacks that live off what others have sent.

By the time a delta can be read, its reader's commit is due: the window before can be copied.
"""

from __future__ import annotations

import asyncio

import numpy as np

from boltzmann.node.membership import Peer
from boltzmann.node.miner import Work, reveal
from boltzmann.node.node import Node
from boltzmann.node.objects import commit_key, delta_key
from boltzmann.node.publish import publish
from boltzmann.node.round import chosen_in
from boltzmann.protocol.points import Points
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.reveal import MAX_COMMIT_BYTES, open_commit, seal_commit
from boltzmann.protocol.wire import open_object
from boltzmann.simulate.adversaries.base import (
    Adversary,
    Floats,
    Tensors,
    adversary,
    known_of,
    made_up,
    noise,
    parts,
    peers_of,
    whole,
)
from boltzmann.train.gradients import Delta

MOST_READ = 8  # deltas of others per window


class Reader(Adversary):
    """Reads others' deltas of each window, once they can be read.

    `seen`: each other's newest values at all coordinates of the model, 0 where none was sent yet.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen: dict[str, Floats] = {}

    async def look(self, node: Node, window: int) -> None:
        chosen = await chosen_in(node, window)
        # Gathering the coordinates' own numbers says where the slice's values belong.
        numbers = parts(node, np.arange(chosen.layout.total, dtype=np.float32))
        places = chosen.gather(numbers).astype(np.int64)
        others = [peer for peer in await peers_of(node, window) if peer.hotkey != node.hotkey]
        found: dict[str, Floats] = {}
        for peer in others:
            values = await delta_of(node, window, peer) if len(found) < MOST_READ else None
            if values is not None:
                known = self.seen.get(peer.hotkey)
                found[peer.hotkey] = np.zeros(len(node.worker.state.theta), np.float32)
                if known is not None:
                    found[peer.hotkey][:] = known
                found[peer.hotkey][places] = values
        self.seen = found or self.seen

    def taken(self, node: Node) -> Floats:
        """What it makes of it: the coordinates of one delta of the whole model."""
        return next(iter(self.seen.values()))

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        if not self.seen:
            return None
        return made_up(node, parts(node, self.taken(node)), pages, points)


async def delta_of(node: Node, window: int, peer: Peer) -> Floats | None:
    """Another member's values of a window, if they can be read."""
    known = await known_of(node, window, peer.hotkey)
    key = delta_key(node.run.run.id, window)
    data = node.store.get(peer.bucket, key, max_bytes=known.object_bytes, seconds=0.1)
    if isinstance(data, Rejection):
        return None
    opened = open_object(data, known, node.verify)
    return None if isinstance(opened, Rejection) else opened.values


@adversary("copy-last")
class CopyLast(Reader):
    """Sends another miner's last delta as its own."""


@adversary("copy-noise")
class CopyNoise(Reader):
    """Sends another miner's last delta with 1% noise."""

    def taken(self, node: Node) -> Floats:
        values = super().taken(node)
        size = np.float32(0.01 * np.linalg.norm(values) / np.sqrt(len(values)))
        return values + size * noise(node, len(values), "copy", len(self.cheated))


@adversary("copy-rescaled")
class CopyRescaled(Reader):
    """Sends another miner's last delta, a tenth longer."""

    def taken(self, node: Node) -> Floats:
        return super().taken(node) * np.float32(1.1)


@adversary("mean-others")
class MeanOthers(Reader):
    """Sends the mean of the others' last deltas."""

    def taken(self, node: Node) -> Floats:
        mean: Floats = np.mean(list(self.seen.values()), axis=0, dtype=np.float32)
        return mean


@adversary("replay")
class Replay(Adversary):
    """Sends the model's last global direction: the optimizer's own momentum."""

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        moment: Tensors = parts(node, node.worker.state.m.copy())
        return made_up(node, moment, pages, points)


@adversary("byte-copy")
class ByteCopy(Adversary):
    """Commits to the very bytes that another has committed to, then sends those bytes."""

    async def cheat(self, node: Node, window: int) -> None:
        run, clock = node.run.run.id, node.clock
        victim, sha256 = await self._watch(node, window)
        if victim is not None:
            sealed = seal_commit(run, window, sha256, node.hotkey, node.keys.sign)
            await publish(node, commit_key(run, window), sealed, before=clock.upload_by(window))
            while node.blocks.latest < clock.upload_by(window):
                data = node.store.get(
                    victim.bucket, delta_key(run, window), max_bytes=1 << 24, seconds=0.1
                )
                if not isinstance(data, Rejection):
                    await reveal(node, window, Work(data, None, 0, {}))
                    break
                await asyncio.sleep(0.1)
        await node.blocks.until(clock.upload_by(window))

    async def _watch(self, node: Node, window: int) -> tuple[Peer | None, str]:
        """Whose commit can be read in time, and the sha256 that it names."""
        await node.blocks.until(node.clock.close(window))
        others = [peer for peer in await peers_of(node, window) if peer.hotkey != node.hotkey]
        while node.blocks.latest < node.clock.commit_by(window):
            for peer in others:
                key = commit_key(node.run.run.id, window)
                data = node.store.get(peer.bucket, key, max_bytes=MAX_COMMIT_BYTES, seconds=0.1)
                if isinstance(data, Rejection):
                    continue
                pledge = open_commit(data, node.run.run.id, window, peer.hotkey, node.verify)
                if not isinstance(pledge, Rejection):
                    return peer, pledge.sha256
            await asyncio.sleep(0.1)
        return None, ""


@adversary("copy-signs")
class CopySigns(Reader):
    """Sends the signs of another miner's last delta, as long as it is."""

    def taken(self, node: Node) -> Floats:
        return signs(super().taken(node))


@adversary("signs")
class Signs(Adversary):
    """Does its work and sends no more of it than the signs, at the usual length."""

    effort = 1.0

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        delta = await node.worker.delta(pages, points)
        return made_up(node, parts(node, signs(whole(delta.tensors))), pages, points)


def signs(values: Floats) -> Floats:
    """The signs of `values`, as long as they are."""
    size = np.float32(np.linalg.norm(values) / float(max(1, int(np.count_nonzero(values)))) ** 0.5)
    found: Floats = np.sign(values)
    return found * size
