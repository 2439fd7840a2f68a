"""The manifests that lead through the audited windows, found from the newest one backwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from boltzmann.errors import BoltzmannError, ChainUnavailable, ConfigError
from boltzmann.node.manifests import Held
from boltzmann.node.node import Node
from boltzmann.node.route import Link, parent_of
from boltzmann.node.tip import Tip, tip_at

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """The manifests of a stretch of windows, each standing on the one before.

    `base`: the last one before the stretch, None if the run begins in it; `held`: window ->
    manifest, also of some windows after the stretch.
    """

    tip: Tip
    base: Tip | None
    held: Mapping[int, Held]

    def before(self, window: int) -> Held | None:
        """What a manifest of this window would stand on."""
        earlier = [number for number in self.held if number < window]
        if earlier:
            return self.held[max(earlier)]
        return self.base.held if self.base else None


def link_of(held: Held) -> Link:
    return Link(held.manifest, held.name.digest)


async def find_line(node: Node, first: int, last: int, until: int) -> Line:
    """The line that the chain has ordered, from before `first` to `until`, not before `last`.

    Raises: ConfigError if the windows are not decided yet or the run began later, BoltzmannError
    if a manifest is nowhere to be had.
    """
    decided = _newest_decided(node)
    if last > decided:
        raise ConfigError(
            f"window {last} is not decided yet: block {node.clock.decide(last)} decides it, the "
            f"chain is at block {node.blocks.latest}; audit windows up to {decided}"
        )
    until = min(until, decided)
    sight = await past(node, lambda: tip_at(node, until))
    if sight is None:  # what the chain has forgotten of that block, the manifests of today tell
        sight = await tip_at(node, decided)
    if sight.tip is None:
        raise ConfigError(
            f"run {node.run.run.id} had not begun by window {until}: no manifest that counts is on "
            f"chain"
        )
    tip = sight.tip
    held, at = {}, tip.held
    while at.name.window >= first:
        if at.name.window <= until:
            held[at.name.window] = at
        if at.manifest.is_genesis:
            if at.name.window > first:
                raise ConfigError(
                    f"the run began with window {at.name.window}: audit from there on"
                )
            return Line(tip, None, held)
        parent = await parent_of(node, tip, link_of(at))
        if isinstance(parent, str):
            raise BoltzmannError(
                f"{parent}, so nothing before window {at.name.window} can be proven: no validator "
                f"shows a whole copy; try again, or audit from window {at.name.window} on"
            )
        at = node.manifests[parent.digest]
    return Line(tip, Tip(at.name, at, tip.holders), held)


async def past(node: Node, read: Callable[[], Awaitable[T]]) -> T | None:
    """What the chain says of an old block; None if it has thrown that state away.

    Raises: ChainError if it says nothing of today either.
    """
    try:
        return await read()
    except ChainUnavailable:
        head = await node.chain.head()
        await node.chain.commitments(head.number)
    try:
        return await read()  # it may have been the connection
    except ChainUnavailable:
        return None


def _newest_decided(node: Node) -> int:
    window = node.clock.window(node.blocks.latest)
    return window if node.blocks.latest >= node.clock.decide(window) else window - 1
