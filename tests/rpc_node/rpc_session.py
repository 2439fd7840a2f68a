"""One client's connection: its requests in order, its subscriptions, and what it is not told."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rpc_faults import Faults, RpcError
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

_numbers = itertools.count(1)


@dataclass
class Watch:
    """A subscription to one extrinsic's way; `told` is the block it was last said to be in."""

    session: Session
    key: str
    extrinsic: str
    ready: bool = False
    told: str | None = None


@dataclass(eq=False)
class Session:
    """`respond` answers one request of this session; notifications go out through `notify`.

    `name`: the path of the URL that the client came by, without its slash, such as "miner0".
    """

    socket: ServerConnection
    name: str
    faults: Faults
    respond: Callable[[Session, str, list[Any]], Any]
    number: int = field(default_factory=lambda: next(_numbers))
    heads: dict[str, str] = field(default_factory=dict)  # subscription -> "new" or "finalized"
    watches: dict[str, Watch] = field(default_factory=dict)
    _out: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def run(self) -> None:
        """Until the connection ends."""
        writer = asyncio.create_task(self._write())
        try:
            async for message in self.socket:
                self._take(json.loads(message))
        except ConnectionClosed:
            pass  # cut off, which is what some tests are about
        finally:
            writer.cancel()

    def new_key(self) -> str:
        return f"{self.number}-{next(_numbers)}"

    def notify(self, method: str, key: str, result: Any) -> None:
        if self.faults.mute or self._is_silent():
            return
        params = {"subscription": key, "result": result}
        self._say({"jsonrpc": "2.0", "method": method, "params": params})

    def abort(self) -> None:
        """Cut the connection without a word."""
        self.socket.transport.abort()

    def _take(self, frame: Any) -> None:
        several = frame if isinstance(frame, list) else [frame]
        answers = [self._answer(one) for one in several]
        if not self._is_silent():
            self._say(answers if isinstance(frame, list) else answers[0])

    def _answer(self, request: Any) -> dict[str, Any]:
        answer = {"jsonrpc": "2.0", "id": request["id"]}
        if self._is_silent():
            return answer  # what is not answered is not carried out either
        try:
            result = self.respond(self, request["method"], request.get("params") or [])
        except RpcError as error:
            return {**answer, "error": error.body}
        return {**answer, "result": result}

    def _is_silent(self) -> bool:
        return self.faults.silent or self.number in self.faults.silenced

    def _say(self, frame: Any) -> None:
        self._out.put_nowait(json.dumps(frame))

    async def _write(self) -> None:
        try:
            while True:
                await self.socket.send(await self._out.get())
        except ConnectionClosed:
            return
