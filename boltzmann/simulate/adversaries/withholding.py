"""Attacks on who may read what an update's leader has ordered, with a minority of the stake."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from boltzmann.node.councils import Council
from boltzmann.node.follow import join_window
from boltzmann.node.node import Node
from boltzmann.node.validator import validate
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.council import more_than_half
from boltzmann.simulate.adversaries.base import Adversary, adversary, bucket, ledger
from boltzmann.simulate.adversaries.council import FAVOURED, STAKE, friends_of
from boltzmann.simulate.store import Late


class Reader(Enum):
    """Who asks a leader for what it has ordered."""

    FRIEND = "friend"
    MINER = "miner"
    VALIDATOR = "validator"


@dataclass(frozen=True)
class Read:
    """Somebody's read of a window's manifest or update."""

    reader: str
    role: Reader
    window: int
    is_update: bool


class Withholding(Adversary):
    """An honest validator, but for whom its bucket shows manifests and updates."""

    stake = STAKE

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.stakes: Mapping[str, int] = {}
        self.accomplices: frozenset[str] = frozenset()
        self.is_late = False
        self.silent: set[int] = set()  # windows in which it proposes nothing

    async def drive(self, node: Node) -> None:
        store = bucket(node)

        def serve(reader: str, key: str, stored: bytes | None) -> bytes | Late | None:
            _, window, kind, *_ = (*key.split("/"), "", "", "")
            if reader != node.hotkey and kind == "proposal" and int(window) in self.silent:
                return None
            if reader == node.hotkey or kind not in ("manifest", "update"):
                return stored
            friends = friends_of(ledger(node).records(ledger(node).height), FAVOURED)
            role = Reader.FRIEND if reader in friends else Reader.MINER
            role = Reader.VALIDATOR if reader in self.stakes else role
            return self.answer(Read(reader, role, int(window), kind == "update"), stored)

        store.buckets.serve[store.address] = serve
        watching = asyncio.create_task(self._watch(node))
        try:
            await validate(node)
        finally:
            watching.cancel()

    def answer(self, read: Read, stored: bytes | None) -> bytes | Late | None:
        """What it shows of what was ordered."""
        raise NotImplementedError

    async def closed(self, node: Node, council: Council) -> None:
        """What it does when a window has closed."""

    async def _watch(self, node: Node) -> None:
        """It is late from the second block of each window on: nobody looks for long after it."""
        clock, window = node.clock, node.clock.window(node.blocks.latest)
        while True:
            window += 1
            await node.blocks.until(clock.close(window - 1))
            self.is_late = False
            council = await node.councils.at(window - 1)
            records = ledger(node).records(ledger(node).height)
            self.stakes = council.stakes
            self.accomplices = frozenset(friends_of(records, self.kind))
            await self.closed(node, council)
            await node.blocks.until(clock.open(window) + 1)
            self.is_late = True


@adversary("late-manifest")
class LateManifest(Withholding):
    """A leader that shows validators its manifests in the last moment, miners but friends never."""

    def answer(self, read: Read, stored: bytes | None) -> bytes | Late | None:
        is_told = read.role is Reader.VALIDATOR and self.is_late
        return stored if is_told or read.role is Reader.FRIEND else None


@adversary("misleading")
class Misleading(Withholding):
    """A leader whose manifests all miners but its friends read, and no validator does."""

    def answer(self, read: Read, stored: bytes | None) -> bytes | Late | None:
        return stored if read.role is Reader.MINER else None


@adversary("splitting")
class Splitting(Withholding):
    """Leaders that show manifests so late, to so few, that it takes their stake for a majority."""

    SECONDS = 2.0  # who asks in the last moment has it when nobody looks any more

    def answer(self, read: Read, stored: bytes | None) -> bytes | Late | None:
        if read.is_update or read.role is Reader.FRIEND or read.reader in self.accomplices:
            return stored
        is_told = read.reader in self._told_of(read.window) and self.is_late
        return Late(self.SECONDS, stored) if is_told else None

    def _told_of(self, window: int) -> set[str]:
        """As many honest validators as make a majority of the accomplices, others each window."""
        told: set[str] = set()
        honest = sorted(self.stakes.keys() - self.accomplices)
        for place in range(len(honest)):
            if more_than_half(told | self.accomplices, self.stakes):
                break
            told.add(honest[(window + place) % len(honest)])
        return told


@adversary("jamming")
class Jamming(Splitting):
    """Splitting leaders, behind digests of nothing that hold back whoever has read a manifest."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.jammed: set[int] = set()

    async def closed(self, node: Node, council: Council) -> None:
        if not self.accomplices.issuperset(council.order[:2]):
            return
        self.jammed.add(council.window)
        if council.order[:1] == (node.hotkey,):
            self.silent.add(council.window)
            nothing = (council.window, "ab" * 32)
            record = Commitment(Role.VALIDATOR, node.run.run.id, node.store.address, nothing)
            await node.chain.commit(record.encode())

    def answer(self, read: Read, stored: bytes | None) -> bytes | Late | None:
        is_told = read.window in self.jammed and read.reader in self._told_of(read.window)
        return stored if is_told else super().answer(read, stored)


@adversary("parting")
class Parting(Splitting):
    """Splits the validators once, where it leads an epoch's last window, and then votes no more."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.parts_in: int | None = None

    async def drive(self, node: Node) -> None:
        acting = asyncio.create_task(super().drive(node))
        while self.parts_in is None:
            await node.blocks.until(node.blocks.latest + 1)
        await node.blocks.until(node.clock.open(self.parts_in + 1) + 2)
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
        await asyncio.Event().wait()

    async def closed(self, node: Node, council: Council) -> None:
        is_last = (council.window + 1) % node.run.exchange.epoch_windows == 0
        if is_last and council.order[:1] == (node.hotkey,):
            self.parts_in = council.window

    def answer(self, read: Read, stored: bytes | None) -> bytes | Late | None:
        return super().answer(read, stored) if read.window == self.parts_in else stored


@adversary(FAVOURED)
class Favoured(Adversary):
    """Honest work of a friend of such leaders, whose manifests it takes without asking others."""

    effort = 1.0
    earns = "work"
    is_harmless = True

    async def join(self, node: Node) -> int:
        return (await join_window(node, node.clock.upload_by)).window
