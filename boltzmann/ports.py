"""The seams between the nodes and the world: typing.Protocol, nothing else.

Each port has a production adapter, an embedded one, and one contract suite that runs on both
(tests/adapters). Peers' misdeeds come back as `Rejection` values; this node's own troubles are the
exceptions of `boltzmann.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from boltzmann.protocol.chainview import CommitSpace, Head, Neuron, SubnetRules
from boltzmann.protocol.rejection import Rejection


class Keys(Protocol):
    """This node's hotkey: an address and a way to sign with it (sr25519)."""

    @property
    def hotkey(self) -> str:
        """The ss58 address."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`."""
        ...


class Verify(Protocol):
    """Checks a peer's signature."""

    def __call__(self, hotkey: str, message: bytes, signature: bytes) -> bool: ...


class Chain(Protocol):
    """One subnet of a subtensor chain. Reads at a block height are exact and repeatable.

    Raises: ChainUnavailable when the chain does not answer within the adapter's deadline,
    ChainRefused when it answers no.
    """

    async def head(self) -> Head:
        """The newest finalized block."""
        ...

    def heads(self) -> AsyncIterator[Head]:
        """Every finalized block once and in order, from the present one on.

        Re-subscribes when the stream ends or falls silent, and back-fills what was missed. It is
        an asynchronous generator: `aclose` ends the subscription.
        """
        ...

    async def block_hash(self, number: int) -> bytes:
        """The 32-byte hash of a past block."""
        ...

    async def block_time(self) -> float:
        """Seconds per block."""
        ...

    async def neurons(self, block: int) -> tuple[Neuron, ...]:
        """The registered hotkeys at the end of `block`, by uid."""
        ...

    async def rules(self, block: int) -> SubnetRules:
        """The subnet's hyperparameters at the end of `block`."""
        ...

    async def commitments(self, block: int) -> Mapping[str, tuple[bytes, ...]]:
        """Raw fields of each hotkey's commitment at the end of `block`."""
        ...

    async def commit_space(self, block: int) -> CommitSpace:
        """The byte budget of commitments in the chain epoch that `block` lies in, at its end."""
        ...

    async def weights(self, block: int) -> Mapping[int, Mapping[int, int]]:
        """validator uid -> (miner uid -> u16 weight) at the end of `block`."""
        ...

    async def commit(self, fields: Sequence[bytes]) -> int:
        """Replace this hotkey's commitment (1 to 3 fields of 1 to 128 bytes each).

        Returns the height of the including block, after it is finalized.
        """
        ...

    async def set_weights(self, weights: Mapping[int, float], version_key: int) -> int:
        """Set this hotkey's weights (uid -> relative weight); returns the including block."""
        ...

    async def close(self) -> None: ...


class Reader(Protocol):
    """Unsigned reads of public buckets, for which nobody needs a bucket or keys.

    A bucket's public `address` is `<endpoint url>/<bucket name>`. Keys are computed, never listed.
    All calls block; nodes run them in threads.
    """

    def get(self, address: str, key: str, *, max_bytes: int, seconds: float) -> bytes | Rejection:
        """The whole object, if it is at most `max_bytes` and arrives within `seconds` in all."""
        ...

    def download(
        self, address: str, key: str, path: Path, *, exact_bytes: int, seconds: float
    ) -> Rejection | None:
        """The object into a new file at `path`, in small pieces; None when it is there and whole.

        An object of another size than `exact_bytes` is refused before its body is read. Nothing is
        left at `path` after a rejection.
        """
        ...


class Store(Reader, Protocol):
    """This node's own bucket, and unsigned reads of every peer's."""

    @property
    def address(self) -> str:
        """The public address of this node's own bucket."""
        ...

    def put(self, key: str, body: bytes) -> None:
        """Create `key`. The same bytes already there is success; other bytes: StoreConflict.

        Raises: StoreUnavailable.
        """
        ...

    def put_file(self, key: str, path: Path) -> None:
        """As `put`, from a file, without holding it in memory."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object of this node's own; one that is not there is success.

        Raises: StoreUnavailable, StoreError when the bucket refuses.
        """
        ...


class Pages(Protocol):
    """A run's dataset, cut into pages of `rows_per_page` rows."""

    @property
    def count(self) -> int:
        """How many whole pages there are."""
        ...

    def rows(self, page: int) -> Sequence[str]:
        """The texts of one page's rows, in order. Raises: DataError."""
        ...


class Tokenizer(Protocol):
    """Text to token ids."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def eos(self) -> int:
        """The id that joins rows."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of one row, without special tokens."""
        ...

    def encode_rows(self, rows: Sequence[str]) -> NDArray[np.int64]:
        """`[tokens]`: the ids of every row, as `encode` gives them, each row's followed by `eos`.

        Several rows may be worked on at once. Calls may come from several threads.
        """
        ...


class TokenBatch(Protocol):
    """Token sequences of one page."""

    @property
    def tokens(self) -> NDArray[np.int64]:
        """`[sequences, length]`."""
        ...


class LoadPages(Protocol):
    """Opens pages as token batches, one per page, the next loaded while the present one trains."""

    def __call__(self, pages: Sequence[int]) -> AbstractContextManager[Iterator[TokenBatch]]: ...


class Telemetry(Protocol):
    """Where a node's observations go. Never blocks a node, never raises into it."""

    def event(self, name: str, **fields: object) -> None:
        """One thing that happened, e.g. event("applied", window=3, root="ab…")."""
        ...

    def close(self) -> None: ...
