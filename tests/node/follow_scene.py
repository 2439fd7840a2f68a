"""A leader, a follower and the chain between them, for the tests of following."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from node_kit import CLOCK, Bucket, Running, announce, reading_store, running
from scripted_chain import Keys, Script
from scripted_leader import Closing, Leader

from boltzmann.node.follow import follow
from boltzmann.protocol.commitment import Role
from boltzmann.train.state import ModelState

STAKE = 10.0  # the leader's


@dataclass(frozen=True)
class Scene:
    """A leader, a follower, and the chain between them.

    `buckets`: of the other validators, who hold copies if a test puts them there.
    """

    script: Script
    leader: Leader
    follower: Running
    buckets: Mapping[str, Bucket]
    folder: Path

    @property
    def state(self) -> ModelState:
        return self.follower.state

    @property
    def leader_bucket(self) -> Bucket:
        return Bucket.of(self.leader.bucket.address)

    async def begin(self) -> Closing:
        """The run's genesis in window 0, which the follower holds."""
        first = self.leader.genesis()
        self.leader.publish(first)
        assert await self.after(0) is None
        return first

    async def reach(self, window: int) -> None:
        """The block that decides `window`."""
        await self.script.advance(max(self.script.height, CLOCK.decide(window)))
        await self.follower.node.blocks.until(CLOCK.decide(window))

    async def after(self, window: int, *, patient: bool = False) -> str | None:
        """What `follow` says once the chain has decided `window`."""
        await self.reach(window)
        return await follow(self.follower.node, window, patient=patient)

    def stands_at(self, closing: Closing) -> bool:
        at = self.state.position
        return (at.head, at.window, at.root) == (closing.digest, closing.window, closing.root)

    def windows(self, event: str) -> list[int]:
        """The windows of the follower's events of one name."""
        return [fields["window"] for fields in self.follower.told.of(event)]

    def second(self, name: str, *, voters: tuple[str, ...] = ()) -> Leader:
        """Another of the validators, which leads from the genesis on."""
        return Leader(self.script, name, self.buckets[name], self.folder / name, voters)


@asynccontextmanager
async def scene(
    s3: str, folder: Path, others: Mapping[str, float] | None = None
) -> AsyncIterator[Scene]:
    """`others`: further validators by stake."""
    script = Script()
    script.register("leader", stake=STAKE)
    script.register("follower")
    leader = Leader(script, "leader", Bucket(s3, "leader"), folder / "leader")
    buckets = {}
    for name, stake in (others or {}).items():
        script.register(name, stake=stake)
        buckets[name] = Bucket(s3, name)
        announce(script, name, Role.VALIDATOR, buckets[name].address)
    if others:  # in a council before it has ordered anything
        announce(script, "leader", Role.VALIDATOR, leader.bucket.address)
    async with running(script, "follower", reading_store(s3), folder / "follower") as follower:
        yield Scene(script, leader, follower, buckets, folder)


async def leaders(at: Scene, window: int) -> list[str]:
    """The names of the scene's validators in the order in which they may propose."""
    await at.reach(window)
    names = {Keys(name).hotkey: name for name in ("leader", *at.buckets)}
    council = await at.follower.node.councils.at(window)
    return [names[hotkey] for hotkey in council.order]


def flip(data: bytes, place: int) -> bytes:
    damaged = bytearray(data)
    damaged[place] ^= 1
    return bytes(damaged)
