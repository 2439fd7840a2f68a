"""A subnet's chain in memory: one ledger, and each hotkey's view of it as `boltzmann.ports.Chain`.

A call is in the next block, which is final at once. Whatever happens to the chain happens between
two blocks, in the order in which it was asked for.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.protocol.budget import charge
from boltzmann.protocol.chainview import CommitSpace, Head, Neuron, SubnetRules, epoch_index
from boltzmann.protocol.commitment import MAX_FIELD_BYTES, MAX_FIELDS
from boltzmann.protocol.seeds import derive

T = TypeVar("T")
U16_MAX = 65535


@dataclass(frozen=True)
class Payment:
    """Weights that a validator set in `block`: each hotkey's share, of those registered then.

    `stake`: the validator's.
    """

    block: int
    validator: str
    shares: Mapping[str, float]
    stake: float


class _History(Generic[T]):
    """A value by block: what was written last up to a block is what the block has."""

    def __init__(self, first: T) -> None:
        self._blocks: list[int] = [-1]
        self._values: list[T] = [first]

    def __getitem__(self, block: int) -> T:
        return self._values[max(0, bisect_right(self._blocks, block) - 1)]

    def write(self, block: int, value: T) -> None:
        if self._blocks[-1] == block:
            self._values[-1] = value
        else:
            self._blocks.append(block)
            self._values.append(value)


class Ledger:
    """The chain itself. `height` is the newest block; blocks come by `advance`.

    `commit_limit`: bytes of commitments that each hotkey has per chain epoch.
    """

    def __init__(
        self, seed: bytes, rules: SubnetRules, netuid: int, block_time: float, commit_limit: int
    ) -> None:
        self.rules = rules
        self.block_time = block_time
        self.height = 0
        self.payments: list[Payment] = []
        self._seed = seed
        self._netuid = netuid
        self._commit_limit = commit_limit
        self._neurons: _History[tuple[Neuron, ...]] = _History(())
        self._records: _History[Mapping[str, tuple[bytes, ...]]] = _History({})
        self._weights: _History[Mapping[int, Mapping[int, int]]] = _History({})
        self._used: _History[tuple[int, Mapping[str, int]]] = _History((-1, {}))
        self._calls: dict[int, list[Callable[[], object]]] = defaultdict(list)
        self._waiting: list[asyncio.Future[None]] = []

    # Time

    def advance(self, height: int | None = None) -> None:
        """Make the next block, or all up to `height`, and what was to happen in each."""
        for block in range(self.height + 1, (self.height + 1 if height is None else height) + 1):
            self.height = block
            for call in self._calls.pop(block, ()):
                call()
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def at(self, block: int, call: Callable[[], object]) -> None:
        """Let something happen in a block to come. Raises: ValueError for one that is there."""
        if block <= self.height:
            raise ValueError(f"block {block} is past: the chain is at {self.height}")
        self._calls[block].append(call)

    async def beyond(self, height: int) -> None:
        """Until there is a block after `height`."""
        while self.height <= height:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def hash(self, block: int) -> bytes:
        """The 32-byte hash of a block. Raises: ChainUnavailable for one that is not there yet."""
        if block > self.height:
            raise ChainUnavailable(f"block {block} is not there yet: the chain is at {self.height}")
        return derive(self._seed, "block", block)

    # What blocks have

    def neurons(self, block: int) -> tuple[Neuron, ...]:
        """The registered hotkeys, by uid."""
        return self._neurons[block]

    def records(self, block: int) -> Mapping[str, tuple[bytes, ...]]:
        """Each hotkey's commitment."""
        return self._records[block]

    def weights(self, block: int) -> Mapping[int, Mapping[int, int]]:
        """validator uid -> (uid -> u16 weight)."""
        return self._weights[block]

    def space(self, block: int) -> CommitSpace:
        """The byte budget of commitments in the block's chain epoch."""
        epoch, used = self._used[block]
        return CommitSpace(self._commit_limit, used if epoch == self._epoch(block) else {})

    # What changes them, in the block that is being made

    def register(self, hotkey: str, stake: float = 0.0) -> int:
        """Seat a hotkey, on the lowest free uid; with stake it may validate. Its uid."""
        seated = self._neurons[self.height]
        taken = {neuron.uid for neuron in seated}
        uid = next(uid for uid in range(len(seated) + 1) if uid not in taken)
        neuron = Neuron(uid, hotkey, stake, stake > 0.0, self.height, self.height)
        everybody = sorted((*seated, neuron), key=lambda n: n.uid)
        self._neurons.write(self.height, tuple(everybody))
        return uid

    def deregister(self, hotkey: str) -> None:
        """Take a hotkey's seat; its commitment stays, as on the chain, and counts for nothing."""
        seated = self._neurons[self.height]
        gone = {neuron.uid for neuron in seated if neuron.hotkey == hotkey}
        self._neurons.write(self.height, tuple(n for n in seated if n.uid not in gone))
        rows = self._weights[self.height]
        self._weights.write(self.height, {u: row for u, row in rows.items() if u not in gone})

    def commit(self, hotkey: str, fields: Sequence[bytes]) -> None:
        """Replace a hotkey's commitment. Raises: ChainRefused."""
        self._seat(hotkey, "AccountNotAllowedCommit")
        if not 1 <= len(fields) <= MAX_FIELDS or not all(
            1 <= len(f) <= MAX_FIELD_BYTES for f in fields
        ):
            raise ChainRefused("TooManyFieldsInCommitmentInfo", f"{len(fields)} fields")
        space, cost = self.space(self.height), charge(fields)
        if space.room(hotkey) < cost:
            raise ChainRefused("SpaceLimitExceeded", f"{cost} bytes, {space.room(hotkey)} left")
        used = {**space.used, hotkey: space.used.get(hotkey, 0) + cost}
        self._used.write(self.height, (self._epoch(self.height), used))
        records = {**self._records[self.height], hotkey: tuple(fields)}
        self._records.write(self.height, records)

    def set_weights(self, hotkey: str, weights: Mapping[int, float]) -> None:
        """Set a hotkey's row of weights. Raises: ChainRefused."""
        seat = self._seat(hotkey, "HotKeyNotRegisteredInSubNet")
        by_uid = {neuron.uid: neuron.hotkey for neuron in self._neurons[self.height]}
        if not seat.permit:
            raise ChainRefused("NeuronNoValidatorPermit", hotkey)
        if not weights or not set(weights) <= set(by_uid):
            raise ChainRefused("UidVecContainInvalidOne", str(sorted(set(weights) - set(by_uid))))
        if self.height - seat.last_update < self.rules.weights_rate_limit:
            raise ChainRefused("SettingWeightsTooFast", f"last set in block {seat.last_update}")
        largest = max(weights.values())
        row = {u: round(w / largest * U16_MAX) if largest > 0 else 0 for u, w in weights.items()}
        total = sum(row.values()) or 1
        self._weights.write(self.height, {**self._weights[self.height], seat.uid: row})
        shares = {by_uid[uid]: value / total for uid, value in row.items() if value}
        self.payments.append(Payment(self.height, hotkey, shares, seat.stake))
        updated = replace(seat, last_update=self.height)
        seats = (updated if n.uid == seat.uid else n for n in self._neurons[self.height])
        self._neurons.write(self.height, tuple(seats))

    def _seat(self, hotkey: str, otherwise: str) -> Neuron:
        """A hotkey's neuron. Raises: ChainRefused under the name `otherwise`."""
        for neuron in self._neurons[self.height]:
            if neuron.hotkey == hotkey:
                return neuron
        raise ChainRefused(otherwise, f"{hotkey} is not registered")

    def _epoch(self, block: int) -> int:
        return epoch_index(block, self._netuid, self.rules.tempo)


@dataclass(frozen=True)
class LedgerChain:
    """One hotkey's `boltzmann.ports.Chain` on a ledger."""

    ledger: Ledger
    hotkey: str

    async def head(self) -> Head:
        return Head(self.ledger.height, self.ledger.hash(self.ledger.height))

    async def heads(self) -> AsyncIterator[Head]:
        number = self.ledger.height
        while True:
            await self.ledger.beyond(number - 1)
            yield Head(number, self.ledger.hash(number))
            number += 1

    async def block_hash(self, number: int) -> bytes:
        return self.ledger.hash(number)

    async def block_time(self) -> float:
        return self.ledger.block_time

    async def neurons(self, block: int) -> tuple[Neuron, ...]:
        return self.ledger.neurons(block)

    async def rules(self, block: int) -> SubnetRules:
        return self.ledger.rules

    async def commitments(self, block: int) -> Mapping[str, tuple[bytes, ...]]:
        return self.ledger.records(block)

    async def commit_space(self, block: int) -> CommitSpace:
        return self.ledger.space(block)

    async def weights(self, block: int) -> Mapping[int, Mapping[int, int]]:
        return self.ledger.weights(block)

    async def commit(self, fields: Sequence[bytes]) -> int:
        """Replace this hotkey's commitment; the including block. Raises: ChainRefused."""
        return await self._in_next_block(lambda: self.ledger.commit(self.hotkey, fields))

    async def set_weights(self, weights: Mapping[int, float], version_key: int) -> int:
        """Set this hotkey's weights; the including block. Raises: ChainRefused."""
        return await self._in_next_block(lambda: self.ledger.set_weights(self.hotkey, weights))

    async def close(self) -> None:
        pass

    async def _in_next_block(self, call: Callable[[], None]) -> int:
        """What was sent to the chain happens, even if nobody waits for it any more."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def included() -> None:
            try:
                call()
            except ChainRefused as error:
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(self.ledger.height)

        self.ledger.at(self.ledger.height + 1, included)
        return await done
