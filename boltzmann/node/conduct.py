"""How a miner behaves: honestly, or as one of the cheats of the local network.

A cheat runs the same miner; only the values it offers differ.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from boltzmann.errors import ConfigError
from boltzmann.node.cheats import CHEATS
from boltzmann.node.membership import Peer
from boltzmann.node.node import Node
from boltzmann.node.objects import delta_key, expected
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.seeds import derive
from boltzmann.protocol.slices import Slice
from boltzmann.protocol.wire import Kind, open_object
from boltzmann.train.gradients import Delta

Floats = NDArray[np.float32]


class Conduct(Protocol):
    """What a miner does with its pages, and what it sends of the outcome."""

    async def train(self, node: Node, pages: tuple[int, ...]) -> Delta | None:
        """The window's delta; None: send nothing."""
        ...

    async def values(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Floats | None:
        """The slice's values `[size] float32` to send; None: send nothing."""
        ...


class Honest:
    """Trains all its pages and sends what it got."""

    async def train(self, node: Node, pages: tuple[int, ...]) -> Delta | None:
        return await node.worker.delta(pages)

    async def values(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Floats | None:
        return await node.worker.run(lambda: chosen.gather(delta.tensors))


class Half(Honest):
    """Trains half its pages and claims them all."""

    async def train(self, node: Node, pages: tuple[int, ...]) -> Delta | None:
        delta = await node.worker.delta(pages[: max(1, len(pages) // 2)])
        return replace(delta, tokens=delta.tokens * len(pages) // max(1, len(pages) // 2))


class Idle(Honest):
    """Takes its pages and sends nothing."""

    async def train(self, node: Node, pages: tuple[int, ...]) -> Delta | None:
        return None


class Random(Honest):
    """Trains nothing and sends noise of a clipped gradient's norm."""

    async def train(self, node: Node, pages: tuple[int, ...]) -> Delta | None:
        data = node.run.data
        claimed = len(pages) * data.rows_per_page * (data.sequence_length - 1)
        return Delta((), 0.0, claimed, node.run.exchange.clip_norm)

    async def values(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Floats | None:
        key = derive(node.run.key, "random adversary", node.hotkey, window)
        noise = np.random.default_rng(np.frombuffer(key, np.uint64)).standard_normal(
            chosen.size, np.float32
        )
        return noise * np.float32(node.run.exchange.clip_norm / np.sqrt(chosen.layout.total))


class Copy(Random):
    """Trains nothing and sends the first delta it can read of another member as its own."""

    async def values(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Floats | None:
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
                    return opened.values
            await asyncio.sleep(0.05)
        return None


ADVERSARIES: dict[str, type[Honest]] = dict(zip(CHEATS, (Random, Copy, Half, Idle), strict=True))


def conduct_named(name: str) -> Conduct:
    """Honest for "", else the named cheat. Raises: ConfigError."""
    if not name:
        return Honest()
    if name not in ADVERSARIES:
        raise ConfigError(f"--adversary {name} is unknown: use one of {', '.join(ADVERSARIES)}")
    return ADVERSARIES[name]()
