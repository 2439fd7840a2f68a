"""The chain of benchmarks: a script, so that no time goes into waiting for blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from bittensor.sp_core import Keypair

from benchmarks.runs import SEED
from boltzmann.protocol.chainview import CommitSpace, Head, Neuron, SubnetRules
from boltzmann.protocol.commitment import Commitment, Role, decode
from boltzmann.protocol.seeds import derive


class SeedKeys:
    """Implements `boltzmann.ports.Keys` with the sr25519 key that follows from a name."""

    def __init__(self, name: str) -> None:
        self._keypair = Keypair.create_from_seed(derive(SEED, "key", name))
        self._hotkey = str(self._keypair.ss58_address)

    @property
    def hotkey(self) -> str:
        return self._hotkey

    def sign(self, message: bytes) -> bytes:
        return bytes(self._keypair.sign(message))


@dataclass(frozen=True)
class Member:
    """A registered hotkey: the public address of its bucket, and its stake; 0 for a miner."""

    address: str
    stake: float = 0.0


@dataclass(frozen=True)
class Ordered:
    """A validator's manifest digest on chain, from `block` on. `name` is the validator's."""

    block: int
    name: str
    window: int
    digest: str


@dataclass
class ScriptedChain:
    """Implements `boltzmann.ports.Chain`: blocks come when the benchmark asks for them.

    `name`: whose chain this is, and who commits; `members` by name.
    """

    run: str
    name: str
    members: Mapping[str, Member]
    ordered: list[Ordered] = field(default_factory=list)
    number: int = 0
    _heads: asyncio.Queue[Head] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self._hotkeys = {name: SeedKeys(name).hotkey for name in self.members}

    def advance(self, number: int) -> None:
        """Finalize the blocks up to `number`."""
        self.number = number
        self._heads.put_nowait(Head(number, block_hash(number)))

    async def head(self) -> Head:
        return Head(self.number, block_hash(self.number))

    async def heads(self) -> AsyncIterator[Head]:
        while True:
            yield await self._heads.get()

    async def block_hash(self, number: int) -> bytes:
        return block_hash(number)

    async def block_time(self) -> float:
        return 1.0

    async def neurons(self, block: int) -> tuple[Neuron, ...]:
        return tuple(
            Neuron(uid, self._hotkeys[name], member.stake, member.stake > 0, 0, 0)
            for uid, (name, member) in enumerate(self.members.items())
        )

    async def commitments(self, block: int) -> Mapping[str, tuple[bytes, ...]]:
        newest = {entry.name: entry for entry in self.ordered if entry.block <= block}
        records = {}
        for name, member in self.members.items():
            entry = newest.get(name)
            record = Commitment(
                Role.VALIDATOR if member.stake else Role.MINER,
                self.run,
                member.address,
                manifest=(entry.window, entry.digest) if entry else None,
            )
            records[self._hotkeys[name]] = record.encode()
        return records

    async def commit_space(self, block: int) -> CommitSpace:
        return CommitSpace(3100, {})

    async def commit(self, fields: Sequence[bytes]) -> int:
        record = decode(fields)
        if record is None or record.manifest is None:
            raise ValueError(f"not a manifest's record: {fields!r}")
        self.ordered.append(Ordered(self.number, self.name, *record.manifest))
        return self.number

    async def rules(self, block: int) -> SubnetRules:
        raise NotImplementedError("no benchmark asks for rules")

    async def weights(self, block: int) -> Mapping[int, Mapping[int, int]]:
        raise NotImplementedError("no benchmark asks for weights")

    async def set_weights(self, weights: Mapping[int, float], version_key: int) -> int:
        raise NotImplementedError("no benchmark sets weights")

    async def close(self) -> None:
        """Nothing is open."""


def block_hash(number: int) -> bytes:
    """The 32-byte hash of a block."""
    return derive(SEED, "block", number)
