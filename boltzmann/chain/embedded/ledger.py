"""The chain itself, one block after another: the clock, the file and the runtime put together.

What makes reads exact: a block's number is told to nobody before the block is *sealed*, that is
closed to further changes with its end run, and an extrinsic goes into the block after the newest
sealed one. Both happen under the file's write lock, so no process can have read a block that later
changes. An empty block costs one update of one row, and that only when somebody looks.

A held chain is the exception: its one block takes extrinsics and shows them at once, and is closed
when the chain is released. Reads at the held block are final only from then on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from boltzmann.chain.embedded import accounts, runtime, timelocked
from boltzmann.chain.embedded.clock import Clock
from boltzmann.chain.embedded.extrinsic import Extrinsic
from boltzmann.chain.embedded.rules import CallFailed
from boltzmann.chain.embedded.storage import ChainRow, Included, Storage, View
from boltzmann.chain.embedded.subnet import Subnet, next_epoch_end

T = TypeVar("T")
REMEMBERED_HASHES = 4096  # a client reads at hashes it has just asked for


class UnknownBlock(Exception):
    """A block the chain does not have, or not yet."""


class Refused(Exception):
    """An extrinsic that gets into no block. `name` is the transaction pool's name for why."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Ledger:
    """Reads and extends the chain in one file. All calls are short; use it from one thread."""

    def __init__(
        self,
        path: Path,
        now: Callable[[], float] = time.time,
        calls: runtime.Calls = runtime.CALLS,
    ) -> None:
        """`calls`: those its runtime carries out.

        Raises: ConfigError when `path` is not the file of an embedded chain.
        """
        self._storage = Storage(path)
        self._now = now
        self._calls = calls
        self._numbers: dict[str, int] = {}  # hash -> number, of the blocks asked for so far

    def close(self) -> None:
        self._storage.close()

    def clock(self) -> Clock:
        return self._storage.chain().clock

    def head(self) -> int:
        """The newest block, sealed (or held). Every block is final as soon as it is sealed."""
        chain = self._storage.chain()
        if chain.clock.held or chain.clock.number(self._now()) <= chain.sealed:
            return _head(chain)
        with self._storage.writing():
            return self._seal_up_to_now()

    def hash_of(self, block: int | None) -> str:
        """Raises: UnknownBlock when the chain has not come to `block`."""
        head = self.head()
        number = head if block is None else block
        if not 0 <= number <= head:
            raise UnknownBlock(f"there is no block {number} yet: the chain is at block {head}")
        block_hash = self.clock().hash(number)
        self._remember(block_hash, number)
        return block_hash

    def number_of(self, block_hash: str) -> int:
        """Raises: UnknownBlock when no block up to the head has that hash."""
        known = self._numbers.get(block_hash)
        if known is not None:
            return known
        # A hash this process has not asked for itself: about a microsecond a block, newest first.
        clock = self.clock()
        for number in range(self.head(), -1, -1):
            if clock.hash(number) == block_hash:
                self._remember(block_hash, number)
                return number
        raise UnknownBlock(f"there is no block with the hash {block_hash}")

    def at(self, block_hash: str | None) -> View:
        """The state as of a block, the newest if None. Raises: UnknownBlock."""
        number = self.head() if block_hash is None else self.number_of(block_hash)
        return View(self._storage, number)

    def read(self, block_hash: str | None, look: Callable[[View, Clock], T]) -> T:
        """`look` at the state as of a block, the newest if None. Raises: UnknownBlock."""
        state = self.at(block_hash)
        with self._storage.reading():  # what a held block has may change between two reads
            return look(state, self.clock())

    def extrinsics(self, block: int) -> list[Included]:
        return self._storage.extrinsics(block)

    def next_nonce(self, address: str) -> int:
        """The nonce the account's next extrinsic must have, those not yet visible counted."""
        return accounts.nonce(View(self._storage, self._open_block()), address)

    def include(self, extrinsic: Extrinsic) -> Included:
        """Put a signed extrinsic into the next block and carry out its call.

        A call that breaks a rule is included as failed: it changes nothing but the nonce.
        Raises: Refused when signature or nonce are wrong; nothing is kept then.
        """
        if not extrinsic.is_signed_for(self.clock().hash(0)):
            raise Refused("BadProof", "Transaction has a bad signature")
        with self._storage.writing():
            self._seal_up_to_now()
            state = View(self._storage, self._open_block())
            self._take_nonce(state, extrinsic)
            failure = None
            try:
                with self._storage.dispatching():
                    did = runtime.dispatch(state, extrinsic.signer, extrinsic.call, self._calls)
            except CallFailed as refusal:
                failure = (refusal.pallet, refusal.name)
                did = []
            included = Included(
                block=state.block,
                position=self._storage.next_position(state.block),
                hash=extrinsic.hash(),
                body=extrinsic.encode().decode(),
                failure=failure,
                events=tuple(
                    {"module_id": pallet, "event_id": name, "attributes": attributes}
                    for pallet, name, attributes in did
                ),
            )
            self._storage.append(included)
        return included

    def publish_pulse(self, round_number: int, signature: str) -> int:
        """Bring the drand beacon's signature (hex) of a round; returns the block that has it."""
        with self._storage.writing():
            chain = self._storage.chain()
            self._seal_up_to_now()
            state = View(self._storage, self._open_block())
            timelocked.write_pulse(state, chain.netuid, round_number, signature)
        return state.block

    def release(self, until: int | None) -> None:
        """Let the clock run to the end of block `until`, or for good.

        A held block is closed. A chain that stands takes its pace up from now; a running one keeps
        it. One that is past `until` stays where it is.
        """
        with self._storage.writing():
            chain = self._storage.chain()
            clock, now = chain.clock, self._now()
            if clock.held:
                head = clock.start_block
                self._seal(chain, head)
                clock = replace(clock, held=False, start_time=now)
            else:
                head = self._seal_up_to_now()
                if head == clock.until:
                    clock = clock.gone_on(now)
            last = None if until is None else max(until, head)
            self._storage.set_clock(replace(clock, until=last))

    def _remember(self, block_hash: str, number: int) -> None:
        self._numbers[block_hash] = number
        if len(self._numbers) > REMEMBERED_HASHES:
            del self._numbers[next(iter(self._numbers))]

    def _open_block(self) -> int:
        """The block that takes extrinsics."""
        chain = self._storage.chain()
        return chain.clock.start_block if chain.clock.held else chain.sealed + 1

    def _seal_up_to_now(self) -> int:
        """Seal what the clock has passed; returns the head. Call it while writing."""
        chain = self._storage.chain()
        if chain.clock.held:
            return _head(chain)
        # The wall clock may have been set back: what is sealed stays.
        number = max(chain.sealed, chain.clock.number(self._now()))
        self._seal(chain, number)
        return number

    def _seal(self, chain: ChainRow, up_to: int) -> None:
        """Run the ends of the blocks after `chain.sealed`. Only epochs' ends have work to do."""
        tempo = Subnet(View(self._storage, chain.sealed + 1), chain.netuid).number("Tempo")
        block = next_epoch_end(chain.sealed, chain.netuid, tempo)
        while block <= up_to:
            runtime.end_epoch(View(self._storage, block), chain.netuid)
            block = next_epoch_end(block, chain.netuid, tempo)
        if up_to > chain.sealed:
            self._storage.seal(up_to)

    def _take_nonce(self, state: View, extrinsic: Extrinsic) -> None:
        expected = accounts.nonce(state, extrinsic.signer)
        if extrinsic.nonce < expected:
            raise Refused("Stale", "Transaction is outdated")
        if extrinsic.nonce > expected:
            raise Refused("Future", "Transaction will be valid in the future")
        accounts.count_extrinsic(state, extrinsic.signer)


def _head(chain: ChainRow) -> int:
    return chain.clock.start_block if chain.clock.held else chain.sealed
