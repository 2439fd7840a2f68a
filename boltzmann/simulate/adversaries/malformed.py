"""Attacks on whoever reads: bytes that are no delta, or only half a one."""

from __future__ import annotations

import numpy as np

from boltzmann.node.conduct import Offer
from boltzmann.node.membership import Peer
from boltzmann.node.miner import Work
from boltzmann.node.node import Node
from boltzmann.node.objects import delta_key
from boltzmann.protocol.codec import Codec
from boltzmann.protocol.slices import Slice
from boltzmann.protocol.wire import Expected, Kind, seal
from boltzmann.simulate.adversaries.base import Adversary, Forger, adversary, bucket, known_of
from boltzmann.simulate.store import Late
from boltzmann.train.gradients import Delta


class Spoilt(Adversary):
    """Does its work, and sends one value in ten as `value`, in the shares as well."""

    effort = 1.0
    value = 0.0

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        values, shares = chosen.gather(delta.tensors), delta.shares.copy()
        values[::10] = np.float32(self.value)
        shares[:, ::10] = np.float32(self.value)
        return Offer(values, shares)


@adversary("nan")
class NotANumber(Spoilt):
    """Sends NaN among its values."""

    value = float("nan")


@adversary("inf")
class Infinite(Spoilt):
    """Sends infinity among its values."""

    value = float("inf")


@adversary("denormal")
class Denormal(Adversary):
    """Sends nothing but denormal numbers, which some processors are slow with."""

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        tiny = np.float32(1e-39)
        return Offer(np.full(chosen.size, tiny), np.full_like(delta.shares, tiny / 8))


class Forged(Forger):
    """Commits to, and sends, something that it forges from its sealed delta."""

    async def publish(self, node: Node, window: int, work: Work) -> None:
        known = await known_of(node, window)
        forged = self.forged(node, known, work)
        await super().publish(node, window, Work(forged, None, work.tokens, {}))

    def forged(self, node: Node, known: Expected, work: Work) -> bytes:
        """What is sent in the place of the honest `work.sealed`."""
        raise NotImplementedError


@adversary("short")
class Short(Forged):
    """Sends its delta without its last byte."""

    def forged(self, node: Node, known: Expected, work: Work) -> bytes:
        return work.sealed[:-1]


@adversary("long")
class Long(Forged):
    """Sends its delta with 16 MB behind it."""

    def forged(self, node: Node, known: Expected, work: Work) -> bytes:
        return work.sealed + bytes(1 << 24)


@adversary("wrong-codec")
class WrongCodec(Forged):
    """Sends half as many values in the other codec, so that the size is right."""

    def forged(self, node: Node, known: Expected, work: Work) -> bytes:
        other = Codec.FP32 if known.codec is Codec.BF16 else Codec.BF16
        fewer = known.body_bytes // other.width
        wrong = Expected(
            *(known.kind, known.run, known.hotkey, known.window, known.base_root),
            *(fewer, other, known.limit),
        )
        body = work.sealed[known.body_start :][: wrong.body_bytes]
        sealed = seal(wrong, work.tokens, body, node.keys.sign)
        return sealed.ljust(known.object_bytes, b"\x00")


@adversary("header-bomb")
class HeaderBomb(Forged):
    """Claims a header that is longer than the object, in an object of the right size."""

    def forged(self, node: Node, known: Expected, work: Work) -> bytes:
        return work.sealed[:6] + b"\xff\xff" + work.sealed[8:]


@adversary("other-object")
class OtherObject(Forged):
    """Sends a well-formed update, where a delta belongs."""

    def forged(self, node: Node, known: Expected, work: Work) -> bytes:
        update = Expected(
            *(Kind.UPDATE, known.run, known.hotkey, known.window, known.base_root),
            *(known.values, known.codec, known.limit, known.shares),
        )
        return seal(update, 0, work.sealed[known.body_start :], node.keys.sign)


@adversary("junk")
class Junk(Forged):
    """Sends a delta's size of zeros."""

    def forged(self, node: Node, known: Expected, work: Work) -> bytes:
        return bytes(known.object_bytes)


@adversary("slow")
class Slow(Forger):
    """Its bucket takes an hour to hand out a delta."""

    async def publish(self, node: Node, window: int, work: Work) -> None:
        key = delta_key(node.run.run.id, window)
        bucket(node).buckets.serve[node.store.address] = lambda reader, asked, stored: (
            Late(3600.0, stored) if asked == key else stored
        )
        await super().publish(node, window, work)
