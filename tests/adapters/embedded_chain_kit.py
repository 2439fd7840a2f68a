"""What the tests of the embedded chain share: keys, a small subnet, calls, a client on a file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest
from bittensor.sp_core import Keypair

from boltzmann.chain.embedded import (
    EmbeddedSubstrate,
    Genesis,
    GenesisNeuron,
    create_chain,
    release_chain,
)
from boltzmann.chain.embedded.extrinsic import Extrinsic, payload
from boltzmann.chain.embedded.ledger import Ledger
from boltzmann.chain.embedded.runtime import compose
from boltzmann.chain.embedded.storage import Included

NETUID = 220
TAO = 10**9
DEADLINE_S = 60.0  # a test that waits longer for another process has found a hang


@dataclass(frozen=True)
class Keys:
    """A wallet-like object of development keys, as the SDK takes one."""

    name: str

    @property
    def coldkey(self) -> Any:
        return Keypair.create_from_uri(f"//{self.name}//cold")

    @property
    def coldkeypub(self) -> Any:
        return self.coldkey

    @property
    def hotkey(self) -> Any:
        return Keypair.create_from_uri(f"//{self.name}//hot")

    @property
    def cold(self) -> str:
        return str(self.coldkey.ss58_address)

    @property
    def hot(self) -> str:
        return str(self.hotkey.ss58_address)


OWNER, VALIDATOR, MINER, OTHER, RICH = map(Keys, ("owner", "validator", "miner", "other", "rich"))
STAKED = (
    GenesisNeuron(OWNER.hot, OWNER.cold, 3000 * TAO),
    GenesisNeuron(VALIDATOR.hot, VALIDATOR.cold, 2000 * TAO),
    GenesisNeuron(MINER.hot, MINER.cold),
    GenesisNeuron(OTHER.hot, OTHER.cold, 999 * TAO),  # one short of the threshold
)


def genesis(**changes: Any) -> Genesis:
    """Two validators (uids 0, 1), two miners (uids 2, 3) and one outsider with a full purse."""
    plain: dict[str, Any] = {
        "seed": b"a seed",
        "netuid": NETUID,
        "owner_hotkey": OWNER.hot,
        "owner_coldkey": OWNER.cold,
        "block_time_s": 0.05,
        "balances_rao": {RICH.cold: 1000 * TAO},
        "neurons": STAKED,
    }
    return Genesis(**{**plain, **changes})


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[bt.Client]:
    """A client on the chain at `path`."""
    with pytest.MonkeyPatch.context() as environment:
        # The SDK caches token symbols under the user's home unless told otherwise.
        environment.setenv("BTCLI_TOKEN_SYMBOLS_CACHE", str(path.with_name("symbols.json")))
        async with bt.Client("local", substrate=EmbeddedSubstrate(path)) as client:
            yield client


@asynccontextmanager
async def chain(path: Path, **changes: Any) -> AsyncIterator[bt.Client]:
    """A new chain at `path` and a client on it."""
    create_chain(path, genesis=genesis(**changes))
    async with connected(path) as client:
        yield client


@contextmanager
def ledger_at(path: Path, now: Callable[[], float] = time.time) -> Iterator[Ledger]:
    ledger = Ledger(path, now)
    try:
        yield ledger
    finally:
        ledger.close()


async def end_epoch(path: Path, client: bt.Client) -> int:
    """Release a held chain and wait for the end of its epoch; returns that block."""
    end = int(await client.read("next_epoch_start_block", netuid=NETUID))
    release_chain(path)
    await client.wait_for_block(end, timeout=DEADLINE_S)
    return end


def raw(*fields: bytes) -> Any:
    """A call that commits Raw fields."""
    named = [{f"Raw{len(data)}": data} for data in fields]
    return bt.calls.Commitments.set_commitment(netuid=NETUID, info={"fields": named})


def weights(uids: list[int], values: list[int], **changes: int) -> Any:
    arguments = {"netuid": NETUID, "mecid": 0, "version_key": 0, **changes}
    return bt.calls.SubtensorModule.set_mechanism_weights(dests=uids, weights=values, **arguments)


def sealed(**changes: int) -> Any:
    """A call that commits weights until a drand round."""
    arguments = {"netuid": NETUID, "mecid": 0, "reveal_round": 1, "commit_reveal_version": 4}
    return bt.calls.SubtensorModule.commit_timelocked_mechanism_weights(
        commit=b"sealed", **{**arguments, **changes}
    )


def register(hotkey: str, netuid: int = NETUID) -> Any:
    return bt.calls.SubtensorModule.burned_register(netuid=netuid, hotkey=hotkey)


def stake(hotkey: str, rao: int, netuid: int = NETUID) -> Any:
    return bt.calls.SubtensorModule.add_stake(hotkey=hotkey, netuid=netuid, amount_staked=rao)


def include(ledger: Ledger, call: Any, keypair: Any) -> Included:
    """Sign and include a call without the client, for tests that set the clock."""
    composed = compose(*call)
    nonce = ledger.next_nonce(keypair.ss58_address)
    message = payload(composed, keypair.ss58_address, nonce, ledger.clock().hash(0))
    signature = bytes(keypair.sign(message))
    return ledger.include(Extrinsic(composed, keypair.ss58_address, nonce, signature))


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """A query's answer straight from the chain's file."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def state_rows(path: Path) -> dict[tuple[str, str, str, int], str | None]:
    """(module, item, key, block) -> value, of every row of the state."""
    found = rows(path, "SELECT module, item, key, block, value FROM state")
    return {tuple(key): value for *key, value in found}
