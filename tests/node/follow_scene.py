"""A leader, a follower and the chain between them, for the tests of following."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from node_kit import CLOCK, Bucket, Running, reading_store, running
from scripted_chain import Script
from scripted_leader import Closing, Leader

from boltzmann.node.follow import follow
from boltzmann.train.state import ModelState


@dataclass(frozen=True)
class Scene:
    """A leader, a follower, and the chain between them."""

    script: Script
    leader: Leader
    follower: Running

    @property
    def state(self) -> ModelState:
        return self.follower.state

    async def begin(self) -> Closing:
        """The run's genesis in window 0, which the follower holds."""
        first = self.leader.genesis()
        self.leader.publish(first)
        assert await self.after(0) is None
        return first

    async def after(self, window: int) -> str | None:
        """What `follow` says once the chain has decided `window`."""
        await self.script.advance(max(self.script.height, CLOCK.decide(window)))
        await self.follower.node.blocks.until(CLOCK.decide(window))
        return await follow(self.follower.node, window)

    def stands_at(self, closing: Closing) -> bool:
        at = self.state.position
        return (at.head, at.window, at.root) == (closing.digest, closing.window, closing.root)


@asynccontextmanager
async def scene(s3: str, folder: Path) -> AsyncIterator[Scene]:
    script = Script()
    script.register("leader", stake=10.0)
    script.register("follower")
    leader = Leader(script, "leader", Bucket(s3, "leader"), folder / "leader")
    async with running(script, "follower", reading_store(s3), folder / "follower") as follower:
        yield Scene(script, leader, follower)


def flip(data: bytes, place: int) -> bytes:
    damaged = bytearray(data)
    damaged[place] ^= 1
    return bytes(damaged)
