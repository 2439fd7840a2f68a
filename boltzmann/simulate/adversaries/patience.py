"""Attacks in their own time: any other attack, by somebody who is honest meanwhile.

sleeper-NAME      honest for 10 windows of trust, then NAME for ever (sleeper30-NAME: for 30)
sometimes-NAME    NAME in a quarter of the windows of trust (sometimes50-NAME: in 50%)
relapser-NAME     honest for 10 windows of trust, then NAME until caught, and again
"""

from __future__ import annotations

import re
from collections.abc import Callable

from boltzmann.node.conduct import Honest
from boltzmann.node.miner import mine_window
from boltzmann.node.node import Node
from boltzmann.simulate.adversaries.base import Adversary, coin, is_caught, is_trusted

PATTERN = re.compile(r"(sleeper|sometimes|relapser)(\d{1,6})?-(.+)")


class Patient(Adversary):
    """Another attack, in some windows only."""

    earns = "work"

    def __init__(self, name: str, number: int, attack: Callable[[str], Adversary]) -> None:
        super().__init__(name)
        self.number = number
        self.inner = attack(name)
        self.trusted = 0  # windows of trust since it was caught last

    async def window(self, node: Node, window: int) -> None:
        self.trusted += is_trusted(node)
        if self.cheats(node, window):
            before = self.inner.work
            await self.inner.window(node, window)
            self.cheated |= self.inner.cheated
            self.work += self.inner.work - before
        else:
            await mine_window(node, Honest(), window)
            self.work += 1.0
            await self.inner.look(node, window)
        await self.after(node, window)

    def cheats(self, node: Node, window: int) -> bool:
        """Whether it cheats in this window."""
        raise NotImplementedError

    async def after(self, node: Node, window: int) -> None:
        """What it looks at once the window's deltas are read."""


class Sleeper(Patient):
    """NAME, by who is honest for 10 windows of trust first (sleeper30-NAME: for 30)."""

    def cheats(self, node: Node, window: int) -> bool:
        return self.trusted >= self.number


class Sometimes(Patient):
    """NAME in 25% of the windows once it is trusted (sometimes50-NAME: in 50%), else honest."""

    def cheats(self, node: Node, window: int) -> bool:
        return self.trusted > 0 and coin(node, window, self.number / 100)


class Relapser(Patient):
    """NAME after 10 windows of trust until it is caught, then honest again, and so on."""

    def cheats(self, node: Node, window: int) -> bool:
        return self.trusted >= self.number

    async def after(self, node: Node, window: int) -> None:
        if not self.cheats(node, window):
            return
        await node.blocks.until(node.clock.decide(window) - 1)
        if await is_caught(node, window, self.first_cheat or 0):
            self.trusted = 0


WAYS: dict[str, tuple[type[Patient], int]] = {
    "sleeper": (Sleeper, 10),
    "sometimes": (Sometimes, 25),
    "relapser": (Relapser, 10),
}
