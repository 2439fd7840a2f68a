"""Attacks that do less than the work, or other work, or none, and make their shares add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from boltzmann.data.batches import page_batch
from boltzmann.data.tokenizer import ByteTokenizer
from boltzmann.node.conduct import ADVERSARIES, Honest, Offer
from boltzmann.node.membership import Peer
from boltzmann.node.node import Node
from boltzmann.node.worker import Worker
from boltzmann.ports import TokenBatch
from boltzmann.protocol.auditing import responsible
from boltzmann.protocol.points import Points
from boltzmann.protocol.slices import Slice
from boltzmann.simulate.adversaries.base import (
    Adversary,
    adversary,
    bucket,
    made_up,
    pages_of,
    parts,
)
from boltzmann.simulate.text import SmallPages
from boltzmann.train.gradients import Delta


class BuiltIn(Adversary):
    """One of the cheats that the local network has too."""

    conduct: ClassVar[type[Honest]]

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._conduct = self.conduct()

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        return await self._conduct.train(node, pages, points)

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        return await self._conduct.offer(node, window, chosen, delta, members)


for _name, _conduct in ADVERSARIES.items():
    _effort = 0.5 if _name == "half" else 0.0
    adversary(_name)(
        type(
            _conduct.__name__,
            (BuiltIn,),
            {"__doc__": _conduct.__doc__, "conduct": _conduct, "effort": _effort},
        )
    )


@adversary("dodging")
class Dodging(BuiltIn):
    """Sends noise, and hides it from one validator a window, which might be the one to look."""

    conduct = ADVERSARIES["random"]

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        close_hash = await node.blocks.hash(node.clock.close(window))
        stakes = (await node.councils.at(window)).stakes
        hidden = responsible(close_hash, node.hotkey, stakes)

        def serve(reader: str, key: str, stored: bytes | None) -> bytes | None:
            return None if reader == hidden and key.endswith(f"/{window}/delta") else stored

        store = bucket(node)
        store.buckets.serve[store.address] = serve
        return await super().offer(node, window, chosen, delta, members)


@adversary("zero")
class Zero(Adversary):
    """Sends nothing but zeros."""

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        nothing = np.zeros(len(node.worker.state.theta), np.float32)
        return made_up(node, parts(node, nothing), pages, points)


class Skimping(Adversary):
    """Trains the first pages only, and makes up the last ones' shares as their mean."""

    skipped: ClassVar[float] = 0.0

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        done = min(len(pages) - 1, round(len(pages) * (1.0 - self.skipped))) or 1
        delta = await node.worker.delta(pages[:done], points)
        return padded(delta, len(pages))


def padded(delta: Delta, pages: int) -> Delta:
    """A delta of some pages as one of `pages`: the shares that are missing are the mean of those
    that are there, so that the delta stays the same and all of them add up to it."""
    done = len(delta.shares)
    shares = delta.shares * np.float32(done / pages)
    mean = delta.shares.sum(axis=0) / np.float32(pages)
    return replace(
        delta,
        tokens=delta.tokens * pages // done,
        shares=np.concatenate([shares, np.tile(mean, (pages - done, 1))]),
    )


@adversary("half-pages")
class HalfPages(Skimping):
    """Trains half its pages, shows their true shares, and makes up the others'."""

    effort = 0.5
    skipped = 0.5


@adversary("faked-page")
class FakedPage(Skimping):
    """Trains all its pages but one, whose share it makes up so that all add up."""

    effort = 0.875
    skipped = 0.01


@adversary("other-pages")
class OtherPages(Adversary):
    """Trains the control pages, which it may have done long before, and claims its own."""

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        window = node.clock.window(node.blocks.latest)
        others = (node.schedule.control(window) * len(pages))[: len(pages)]
        return await node.worker.delta(others, points)


@adversary("stale")
class Stale(Adversary):
    """Sends its own honest delta of the window before once more."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._last: Delta | None = None

    async def look(self, node: Node, window: int) -> None:
        pages = await pages_of(node, window)
        self._last = await node.worker.delta(pages) if pages else None

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        return self._last and made_up(node, self._last.tensors, pages, points)


class Shortening(Adversary):
    """Trains on the first part `kept` of the sequences of its last `cut` pages; 0: of all pages."""

    kept: ClassVar[float] = 1.0
    cut: ClassVar[int] = 0

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._worker: Worker | None = None

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        if self._worker is None:
            load = _Shortened(node.run.data.sequence_length, self.kept, self.cut)
            self._worker = Worker(node.run, node.worker.state, load, torch.device("cpu"))
        delta = self._worker.compute(pages, points)
        return replace(delta, tokens=made_up(node, delta.tensors, pages, points).tokens)


@adversary("tokens-94")
class Tokens94(Shortening):
    """Trains all its pages on 94% of their tokens."""

    effort = 0.94
    kept = 0.94


@adversary("short-page")
class ShortPage(Shortening):
    """Trains all its pages, but the last one on 60% of its tokens."""

    effort = 0.95
    kept = 0.6
    cut = 1


@lru_cache(maxsize=1)
def _text() -> SmallPages:
    return SmallPages(0)


@dataclass(frozen=True)
class _Shortened:
    """Pages of which the last `cut`, or all, keep that part of their sequences."""

    length: int
    kept: float
    cut: int

    def __call__(self, pages: Sequence[int]) -> AbstractContextManager[Iterator[TokenBatch]]:
        whole = len(pages) - self.cut if self.cut else 0
        parts = [1.0] * whole + [self.kept] * (len(pages) - whole)
        return nullcontext(iter([self._batch(*each) for each in zip(pages, parts, strict=True)]))

    def _batch(self, page: int, part: float) -> TokenBatch:
        batch = page_batch(_text(), (page,), ByteTokenizer(), self.length)
        return replace(batch, tokens=batch.tokens[:, : round(part * self.length)])


class Scaled(Adversary):
    """Does its work, and scales it and its shares by `factor`."""

    effort = 1.0
    factor: ClassVar[float] = 1.0

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        delta, factor = await node.worker.delta(pages, points), np.float32(self.factor)
        scaled = tuple(tensor * factor for tensor in delta.tensors)
        return replace(delta, tensors=scaled, shares=delta.shares * factor)


@adversary("scale-up")
class ScaleUp(Scaled):
    """Sends its work a million times as long."""

    factor = 1e6


@adversary("scale-down")
class ScaleDown(Scaled):
    """Sends its work a million times shorter."""

    factor = 1e-6


@adversary("stretched")
class Stretched(Scaled):
    """Sends its work so much longer that it just passes: another machine might refuse it."""

    earns = "work"
    is_harmless = True
    factor = 1.08


@adversary("wrong-shares")
class WrongShares(Adversary):
    """Sends an honest delta with the true shares of other pages, which do not add up to it."""

    effort = 1.0

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        delta = await node.worker.delta(pages, points)
        window = node.clock.window(node.blocks.latest)
        others = (node.schedule.control(window) * len(pages))[: len(pages)]
        return replace(delta, shares=(await node.worker.delta(others, points)).shares)
