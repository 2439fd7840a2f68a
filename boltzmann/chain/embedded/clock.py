"""Which block it is, when a block begins, and its hash: pure functions of the clock's settings."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """The block number follows the wall clock from `start_block` on.

    While `held` it stays at `start_block`; `start_time` (Unix seconds) then says since when.
    """

    seed: bytes
    block_time_s: float
    start_block: int
    start_time: float
    held: bool

    def number(self, now: float) -> int:
        """The block at `now` (Unix seconds): start + floor((now - start time) / block time)."""
        if self.held:
            return self.start_block
        elapsed = max(0.0, now - self.start_time)
        return self.start_block + math.floor(elapsed / self.block_time_s)

    def begins(self, block: int) -> float:
        """Unix seconds at which `block` begins. Blocks before the start are dated backwards."""
        return self.start_time + (block - self.start_block) * self.block_time_s

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
