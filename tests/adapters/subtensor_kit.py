"""What the tests of the chain adapter share: a chain file, and the adapter on a made-up backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from embedded_chain_kit import NETUID, genesis

from boltzmann.chain.embedded import create_chain
from boltzmann.chain.subtensor import Deadlines, SubtensorChain

SHORT = Deadlines(read_s=0.05, write_blocks=1, silence_blocks=1, silence_s=0.05)
HANG_S = 60.0


def new_chain(folder: Path, **changes: Any) -> Path:
    """The file of a new chain with these changes to the kit's genesis."""
    file = folder / "chain"
    create_chain(file, genesis=genesis(**changes))
    return file


@asynccontextmanager
async def opened(
    substrate: Any, signer: Any = None, deadlines: Deadlines | None = None
) -> AsyncIterator[SubtensorChain]:
    chain = SubtensorChain(substrate, NETUID, signer, deadlines)
    await chain.open()
    try:
        yield chain
    finally:
        await chain.close()
