"""Tells subscribers of new heads, of finalized ones, and of what became of extrinsics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from rpc_chain import Chain
from rpc_faults import Faults, RpcError
from rpc_pool import Pool
from rpc_session import Session, Watch

_STANDING_S = 0.1  # how often a chain that stands is looked at
_LEAST_S = 0.001
_NEW, _FINALIZED = "new", "finalized"
_NAMES = {_NEW: "chain_newHead", _FINALIZED: "chain_finalizedHead"}


class Announcer:
    """Follows the chain for all `sessions`."""

    def __init__(self, chain: Chain, pool: Pool, faults: Faults, sessions: set[Session]) -> None:
        self._chain = chain
        self._pool = pool
        self._faults = faults
        self._sessions = sessions
        self._told = {_NEW: chain.best(), _FINALIZED: chain.finalized()}
        self._woken = asyncio.Event()

    def subscribe(self, session: Session, kind: str) -> str:
        key = session.new_key()
        session.heads[key] = kind
        number = self._chain.best() if kind == _NEW else self._chain.finalized()
        # After the answer to the subscription, and before anything newer.
        loop = asyncio.get_running_loop()
        loop.call_soon(self._tell, session, key, kind, min(number, self._told[kind]))
        return key

    def watch(self, session: Session, extrinsic: str) -> str:
        key = session.new_key()
        watch = Watch(session, key, extrinsic)
        session.watches[key] = watch
        if extrinsic not in self._pool.included:
            asyncio.get_running_loop().call_soon(self._status, watch, "future")
        return key

    def fork_ended(self, first: int) -> None:
        """The blocks from `first` on are others now: they are announced again."""
        self._told[_NEW] = min(self._told[_NEW], first - 1)
        self._woken.set()

    async def run(self) -> None:
        while True:
            best, finalized = self._chain.best(), self._chain.finalized()
            for kind, head in ((_NEW, best), (_FINALIZED, finalized)):
                for number in range(self._told[kind] + 1, head + 1):
                    self._announce(kind, number)
                self._told[kind] = max(self._told[kind], head)
            for watch in list(self._watches()):
                self._follow(watch, best, finalized)
            await self._next_block(best)

    def _watches(self) -> Iterator[Watch]:
        for session in self._sessions:
            yield from session.watches.values()

    async def _next_block(self, best: int) -> None:
        clock = self._chain.ledger.clock()
        wait = _STANDING_S
        if clock.comes_by_itself(best + 1):
            wait = max(_LEAST_S, clock.begins(best + 1) - time.time())
        try:
            await asyncio.wait_for(self._woken.wait(), wait)
        except asyncio.TimeoutError:
            return
        self._woken.clear()

    def _announce(self, kind: str, number: int) -> None:
        if number % self._faults.heads_every:
            return
        for session in self._sessions:
            for key in [key for key, wanted in session.heads.items() if wanted == kind]:
                for _ in range(2 if self._faults.heads_twice else 1):
                    self._tell(session, key, kind, number)

    def _tell(self, session: Session, key: str, kind: str, number: int) -> None:
        try:
            header = self._chain.header(str(self._chain.hash_of(number)))
        except RpcError:
            return  # replaced since
        session.notify(_NAMES[kind], key, header)

    def _follow(self, watch: Watch, best: int, finalized: int) -> None:
        included = self._pool.included.get(watch.extrinsic)
        if included is None:
            return
        if not watch.ready:
            watch.ready = True
            self._status(watch, "ready")
        if included.block > best:
            return
        block_hash = self._chain.hash_of(included.block)
        if watch.told != block_hash:
            if watch.told is not None:
                self._status(watch, {"retracted": watch.told})
            watch.told = block_hash
            self._status(watch, {"inBlock": block_hash})
        if included.block <= finalized:
            self._status(watch, {"finalized": block_hash})
            watch.session.watches.pop(watch.key, None)

    def _status(self, watch: Watch, status: object) -> None:
        watch.session.notify("author_extrinsicUpdate", watch.key, status)
