"""A subtensor node on loopback: real JSON-RPC, SCALE and signatures over an embedded chain's file.

`rpc_running` runs it in a thread, `rpc_serve` as a process. Faults are set on its `faults`, or over
its socket by the method `boltzmann_fault`, with the name of a field and a value, or of a call and
its arguments. A client that comes by `url/NAME` can be hurt by that name. `boltzmann_joined` says
when connections were made, in Unix seconds, and by whom.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rpc_chain import Chain
from rpc_codec import Codec
from rpc_faults import Faults, invalid_params
from rpc_heads import Announcer
from rpc_metadata import runtime_metadata
from rpc_methods import Methods
from rpc_pool import Pool
from rpc_reads import Reads
from rpc_session import Session
from rpc_shield import CARRIER, CARRIER_TYPE, Shield
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from boltzmann.chain.embedded.ledger import Ledger
from boltzmann.chain.embedded.runtime import CALLS

_HOST = "127.0.0.1"
_MOST_BYTES = 2**24
_FAULT_FIELDS = ("silent", "mute", "http_status", "heads_twice", "heads_every", "pool_refusal")
_FAULT_CALLS = (
    "accept",
    "refuse",
    "begin_fork",
    "end_fork",
    "drop_connections",
    "silence_connections",
)


class RpcNode:
    """One node; make and use it in the event loop that it is to run in."""

    def __init__(self, path: Path, *, lag: int, newer_items: bool) -> None:
        self.faults = Faults()
        self.port = 0
        self._ledger = Ledger(path, calls={**CALLS, CARRIER: CARRIER_TYPE})
        metadata = runtime_metadata().with_block_time(self._ledger.clock().block_time_s)
        codec = Codec(metadata.with_newer_items() if newer_items else metadata)
        self._chain = Chain(self._ledger, lag)
        shield = Shield()
        self._pool = Pool(self._chain, codec, self.faults, shield)
        reads = Reads(self._chain, codec, shield)
        self._methods = Methods(self._chain, codec, self._pool, reads)
        self._sessions: set[Session] = set()
        self._announcer = Announcer(self._chain, self._pool, self.faults, self._sessions)
        self._server: Server | None = None
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.joined: list[tuple[float, str]] = []  # Unix seconds and name of each connection
        self.asked: list[str] = []  # the methods of all requests, in order
        self._calls: set[asyncio.Future[None]] = set()  # held, or they might be collected

    @property
    def url(self) -> str:
        return f"ws://{_HOST}:{self.port}"

    async def run(self, ready: Callable[[], None], stop: asyncio.Event) -> None:
        announcing = asyncio.create_task(self._announcer.run())
        try:
            await self.accept()
            ready()
            stopped = asyncio.create_task(stop.wait())
            ends: set[asyncio.Future[Any]] = {announcing, stopped, self._broken}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.refuse()
            self.drop_connections()
            announcing.cancel()
            await asyncio.wait({announcing})
            self._ledger.close()
        # Neither ends by itself: what ended one of them is raised here.
        for ended in (announcing, self._broken):
            if ended.done() and not ended.cancelled():
                ended.result()

    @property
    def told(self) -> list[str]:
        """The blocks that clients were told hold their extrinsics, and that are not final yet."""
        watches = (watch for session in self._sessions for watch in session.watches.values())
        return [watch.told for watch in watches if watch.told is not None]

    # Faults that are done once

    async def accept(self) -> None:
        """Listen (again), on the port that it had before."""
        if self._server is None:
            self._server = await serve(
                self._serve,
                _HOST,
                self.port,
                process_request=self._handshake,
                max_size=_MOST_BYTES,
                compression=None,
            )
            self.port = int(self._server.sockets[0].getsockname()[1])

    def refuse(self) -> None:
        """Stop listening; connections that are there stay."""
        server, self._server = self._server, None
        if server is not None:
            server.server.close()

    def drop_connections(self, *names: str) -> None:
        """Cut the connections of these clients, of all if none is named."""
        for session in self._of(names):
            session.abort()

    def silence_connections(self, *names: str) -> None:
        """Say nothing more on the connections these clients have now; new ones are served."""
        self.faults.silenced.update(session.number for session in self._of(names))

    def _of(self, names: tuple[str, ...]) -> list[Session]:
        return [one for one in self._sessions if not names or one.name in names]

    def begin_fork(self) -> int:
        return self._chain.begin_fork()

    def end_fork(self) -> None:
        first = self._chain.end_fork()
        if first is not None:
            self._announcer.fork_ended(first)

    # Connections

    def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.faults.http_status is None:
            return None
        return connection.respond(HTTPStatus(self.faults.http_status), "as the test wants it\n")

    async def _serve(self, socket: ServerConnection) -> None:
        path = socket.request.path if socket.request is not None else "/"
        session = Session(socket, path.strip("/"), self.faults, self._respond)
        self._sessions.add(session)
        self.joined.append((time.time(), session.name))
        try:
            await session.run()
        except Exception as error:
            if not self._broken.done():
                self._broken.set_exception(error)  # the node's own fault: it ends with it
            raise
        finally:
            self._sessions.discard(session)

    def _respond(self, session: Session, method: str, given: list[Any]) -> Any:
        self.asked.append(method)
        if method in ("chain_subscribeNewHeads", "chain_subscribeNewHead"):
            return self._announcer.subscribe(session, "new")
        if method in ("chain_subscribeFinalizedHeads", "chain_subscribeFinalisedHeads"):
            return self._announcer.subscribe(session, "finalized")
        if method.startswith("chain_unsubscribe"):
            return session.heads.pop(str(given[0]), None) is not None
        if method == "author_submitAndWatchExtrinsic":
            extrinsic = self._methods.answer("author_submitExtrinsic", given)
            return self._announcer.watch(session, extrinsic)
        if method == "author_unwatchExtrinsic":
            return session.watches.pop(str(given[0]), None) is not None
        if method == "boltzmann_fault":
            return self._fault(*given)
        if method == "boltzmann_joined":
            return self.joined
        return self._methods.answer(method, given)

    def _fault(self, name: str, *given: Any) -> None:
        if name in _FAULT_FIELDS:
            setattr(self.faults, name, given[0] if given else None)
        elif name in _FAULT_CALLS:
            task = asyncio.ensure_future(self._call(name, given))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        else:
            raise invalid_params(f"there is no fault {name!r}")

    async def _call(self, name: str, given: tuple[Any, ...]) -> None:
        """What was asked for over the socket. Whoever cuts itself off gets no answer."""
        result = getattr(self, name)(*given)
        if asyncio.iscoroutine(result):
            await result
