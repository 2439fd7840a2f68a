"""Faults of the tests' websocket node, drawn from a seed, and the way to tell it of them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection

from boltzmann.local.network import ROOT
from boltzmann.local.plan import Plan

SERVER = ROOT / "tests" / "rpc_node" / "rpc_serve.py"
FIRST_WINDOW = 2  # from which on faults come
Call = tuple[Any, ...]  # a fault's name as the node knows it, and its arguments


@dataclass(frozen=True)
class Kind:
    """A fault: what begins it, what ends it `blocks` later. A call that ends with "names" gets the
    names of those it hits: all nodes, or `one` of them."""

    begin: tuple[Call, ...]
    end: tuple[Call, ...] = ()
    blocks: int = 0
    one: bool = False


_CUT = ("drop_connections", "names")
_SILENCE = ("silence_connections", "names")
KINDS: Mapping[str, Kind] = {
    "one connection cut": Kind((_CUT,), one=True),
    "all connections cut": Kind((_CUT,)),
    "one socket silent": Kind((_SILENCE,), one=True),
    "all sockets silent": Kind((_SILENCE,)),
    "subscriptions silent": Kind((("mute", True),), (("mute", False),), 4),
    "connections refused": Kind((("refuse",), _CUT), (("accept",),), 3),
    "429 at the handshake": Kind((("http_status", 429), _CUT), (("http_status", None),), 3),
    "reorg before finality": Kind((("begin_fork",),), (("end_fork",),), 3),
    "heads twice": Kind((("heads_twice", True),), (("heads_twice", False),), 8),
    "heads missed": Kind((("heads_every", 3),), (("heads_every", 1),), 8),
    "calls lost in the pool": Kind(
        (("pool_refusal", "Transaction is outdated"),), (("pool_refusal", None),), 3
    ),
}


@dataclass
class Fault:
    """One of a kind. `at`: the block, with a fraction for the moment in it; `names`: whom it hits;
    `begun`: Unix seconds, 0 before."""

    kind: str
    at: float
    names: list[str]
    begun: float = 0.0

    @property
    def ends(self) -> float:
        return self.at + KINDS[self.kind].blocks


def drawn(plan: Plan, count: int) -> list[Fault]:
    """All faults of a run, in order of time: every kind as often as any other, give or take one."""
    rng, clock = random.Random(plan.seed), plan.clock()
    names = [member.name for member in plan.members]
    kinds: list[str] = []
    while len(kinds) < count:
        kinds += rng.sample(list(KINDS), min(len(KINDS), count - len(kinds)))
    begin = clock.open(FIRST_WINDOW)
    stretch = (clock.open(plan.windows + 1) - begin) / count
    faults = []
    for number, kind in enumerate(kinds):
        latest = max(0.0, stretch - KINDS[kind].blocks)
        at = begin + number * stretch + rng.uniform(0.0, latest)
        faults.append(Fault(kind, at, [rng.choice(names)] if KINDS[kind].one else names))
    return faults


class Control:
    """A client of the node that tells it what to do to the others."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count()

    async def carry_out(self, calls: tuple[Call, ...], names: list[str]) -> None:
        for name, *given in calls:
            arguments = names if given == ["names"] else given
            await self.ask("boltzmann_fault", name, *arguments)

    async def ask(self, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        await self._socket.send(json.dumps(request))
        answer = json.loads(await self._socket.recv())
        return answer["result"]


@asynccontextmanager
async def websocket_node(chain: Path, lag: int) -> AsyncIterator[str]:
    """The URL of a node over the chain's file; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SERVER), str(chain), "--lag", str(lag), "--newer-items"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the websocket node has no pipes")
    try:
        url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise RuntimeError("the websocket node did not start: what it says is above")
        yield url
    finally:
        process.stdin.close()
        await process.wait()
