"""Attacks on the model: work that points elsewhere, shown where nobody looks if it can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from boltzmann.node.node import Node
from boltzmann.protocol.points import Points
from boltzmann.simulate.adversaries.base import (
    Adversary,
    Floats,
    Tensors,
    adversary,
    noise,
    parts,
    whole,
)
from boltzmann.simulate.adversaries.copying import Reader
from boltzmann.simulate.adversaries.faking import Scaled
from boltzmann.train.gradients import Delta


@adversary("negated")
class Negated(Scaled):
    """Sends its work with the sign turned round."""

    factor = -1.0


@adversary("one-tensor")
class OneTensor(Adversary):
    """Sends its work with its largest tensor, and its shares there, turned round."""

    effort = 1.0

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        delta = await node.worker.delta(pages, points)
        worst = int(np.argmax(points.layout.sizes))
        shares = delta.shares.copy()
        shares[:, points.bounds[worst] : points.bounds[worst + 1]] *= -1
        tensors = tuple(-t if i == worst else t for i, t in enumerate(delta.tensors))
        return replace(delta, tensors=tensors, shares=shares)


def hidden(poison: Tensors, honest: Delta, points: Points) -> Delta:
    """Poison everywhere but on the audit points, where the delta is what its shares add up to."""
    tensors = []
    for bad, good, chosen in zip(poison, honest.tensors, points.chosen, strict=True):
        mixed = bad.copy()
        mixed[chosen] = good[chosen]
        tensors.append(mixed)
    return replace(honest, tensors=tuple(tensors))


@adversary("off-points")
class OffPoints(Adversary):
    """Does its work, is honest on the audit points and turned round everywhere else."""

    effort = 1.0

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        delta = await node.worker.delta(pages, points)
        return hidden(tuple(-tensor for tensor in delta.tensors), delta, points)


@adversary("diluted")
class Diluted(Adversary):
    """Does its work, and adds noise as long as that off the audit points."""

    effort = 1.0

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        delta = await node.worker.delta(pages, points)
        own = whole(delta.tensors)
        added = noise(node, len(own), "diluted", pages) * own.std()
        return hidden(parts(node, own + added), delta, points)


class AgainstMean(Reader):
    """Poison made of what the others sent, off the audit points."""

    effort = 1.0

    def poison(self, others: Floats) -> Floats:
        """What to send, from the others' deltas `[miners, coordinates]`."""
        raise NotImplementedError

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        delta = await node.worker.delta(pages, points)
        if not self.seen:
            return delta
        poison = self.poison(np.stack(list(self.seen.values())))
        return hidden(parts(node, poison), delta, points)


@adversary("alie")
class Alie(AgainstMean):
    """A little is enough: the others' mean less 1.5 of their deviations, off the audit points."""

    def poison(self, others: Floats) -> Floats:
        values: Floats = others.mean(axis=0) - np.float32(1.5) * others.std(axis=0)
        return values


@adversary("ipm")
class Ipm(AgainstMean):
    """Inner-product manipulation: ten times against the others' mean, off the audit points."""

    def poison(self, others: Floats) -> Floats:
        values: Floats = others.mean(axis=0) * np.float32(-10.0)
        return values
