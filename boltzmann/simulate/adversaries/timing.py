"""Attacks on when something is shown, and to whom."""

from __future__ import annotations

import hashlib

from boltzmann.node.miner import Work, reveal
from boltzmann.node.node import Node
from boltzmann.node.objects import commit_key, delta_key
from boltzmann.protocol.documents import digest
from boltzmann.protocol.reveal import seal_commit
from boltzmann.protocol.wire import seal
from boltzmann.simulate.adversaries.base import Forger, adversary, bucket, known_of


@adversary("late")
class LateReveal(Forger):
    """Commits in time and shows its delta one block too late."""

    async def publish(self, node: Node, window: int, work: Work) -> None:
        _put_commit(node, window, work.sealed)
        await node.blocks.until(node.clock.upload_by(window) + 1)
        node.store.put(delta_key(node.run.run.id, window), work.sealed)


@adversary("late-commit")
class LateCommit(Forger):
    """Shows its delta in time and commits to it one block too late."""

    async def publish(self, node: Node, window: int, work: Work) -> None:
        await node.blocks.until(node.clock.commit_by(window) + 1)
        _put_commit(node, window, work.sealed)
        await reveal(node, window, work)


@adversary("overwrite")
class Overwrite(Forger):
    """Honest until everybody has read its delta, then other bytes lie there."""

    earns = "work"
    is_harmless = True

    async def publish(self, node: Node, window: int, work: Work) -> None:
        await super().publish(node, window, work)
        await node.blocks.until(node.clock.receipts_by(window))
        key = delta_key(node.run.run.id, window)
        node.store.delete(key)
        node.store.put(key, await other_delta(node, window, work))


@adversary("published-keys")
class PublishedKeys(Forger):
    """Has published its write keys: others empty its bucket, or change a bit of its delta there."""

    async def publish(self, node: Node, window: int, work: Work) -> None:
        await super().publish(node, window, work)
        objects = bucket(node).buckets.of(node.store.address)
        if objects is None:
            return
        if window % 2:
            objects.clear()
        else:
            changed = work.sealed[:-1] + bytes([work.sealed[-1] ^ 1])
            objects[delta_key(node.run.run.id, window)] = changed


class TwoFaced(Forger):
    """Shows half of its readers another delta than the other half, under the same key."""

    both_commits = False

    async def publish(self, node: Node, window: int, work: Work) -> None:
        self._show_two_faces(node)
        other, run = await other_delta(node, window, work), node.run.run.id
        commit = seal_commit(run, window, digest(other), node.hotkey, node.keys.sign)
        objects = {commit_key(run, window): commit} if self.both_commits else {}
        for key, body in {**objects, delta_key(run, window): other}.items():
            node.store.put(f"{key}.other", body)
            # Nobody asks for last month's.
            node.store.delete(f"{key.replace(f'/{window}/', f'/{max(0, window - 4)}/')}.other")
        await super().publish(node, window, work)

    def _show_two_faces(self, node: Node) -> None:
        store = bucket(node)
        objects = store.buckets.of(store.address) or {}

        def serve(reader: str, key: str, stored: bytes | None) -> bytes | None:
            first = hashlib.sha256(reader.encode()).digest()[0] % 2
            return stored if first or stored is None else objects.get(f"{key}.other", stored)

        store.buckets.serve[store.address] = serve


@adversary("two-faced")
class TwoDeltas(TwoFaced):
    """Shows half of its readers a delta that its commit does not name."""

    earns = "work"  # of whoever was shown the right one
    is_harmless = True


@adversary("two-commits")
class TwoCommits(TwoFaced):
    """Shows half of its readers another commit, and the delta that this one names."""

    both_commits = True


async def other_delta(node: Node, window: int, work: Work) -> bytes:
    """A delta as valid as the honest one, of other bytes: its first value is 0."""
    known = await known_of(node, window)
    body = bytes(known.codec.width) + work.sealed[known.body_start + known.codec.width :]
    return seal(known, work.tokens, body, node.keys.sign)


def _put_commit(node: Node, window: int, sealed: bytes) -> None:
    run = node.run.run.id
    commit = seal_commit(run, window, digest(sealed), node.hotkey, node.keys.sign)
    node.store.put(commit_key(run, window), commit)
