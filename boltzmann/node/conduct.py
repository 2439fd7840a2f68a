"""How a miner behaves: honestly, or as one of the cheats of the local network.

A cheat runs the same miner; only the values it offers differ.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from boltzmann.errors import ConfigError
from boltzmann.node.cheats import CHEATS
from boltzmann.node.membership import Peer
from boltzmann.node.node import Node
from boltzmann.node.objects import delta_key, expected
from boltzmann.protocol.points import Points
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.seeds import derive
from boltzmann.protocol.slices import Slice
from boltzmann.protocol.wire import Kind, open_object
from boltzmann.train.gradients import Delta

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Offer:
    """What a miner sends: the slice's values `[size] float32`, and `[pages, points] float32`."""

    values: Floats
    shares: Floats


class Conduct(Protocol):
    """What a miner does with its pages, and what it sends of the outcome."""

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        """The window's delta, with its pages' shares on the points; None: send nothing."""
        ...

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        """What to send of it; None: send nothing."""
        ...


class Honest:
    """Trains all its pages and sends what it got."""

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        return await node.worker.delta(pages, points)

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        values = await node.worker.run(lambda: delta.on_slice(chosen))
        return Offer(values, delta.shares)


class Half(Honest):
    """Trains half its pages and claims them all."""

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        some = pages[: max(1, len(pages) // 2)]
        delta = await node.worker.delta(some, points)
        shares = spread(delta.shares.sum(axis=0), len(pages))
        return replace(delta, tokens=delta.tokens * len(pages) // len(some), shares=shares)


class Idle(Honest):
    """Takes its pages and sends nothing."""

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        return None


class Random(Honest):
    """Trains nothing and sends noise of a usual gradient's norm."""

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        data, layout = node.run.data, node.worker.state.layout
        key = derive(node.run.key, "random adversary", node.hotkey, *pages)
        draw = np.random.default_rng(np.frombuffer(key, np.uint64))
        scale = np.float32(node.run.exchange.clip_norm / np.sqrt(layout.total))
        noise = tuple(draw.standard_normal(size, np.float32) * scale for size in layout.sizes)
        tokens = len(pages) * data.rows_per_page * (data.sequence_length - 1)
        return Delta(noise, 0.0, tokens, spread(points.gather(noise), len(pages)))


class Copy(Honest):
    """Trains nothing and sends the first delta it can read of another member as its own."""

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        data = node.run.data
        tokens = len(pages) * data.rows_per_page * (data.sequence_length - 1)
        return Delta((), 0.0, tokens, np.zeros((len(pages), 0), np.float32))

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        root = node.worker.state.position.root
        while node.blocks.latest < node.clock.upload_by(window):
            for peer in members:
                known = expected(node.run, Kind.DELTA, peer.hotkey, window, root, chosen)
                blob = await asyncio.to_thread(
                    node.store.get,
                    peer.bucket,
                    delta_key(node.run.run.id, window),
                    max_bytes=known.object_bytes,
                    seconds=1.0,
                )
                if isinstance(blob, Rejection) or peer.hotkey == node.hotkey:
                    continue
                opened = open_object(blob, known, node.verify)
                if not isinstance(opened, Rejection):
                    return Offer(opened.values, opened.shares)
            await asyncio.sleep(0.05)
        return None


def spread(total: Floats, pages: int) -> Floats:
    """Shares `[pages, points]` that add up to `total`, as if all pages had the same gradient."""
    return np.tile(total / np.float32(pages), (pages, 1))


ADVERSARIES: dict[str, type[Honest]] = dict(zip(CHEATS, (Random, Copy, Half, Idle), strict=True))


def conduct_named(name: str) -> Conduct:
    """Honest for "", else the named cheat. Raises: ConfigError."""
    if not name:
        return Honest()
    if name not in ADVERSARIES:
        raise ConfigError(f"--adversary {name} is unknown: use one of {', '.join(ADVERSARIES)}")
    return ADVERSARIES[name]()
