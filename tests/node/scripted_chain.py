"""A chain whose blocks come on call, as `boltzmann.ports.Chain`: the other side of that seam."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bittensor.sp_core import Keypair

from boltzmann.errors import ChainUnavailable
from boltzmann.protocol.chainview import CommitSpace, Head, Neuron, SubnetRules
from boltzmann.protocol.commitment import Commitment

OWNER = "owner"
DEADLINE_S = 60.0  # a test that waits longer has found a hang


@dataclass(frozen=True)
class Keys:
    """A development sr25519 key, as `boltzmann.ports.Keys`."""

    name: str

    @property
    def hotkey(self) -> str:
        return str(self._pair.ss58_address)

    def sign(self, message: bytes) -> bytes:
        return bytes(self._pair.sign(message))

    @property
    def _pair(self) -> Any:
        return Keypair.create_from_uri(f"//{self.name}")


@dataclass
class Script:
    """The chain's course: blocks come when `advance` says so, records are kept by block."""

    neurons: list[Neuron] = field(default_factory=list)
    records: list[tuple[int, str, tuple[bytes, ...]]] = field(default_factory=list)
    weights: list[tuple[str, Mapping[int, float]]] = field(default_factory=list)
    height: int = 0
    ended: Exception | None = None
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    def hash(self, number: int) -> bytes:
        return hashlib.sha256(f"block {number}".encode()).digest()

    def register(self, name: str, *, stake: float = 0.0, at: int = 0) -> str:
        """Seat a hotkey; with stake it may validate."""
        hotkey = Keys(name).hotkey
        self.neurons.append(Neuron(len(self.neurons), hotkey, stake, stake > 0, at, 0))
        return hotkey

    def commit(self, hotkey: str, record: Commitment, block: int) -> None:
        self.records.append((block, hotkey, record.encode()))

    async def advance(self, height: int) -> None:
        """Finalize the blocks up to `height`."""
        assert height >= self.height, "a chain does not go back"
        async with self._moved:
            self.height = height
            self._moved.notify_all()

    async def end(self, error: Exception) -> None:
        """End every stream of heads with `error`."""
        async with self._moved:
            self.ended = error
            self._moved.notify_all()

    async def beyond(self, height: int) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self.height > height or self.ended is not None)


@dataclass
class ScriptedChain:
    """One hotkey's `boltzmann.ports.Chain` on a script. `reads`: blocks whose members it read."""

    script: Script
    hotkey: str
    reads: set[int] = field(default_factory=set)
    _read: asyncio.Event = field(default_factory=asyncio.Event)

    async def has_read(self, block: int) -> None:
        """Wait until this node has looked at the members of `block`."""
        while block not in self.reads:
            self._read.clear()
            await asyncio.wait_for(self._read.wait(), DEADLINE_S)

    async def head(self) -> Head:
        return Head(self.script.height, self.script.hash(self.script.height))

    async def heads(self) -> AsyncIterator[Head]:
        at = self.script.height - 1
        while self.script.ended is None:
            for number in range(at + 1, self.script.height + 1):
                yield Head(number, self.script.hash(number))
                at = number
            await self.script.beyond(at)
        raise self.script.ended

    async def block_hash(self, number: int) -> bytes:
        if number > self.script.height:
            raise ChainUnavailable(f"block {number} is not there yet")
        return self.script.hash(number)

    async def block_time(self) -> float:
        return 1.0

    async def neurons(self, block: int) -> tuple[Neuron, ...]:
        return tuple(self.script.neurons)

    async def rules(self, block: int) -> SubnetRules:
        return SubnetRules(Keys(OWNER).hotkey, 10, 4, 0, 1, 1.0, False)

    async def commitments(self, block: int) -> Mapping[str, tuple[bytes, ...]]:
        self.reads.add(block)
        self._read.set()
        newest = [(at, who, what) for at, who, what in self.script.records if at <= block]
        return {who: what for _, who, what in sorted(newest, key=lambda record: record[0])}

    async def commit_space(self, block: int) -> CommitSpace:
        return CommitSpace(3100, {})

    async def weights(self, block: int) -> Mapping[int, Mapping[int, int]]:
        return {}

    async def commit(self, fields: Sequence[bytes]) -> int:
        self.script.records.append((self.script.height + 1, self.hotkey, tuple(fields)))
        return self.script.height + 1

    async def set_weights(self, weights: Mapping[int, float], version_key: int) -> int:
        self.script.weights.append((self.hotkey, dict(weights)))
        return self.script.height + 1

    async def close(self) -> None:
        pass
