"""A run as anybody can look at it: no wallet, nothing written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from boltzmann.chain.connect import connect, home_of
from boltzmann.config import RunConfig
from boltzmann.node.membership import Peer, peers_at
from boltzmann.node.runconfig import find_run
from boltzmann.ports import Chain
from boltzmann.store.reader import PublicReader

READ_SECONDS = 30.0  # for one object


@dataclass(frozen=True)
class Outside:
    """The run of a subnet and who takes part in it as of `block`; `reader`: of their buckets."""

    chain: Chain
    run: RunConfig
    block: int
    peers: list[Peer]
    reader: PublicReader


@asynccontextmanager
async def looking(network: str, netuid: int, run_hash: str) -> AsyncIterator[Outside]:
    """The run at the chain's newest block.

    Raises: ConfigError, ChainError naming the fact, place and mend.
    """
    reader = PublicReader(home_of(network))
    chain = await connect(network, netuid)
    try:
        run = await find_run(chain, reader, netuid, run_hash, READ_SECONDS)
        block = (await chain.head()).number
        yield Outside(chain, run, block, await peers_at(chain, run.run.id, block), reader)
    finally:
        await chain.close()
