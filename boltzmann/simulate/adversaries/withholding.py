"""Attacks on who may read what an update's leader has ordered, with a minority of the stake."""

from __future__ import annotations

import asyncio
from enum import Enum

from boltzmann.node.follow import join_window
from boltzmann.node.node import Node
from boltzmann.node.validator import validate
from boltzmann.simulate.adversaries.base import Adversary, adversary, bucket, ledger
from boltzmann.simulate.adversaries.council import FAVOURED, STAKE, friends_of


class Reader(Enum):
    """Who asks a leader for what it has ordered."""

    FRIEND = "friend"
    MINER = "miner"
    VALIDATOR = "validator"


class Withholding(Adversary):
    """An honest validator, but for whom its bucket shows manifests and updates."""

    stake = STAKE

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._node: Node | None = None
        self._validators: frozenset[str] = frozenset()
        self.is_late = False

    async def drive(self, node: Node) -> None:
        self._node = node
        store = bucket(node)
        store.buckets.serve[store.address] = self._answer
        watching = asyncio.create_task(self._watch(node))
        try:
            await validate(node)
        finally:
            watching.cancel()

    def shows(self, reader: Reader) -> bool:
        """Whether it shows what it has ordered."""
        raise NotImplementedError

    async def _watch(self, node: Node) -> None:
        """It is late from the second block of each window on: nobody looks for long after it."""
        clock, window = node.clock, node.clock.window(node.blocks.latest)
        while True:
            window += 1
            await node.blocks.until(clock.close(window - 1))
            self.is_late = False
            self._validators = frozenset((await node.councils.at(window - 1)).stakes)
            await node.blocks.until(clock.open(window) + 1)
            self.is_late = True

    def _answer(self, reader: str, key: str, stored: bytes | None) -> bytes | None:
        kind = (*key.split("/"), "", "")[2]
        if self._node is None or kind not in ("manifest", "update"):
            return stored
        chain = ledger(self._node)
        friends = friends_of(chain.records(chain.height), FAVOURED)
        role = Reader.FRIEND if reader in friends else Reader.MINER
        if reader in self._validators:
            role = Reader.VALIDATOR
        return stored if reader == self._node.hotkey or self.shows(role) else None


@adversary("late-manifest")
class LateManifest(Withholding):
    """A leader that shows validators its manifests in the last moment, miners but friends never."""

    def shows(self, reader: Reader) -> bool:
        return reader is Reader.FRIEND or (reader is Reader.VALIDATOR and self.is_late)


@adversary("misleading")
class Misleading(Withholding):
    """A leader whose manifests all miners but its friends read, and no validator does."""

    def shows(self, reader: Reader) -> bool:
        return reader is Reader.MINER


@adversary(FAVOURED)
class Favoured(Adversary):
    """Honest work of a friend of such leaders, whose manifests it takes without asking others."""

    effort = 1.0
    earns = "work"
    is_harmless = True

    async def join(self, node: Node) -> int:
        return await join_window(node, node.clock.upload_by)
