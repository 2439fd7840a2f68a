"""Attacks of several hotkeys that tell each other everything, each before its commit is due.

Accomplices know each other by the names of their buckets, and talk through them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from boltzmann.node.conduct import Offer
from boltzmann.node.membership import Peer
from boltzmann.node.node import Node
from boltzmann.node.round import points_of
from boltzmann.protocol.points import Points
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.slices import Slice
from boltzmann.simulate.adversaries.base import (
    Adversary,
    Floats,
    adversary,
    made_up,
    noise,
    parts,
    peers_of,
    whole,
)
from boltzmann.simulate.adversaries.faking import padded
from boltzmann.train.gradients import Delta

_MOST_BYTES = 1 << 24


class Accomplice(Adversary):
    """One of several of the same kind, who leave their deltas where the others find them."""

    earns = "work"

    async def friends(self, node: Node, window: int) -> list[Peer]:
        """The others of this kind among the window's members, in the order of their names."""
        peers = [
            peer
            for peer in await peers_of(node, window)
            if peer.bucket.rpartition("/")[2].rstrip("0123456789") == self.kind
            and peer.hotkey != node.hotkey
        ]
        return sorted(peers, key=lambda peer: (len(peer.bucket), peer.bucket))

    def tell(self, node: Node, window: int, delta: Delta) -> None:
        """Leave a delta for the friends."""
        node.store.put(_key(node, window), whole(delta.tensors).tobytes())
        node.store.delete(_key(node, max(0, window - 2)))

    async def hear(self, node: Node, window: int) -> list[Floats]:
        """What the friends have left."""
        return [
            np.frombuffer(data, np.float32)
            for friend in await self.friends(node, window)
            for data in [
                node.store.get(
                    friend.bucket, _key(node, window), max_bytes=_MOST_BYTES, seconds=1.0
                )
            ]
            if not isinstance(data, Rejection)
        ]


def _key(node: Node, window: int) -> str:
    return f"{node.run.run.id}/{window}/between-us"


@adversary("one-machine")
class OneMachine(Accomplice):
    """Several hotkeys of one machine: the first does its work, the others send it with 2% noise."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._leads = name.removeprefix(self.kind) == "0"

    async def window(self, node: Node, window: int) -> None:
        self.work += float(self._leads)
        if not self._leads:
            await super().window(node, window)
            return
        await self.cheat(node, window)

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        window = node.clock.window(node.blocks.latest)
        if self._leads:
            delta = await node.worker.delta(pages, points)
            self.tell(node, window, delta)
            return delta
        await node.blocks.until(node.clock.close(window))
        heard = await self.hear(node, window)
        if not heard:
            return None
        size = np.float32(0.02 * np.linalg.norm(heard[0]) / np.sqrt(len(heard[0])))
        copied = heard[0] + size * noise(node, len(heard[0]), "one machine", window)
        return made_up(node, parts(node, copied), pages, points)


@adversary("sharing")
class Sharing(Accomplice):
    """Each trains half its pages, sends the mean of all friends' deltas, makes up the shares."""

    effort = 0.5

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        window = node.clock.window(node.blocks.latest)
        delta = await node.worker.delta(pages[: max(1, len(pages) // 2)], points)
        self.tell(node, window, delta)
        return padded(delta, len(pages))

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        every = [whole(delta.tensors), *await self.hear(node, window)]
        mean = parts(node, np.mean(every, axis=0, dtype=np.float32))
        on_points, on_slice = (await points_of(node, window)).meet(chosen)
        values, shares = chosen.gather(mean), delta.shares.copy()
        # The first half of the pages is true; the last page makes up for the difference.
        shares[-1, on_points] += values[on_slice] - shares[:, on_points].sum(axis=0)
        return await super().offer(
            node, window, chosen, replace(delta, tensors=mean, shares=shares), members
        )
