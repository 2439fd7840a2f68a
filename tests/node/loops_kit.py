"""Validators and miners with their loops running, block by block on a scripted chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node_kit import CLOCK, CONFIG, Running, announce, running, store_of
from scripted_chain import Keys, Script

from boltzmann.config import RunConfig
from boltzmann.node.conduct import conduct_named
from boltzmann.node.miner import mine
from boltzmann.node.validator import validate
from boltzmann.protocol.commitment import Role

STAKES = {"ada": 10.0, "ben": 9.0, "cyd": 8.0}  # any two of them are a majority


@dataclass
class Network:
    """Running nodes by name, those of `loops`, and the chain that drives them."""

    script: Script
    nodes: dict[str, Running]
    conducts: Mapping[str, str]
    loops: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _rounds: set[str] = field(default_factory=set)  # who has a window's audits still to do

    @property
    def validators(self) -> list[str]:
        """Those whose loops run."""
        return [name for name in self.loops if name in STAKES]

    @property
    def miners(self) -> list[str]:
        return [name for name in self.loops if name not in STAKES]

    def start(self, *names: str) -> None:
        for name in names:
            node = self.nodes[name].node
            loop = validate(node)
            if name not in STAKES:
                loop.close()
                loop = mine(node, conduct_named(self.conducts[name]))
            self.loops[name] = asyncio.create_task(loop)

    async def stop(self, name: str) -> None:
        """As by a kill: nothing is saved."""
        loop = self.loops.pop(name)
        self._rounds.discard(name)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    async def all(self, *waits: Coroutine[Any, Any, Any]) -> None:
        """All of these, unless a loop ends first, which none of them may."""
        done: asyncio.Future[Any] = asyncio.gather(*waits)
        both: set[asyncio.Future[Any]] = {done, *self.loops.values()}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for loop in self.loops.values():
            if loop.done():
                done.cancel()
                loop.result()
        await done

    async def seen(self, names: list[str], event: str, **wanted: object) -> None:
        await self.all(*(self.nodes[name].told.seen(event, **wanted) for name in names))

    async def begin(self) -> None:
        """The genesis in window 0, and everybody at its end."""
        await self.seen(["ada"], "genesis", window=0)
        await self.script.advance(CLOCK.decide(0))
        await self.seen([name for name in self.loops if name != "ada"], "loaded", window=0)

    async def window(self, window: int) -> None:
        """One window, each of its blocks when the nodes are ready for it."""
        await self.upload(window)
        await self.script.advance(CLOCK.upload_by(window))
        await self.seen(self.validators, "stage", stage="receipt", window=window)
        council = await self.nodes[self.validators[0]].node.councils.at(window)
        here = [Keys(name).hotkey for name in self.validators]
        place = next(i for i, hotkey in enumerate(council.order) if hotkey in here)
        if len(here) < len(council.order):  # not everybody's receipt is there to go by
            await self.script.advance(CLOCK.turn(window, place))
        await self.seen(self.validators, "window", window=window)
        await self.script.advance(CLOCK.decide(window))
        await self.seen(list(self.loops), "applied", window=window)

    async def upload(self, window: int) -> None:
        """A window until all its deltas are uploaded."""
        await self.script.advance(CLOCK.open(window))
        opening = [self.nodes[name].chain.has_read(CLOCK.open(window)) for name in self.loops]
        await self.all(*opening)
        await self.seen(self.validators, "stage", stage="pay", window=window)
        late = [name for name in self.validators if name in self._rounds]
        await self.seen(late, "round", window=window - 1)
        await self.script.advance(CLOCK.close(window))
        sending = [name for name in self.miners if self.conducts[name] != "idle"]
        await self.seen(sending, "stage", stage="commit", window=window)
        await self.script.advance(CLOCK.commit_by(window))
        await self.seen(self.validators, "stage", stage="pledges", window=window)
        await self.seen(sending, "window", window=window)
        self._rounds = set(self.validators)

    def stages(self, name: str) -> set[str]:
        return {fields["stage"] for fields in self.nodes[name].told.of("stage")}

    def agree(self) -> bool:
        """Whether all running nodes stand at one state."""
        return len({self.nodes[name].state.position for name in self.loops}) == 1


async def theta(node: Running) -> bytes:
    """θ, looked at in the worker's thread: an audit puts older values there for a while."""
    return await node.node.worker.run(lambda: node.state.theta.tobytes())


@asynccontextmanager
async def network(
    s3: str,
    folder: Path,
    conducts: Mapping[str, str],
    config: RunConfig = CONFIG,
) -> AsyncIterator[Network]:
    """Three validators and these miners, registered before the run has begun; no loop runs yet."""
    script = Script(height=CLOCK.decide(0) - 2)
    async with AsyncExitStack() as stack:
        nodes = {}
        for name in (*STAKES, *conducts):
            script.register(name, stake=STAKES.get(name, 0.0))
            store = store_of(s3, name)
            role = Role.VALIDATOR if name in STAKES else Role.MINER
            announce(script, name, role, store.address)
            nodes[name] = await stack.enter_async_context(
                running(script, name, store, folder / name, config)
            )
        net = Network(script, nodes, conducts)
        try:
            yield net
        finally:
            for name in list(net.loops):
                await net.stop(name)
