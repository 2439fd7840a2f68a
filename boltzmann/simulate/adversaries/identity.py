"""Attacks on who is who: other hotkeys, other buckets."""

from __future__ import annotations

from boltzmann.node.miner import Work
from boltzmann.node.node import Node
from boltzmann.node.objects import commit_key, delta_key
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.documents import digest
from boltzmann.protocol.reveal import seal_commit
from boltzmann.protocol.wire import seal
from boltzmann.simulate.adversaries.base import (
    Forger,
    adversary,
    bucket,
    known_of,
    peers_of,
)
from boltzmann.simulate.adversaries.timing import other_delta


@adversary("impersonator")
class Impersonator(Forger):
    """Shows another hotkey's commit and delta, which it has signed itself."""

    async def publish(self, node: Node, window: int, work: Work) -> None:
        victim = next(p for p in await peers_of(node, window) if p.hotkey != node.hotkey)
        known = await known_of(node, window, victim.hotkey)
        own = await known_of(node, window)
        sealed = seal(known, work.tokens, work.sealed[own.body_start :], node.keys.sign)
        await _put_both(node, window, sealed, victim.hotkey)


@adversary("foreign-signature")
class ForeignSignature(Forger):
    """Has its own commit and delta signed by another key: whose signs does the work."""

    async def publish(self, node: Node, window: int, work: Work) -> None:
        def sign(message: bytes) -> bytes:
            return node.keys.sign(b"another key" + message)

        known = await known_of(node, window)
        sealed = seal(known, work.tokens, work.sealed[known.body_start :], sign)
        await _put_both(node, window, sealed, node.hotkey)


async def _put_both(node: Node, window: int, sealed: bytes, hotkey: str) -> None:
    run = node.run.run.id
    commit = seal_commit(run, window, digest(sealed), hotkey, node.keys.sign)
    node.store.put(commit_key(run, window), commit)
    await node.blocks.until(node.clock.reveal_at(window))
    node.store.put(delta_key(run, window), sealed)


class Elsewhere(Forger):
    """Its record on chain names a bucket that is not its own."""

    effort = 0.0

    async def address(self, node: Node, window: int) -> str:
        """What the record names."""
        raise NotImplementedError

    async def cheat(self, node: Node, window: int) -> None:
        record = Commitment(Role.MINER, node.run.run.id, await self.address(node, window))
        await node.chain.commit(record.encode())
        await node.blocks.until(node.clock.upload_by(window))


@adversary("squatter")
class Squatter(Elsewhere):
    """Does nothing, and names another miner's bucket as its own."""

    async def address(self, node: Node, window: int) -> str:
        return next(p for p in await peers_of(node, window) if p.hotkey != node.hotkey).bucket


@adversary("key-traversal")
class KeyTraversal(Elsewhere):
    """Names a bucket address that leads out of its bucket into another miner's."""

    async def address(self, node: Node, window: int) -> str:
        victim = next(p for p in await peers_of(node, window) if p.hotkey != node.hotkey)
        return f"{node.store.address[:30]}/../{victim.bucket.rpartition('/')[2]}/x/%2e%2e"


@adversary("bucket-change")
class BucketChange(Forger):
    """Names another bucket in the middle of each window, where another delta lies."""

    earns = "work"
    is_harmless = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._named = 0  # the bucket that the record names

    async def publish(self, node: Node, window: int, work: Work) -> None:
        store, run = bucket(node), node.run.run.id
        names = [store.address.rpartition("/")[2], f"{store.address.rpartition('/')[2]}-too"]
        addresses = [store.buckets.make(name) for name in names]
        honest, other = addresses[self._named], addresses[1 - self._named]
        self._named = 1 - self._named
        record = Commitment(Role.MINER, run, other)
        await node.chain.commit(record.encode())  # one block: as late as the commit's deadline is
        for address, sealed in (
            (honest, work.sealed),
            (other, await other_delta(node, window, work)),
        ):
            objects = store.buckets.of(address)
            if objects is not None:
                commit = seal_commit(run, window, digest(sealed), node.hotkey, node.keys.sign)
                objects[commit_key(run, window)] = commit
                objects[delta_key(run, window)] = sealed
