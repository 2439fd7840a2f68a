"""Attacks in their own time: any other attack, by somebody who is honest meanwhile.

sleeper-NAME      honest for 10 windows of trust, then NAME for ever (sleeper30-NAME: for 30)
sometimes-NAME    NAME in a quarter of the windows of trust (sometimes50-NAME: in 50%)
relapser-NAME     honest for 10 windows of trust, then NAME until caught, and again
recycler-NAME     as a relapser, but registers anew each time (recycler10-NAME: for 10, else 1)
"""

from __future__ import annotations

import re
from collections.abc import Callable

from boltzmann.node.conduct import Honest
from boltzmann.node.miner import mine_window
from boltzmann.node.node import Node
from boltzmann.simulate.adversaries.base import Adversary, coin, is_caught, is_trusted, ledger

PATTERN = re.compile(r"(sleeper|sometimes|relapser|recycler)(\d{1,6})?-(.+)")


class Patient(Adversary):
    """Another attack, in some windows only."""

    earns = "work"

    def __init__(self, name: str, number: int, attack: Callable[[str], Adversary]) -> None:
        super().__init__(name)
        self.number = number
        self.inner = attack(name)
        self.trusted = 0  # windows of trust since it was caught last
        self.caught_in = -2

    async def window(self, node: Node, window: int) -> None:
        if window > self.caught_in + 1:  # the update between them is from before
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
        turned = min((w for w in self.cheated if w > self.caught_in), default=window)
        await node.blocks.until(node.clock.decide(window) - 1)
        if await is_caught(node, window, turned):
            self.trusted, self.caught_in = 0, window
            await self.caught(node, window)

    async def caught(self, node: Node, window: int) -> None:
        """What it does about having been caught."""


class Recycler(Relapser):
    """NAME after 1 window of trust until it is caught, then anew under another registration.

    It leaves its debt behind and begins with a newcomer's dues. What a registration costs on chain
    is not reckoned.
    """

    async def caught(self, node: Node, window: int) -> None:
        chain, hotkey = ledger(node), node.hotkey

        def again() -> None:
            chain.deregister(hotkey)
            chain.register(hotkey)

        chain.at(chain.height + 1, again)


WAYS: dict[str, tuple[type[Patient], int]] = {
    "sleeper": (Sleeper, 10),
    "sometimes": (Sometimes, 25),
    "relapser": (Relapser, 10),
    "recycler": (Recycler, 1),
}
