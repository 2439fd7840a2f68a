"""What the tests of the chain port's contract share: the kinds of network, and how to wait on one.

A network is a function from a genesis to the name that `connect` takes; one more kind of node is
one more entry in NETWORKS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    ExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from typing import Any

import pytest
from embedded_chain_kit import NETUID, Keys, genesis
from rpc_kit import node_over

from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import Genesis, create_chain
from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.ports import Chain
from boltzmann.protocol.chainview import Head

HANG_S = 60.0
BLOCK_S = 0.05
FINALITY_LAG = 2  # blocks that a node's finalized head is behind its best one
LONG_TEMPO = 5000  # no epoch ends, and no byte budget starts anew, while the test runs
# The kit's subnet: OWNER 0 and VALIDATOR 1 validate (3000 and 2000 of stake), MINER 2 has none,
# OTHER 3 has 999, one short of what setting weights takes. RICH is not registered.

Network = Callable[[Path, Genesis], AbstractContextManager[str]]
Start = Callable[..., str]


@contextmanager
def embedded(folder: Path, beginning: Genesis) -> Iterator[str]:
    path = folder / "chain"
    create_chain(path, genesis=beginning)
    yield f"embedded:{path}"


@contextmanager
def websocket(folder: Path, beginning: Genesis) -> Iterator[str]:
    path = folder / "chain"
    create_chain(path, genesis=beginning)
    with (
        pytest.MonkeyPatch.context() as environment,
        node_over(path, environment, lag=FINALITY_LAG) as node,
    ):
        yield node.url


NETWORKS: Mapping[str, Network] = {"embedded": embedded, "websocket": websocket}


@contextmanager
def starting(network: str, folder: Path) -> Iterator[Start]:
    """Starts the kit's subnet with changes to its genesis; gives the network's name."""
    with ExitStack() as running:

        def begin(**changes: Any) -> str:
            plain = {"block_time_s": BLOCK_S, "tempo": LONG_TEMPO}
            beginning = genesis(**{**plain, **changes})
            return running.enter_context(NETWORKS[network](folder, beginning))

        yield begin


@asynccontextmanager
async def opened(network: str, keys: Keys | None = None) -> AsyncIterator[SubtensorChain]:
    chain = await connect(network, NETUID, keys)
    try:
        yield chain
    finally:
        await chain.close()


async def heads_until(chain: Chain, enough: Callable[[Head], Awaitable[bool]]) -> list[Head]:
    async def collect() -> list[Head]:
        heads: list[Head] = []
        async with aclosing(chain.heads()) as stream:  # type: ignore[type-var]
            async for head in stream:
                heads.append(head)
                if await enough(head):
                    break
        return heads

    return await asyncio.wait_for(collect(), HANG_S)


async def until_block(chain: Chain, number: int) -> list[Head]:
    async def reached(head: Head) -> bool:
        return head.number >= number

    return await heads_until(chain, reached)


async def everything(chain: Chain, block: int) -> list[Any]:
    """All that can be read at a block."""
    return [
        await chain.block_hash(block),
        await chain.neurons(block),
        await chain.rules(block),
        await chain.commitments(block),
        await chain.weights(block),
        await chain.commit_space(block),
    ]
