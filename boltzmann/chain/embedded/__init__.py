"""A subtensor-like chain in one SQLite file, behind the bittensor SDK's own `Substrate` protocol.

`bt.Client(substrate=EmbeddedSubstrate(path))` works on it as on a real network, in as many
processes as share the file:

    create_chain(path, genesis=Genesis(seed=..., netuid=220, ...))
    substrate = EmbeddedSubstrate(path)

Its block number follows the clock, every past block can be read exactly, and it keeps the rules a
subnet's nodes meet, under their real error names: registration, commitments, weights, Yuma epochs.

A chain that is created held waits to be released; `release_chain(path, until=N)` lets it run at
its pace up to the end of block N, where it stands until it is released further. While it stands no
block is sealed: the head stays N and is final, extrinsics wait in block N + 1 and are seen by
nobody before that is there. Going on takes up the pace from that moment, so no block is skipped,
and the time it stood lies between the blocks N and N + 1.

It has no peers and no forks, so each block is final as soon as it is there: the finalized head is
the head. Calls cost no fees, and there is no MEV shield and no multisig. With commit-reveal on,
weights are taken sealed, and opened once `publish_pulse` has brought the drand beacon's signature
of their round; on a real chain its own off-chain workers fetch that from the public beacon.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boltzmann.chain.embedded.genesis import Genesis, GenesisNeuron, create_chain
from boltzmann.errors import ChainUnavailable

if TYPE_CHECKING:
    from boltzmann.chain.embedded.ledger import Ledger
    from boltzmann.chain.embedded.substrate import EmbeddedSubstrate

__all__ = [
    "EmbeddedSubstrate",
    "Genesis",
    "GenesisNeuron",
    "create_chain",
    "publish_pulse",
    "release_chain",
]


def release_chain(path: Path, until: int | None = None) -> None:
    """Let a held or standing chain run from now on: to the end of block `until`, or for good.

    One that runs keeps its pace and takes `until` as its new end; one past it stays at its head.
    Raises: ConfigError when `path` is not the file of an embedded chain, ChainUnavailable when the
    file does not answer.
    """
    with _ledger(path) as ledger:
        ledger.release(until)


def publish_pulse(path: Path, round_number: int, signature: str) -> int:
    """Bring the drand quicknet beacon's signature of a round, in hex; returns the block it is in.

    Sealed weights of that round are opened in their reveal epoch; a wrong signature opens none.
    Raises: as `release_chain`.
    """
    with _ledger(path) as ledger:
        return ledger.publish_pulse(round_number, signature)


@contextmanager
def _ledger(path: Path) -> Iterator[Ledger]:
    from boltzmann.chain.embedded.ledger import Ledger

    try:
        with closing(Ledger(path)) as ledger:
            yield ledger
    except sqlite3.Error as error:
        raise ChainUnavailable(f"the chain's file {path} does not answer: {error}") from error


def __getattr__(name: str) -> Any:
    # The substrate imports the bittensor SDK, which takes half a second: only who uses it pays.
    if name == "EmbeddedSubstrate":
        from boltzmann.chain.embedded.substrate import EmbeddedSubstrate

        return EmbeddedSubstrate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
