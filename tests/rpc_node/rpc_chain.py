"""The embedded chain's blocks as a node shows them: with a best and a finalized head, and forks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from rpc_faults import unknown_block

from boltzmann.chain.embedded.clock import Clock
from boltzmann.chain.embedded.ledger import Ledger, UnknownBlock
from boltzmann.chain.embedded.storage import View

T = TypeVar("T")
_NO_ROOT = "0x" + bytes(32).hex()


class Chain:
    """Block numbers and hashes of `ledger`, whose finalized head lags `lag` blocks behind the best.

    While it is forked, the blocks from `begin_fork`'s first one on have other hashes, hold no
    extrinsics and are not finalized; at the fork's end the ledger's own take their place.
    """

    def __init__(self, ledger: Ledger, lag: int) -> None:
        self.ledger = ledger
        self._lag = lag
        self._first_forked: int | None = None
        self._forks = 0
        self._forked: dict[str, tuple[int, int]] = {}  # hash -> number, last block in common

    def best(self) -> int:
        return self.ledger.head()

    def finalized(self) -> int:
        # A held chain's one block has nothing after it, and is final as the file has it.
        number = max(self.ledger.clock().start_block, self.best() - self._lag)
        return number if self._first_forked is None else min(number, self._first_forked - 1)

    def begin_fork(self) -> int:
        """Fork after the finalized block; returns the first block that has two versions."""
        self._forks += 1
        self._first_forked = self.finalized() + 1
        return self._first_forked

    def end_fork(self) -> int | None:
        """The first block that was replaced, None if there was no fork."""
        first, self._first_forked = self._first_forked, None
        return first

    def hash_of(self, number: int) -> str | None:
        """None for a block that is not there."""
        try:
            block_hash = self.ledger.hash_of(number)
        except UnknownBlock:
            return None
        first = self._first_forked
        if first is None or number < first:
            return block_hash
        salt = b"fork %d of " % self._forks
        forked = "0x" + hashlib.blake2b(salt + block_hash.encode(), digest_size=32).hexdigest()
        self._forked[forked] = (number, first - 1)
        return forked

    def head_hash(self) -> str:
        return str(self.hash_of(self.best()))

    def finalized_hash(self) -> str:
        return str(self.hash_of(self.finalized()))

    def number_of(self, block_hash: str) -> int:
        """Raises: RpcError for a block that is not there."""
        if block_hash in self._forked:
            return self._forked[block_hash][0]
        try:
            return self.ledger.number_of(block_hash)
        except UnknownBlock as error:
            raise unknown_block(block_hash) from error

    def is_forked(self, block_hash: str) -> bool:
        return block_hash in self._forked

    def read(self, block_hash: str | None, look: Callable[[View, Clock], T]) -> T:
        """`look` at the state as of a block, the best if None; a forked one changed nothing.

        Raises: RpcError for a block that is not there.
        """
        at = self.head_hash() if block_hash is None else block_hash
        if at in self._forked:
            at = self.ledger.hash_of(self._forked[at][1])
        try:
            return self.ledger.read(at, look)
        except UnknownBlock as error:
            raise unknown_block(at) from error

    def header(self, block_hash: str) -> dict[str, Any]:
        number = self.number_of(block_hash)
        return {
            "parentHash": self._parent_hash(block_hash, number),
            "number": hex(number),
            "stateRoot": _NO_ROOT,
            "extrinsicsRoot": _NO_ROOT,
            "digest": {"logs": []},
        }

    def _parent_hash(self, block_hash: str, number: int) -> str:
        forked = self._forked.get(block_hash)
        if forked is not None and number - 1 > forked[1]:
            for other, (at, common) in self._forked.items():
                if (at, common) == (number - 1, forked[1]):
                    return other
        return self.ledger.clock().hash(number - 1)
