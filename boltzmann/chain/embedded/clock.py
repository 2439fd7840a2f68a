"""Which block it is, when a block begins, and its hash: pure functions of the clock's settings."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Clock:
    """The block number follows the wall clock from `start_block` on.

    While `held` it stays at `start_block`; `start_time` (Unix seconds) then says since when.
    With `until` it goes no further than that block. `stood` are the blocks at which it was stopped
    and went on, in order, with the seconds by which that put off what comes after them.
    """

    seed: bytes
    block_time_s: float
    start_block: int
    start_time: float
    held: bool
    until: int | None = None
    stood: tuple[tuple[int, float], ...] = ()

    def number(self, now: float) -> int:
        """The block at `now` (Unix seconds).

        While it runs: start + floor((now - start time - seconds stood) / block time).
        """
        if self.held:
            return self.start_block
        stood = sum(seconds for _, seconds in self.stood)
        elapsed = max(0.0, now - self.start_time - stood)
        number = self.start_block + math.floor(elapsed / self.block_time_s)
        return number if self.until is None else min(number, self.until)

    def begins(self, block: int) -> float:
        """Unix seconds at which `block` begins. Blocks before the start are dated backwards.

        Of a block that the chain must still be released for, the earliest moment.
        """
        stood = sum(seconds for at, seconds in self.stood if at < block)
        return self.start_time + (block - self.start_block) * self.block_time_s + stood

    def comes_by_itself(self, block: int) -> bool:
        """Whether time alone brings `block`, without a release."""
        return not self.held and (self.until is None or block <= self.until)

    def gone_on(self, now: float) -> Clock:
        """The clock of a chain that has come to `until`, and leaves it for the next block now."""
        if self.until is None:
            return self
        leaves = self.begins(self.until + 1) - self.block_time_s  # it may have stood there before
        seconds = max(0.0, now - leaves)
        return replace(self, until=None, stood=(*self.stood, (self.until, seconds)))

    def hash(self, block: int) -> str:
        """The block's hash, 0x and 64 hex digits: keyed BLAKE2b-256 of the number under the seed.

        It depends on nothing else, so two chains of one seed have the same hashes and a run on
        them can be repeated. Block -1, the parent of the first, has the zero hash.
        """
        if block < 0:
            return "0x" + bytes(32).hex()
        digest = hashlib.blake2b(
            block.to_bytes(8, "little"), digest_size=32, key=self.seed, person=b"block hash"
        )
        return "0x" + digest.hexdigest()
