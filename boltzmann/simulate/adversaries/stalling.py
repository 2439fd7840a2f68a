"""Attacks on agreement itself, by validators with next to no stake and by miners who do their work.

They earn nothing beyond what the work does; what they would destroy is the run.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from boltzmann.node.conduct import Offer
from boltzmann.node.membership import Peer
from boltzmann.node.miner import Work
from boltzmann.node.node import Node
from boltzmann.node.round import points_of
from boltzmann.node.validator import validate
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.points import Points
from boltzmann.protocol.receipts import Receipt, open_receipt
from boltzmann.protocol.scoring import compare
from boltzmann.protocol.slices import Slice
from boltzmann.simulate.adversaries.base import (
    Adversary,
    Forger,
    adversary,
    bucket,
    is_trusted,
    noise,
)
from boltzmann.simulate.store import Late, Serve
from boltzmann.train.gradients import Delta

Floats = NDArray[np.float32]

DUST = 0.001  # alpha; an honest validator's stake is a million times as much
_FOREVER_S = 1e6


@adversary("two-receipts")
class TwoReceipts(Adversary):
    """A validator of no stake that shows every reader another receipt, each signed by itself."""

    stake = DUST

    async def drive(self, node: Node) -> None:
        _serve(node, lambda reader, key, stored: self._shown(node, reader, key, stored))
        await validate(node)

    def _shown(self, node: Node, reader: str, key: str, stored: bytes | None) -> bytes | None:
        _, window, kind = (*key.split("/"), "", "")[:3]
        if stored is None or kind != "receipt":
            return stored
        run, hotkey = node.run.run.id, node.hotkey
        receipt = open_receipt(stored, run, int(window), hotkey, node.verify)
        if not isinstance(receipt, Receipt) or not receipt.entries:
            return stored
        rest = receipt.entries[_fate(reader, len(receipt.entries)) :]
        return replace(receipt, entries=rest).seal(hotkey, node.keys.sign)


@adversary("trickling")
class Trickling(Adversary):
    """A validator of no stake whose bucket begins every answer and ends none."""

    stake = DUST

    async def drive(self, node: Node) -> None:
        _serve(node, lambda reader, key, stored: Late(_FOREVER_S, stored))
        await asyncio.Event().wait()


@adversary("unreadable")
class Unreadable(Adversary):
    """A validator of no stake that orders digests of nothing, from a bucket that never answers."""

    stake = DUST

    async def drive(self, node: Node) -> None:
        _serve(node, lambda reader, key, stored: Late(_FOREVER_S, stored))
        clock, run = node.clock, node.run.run.id
        window = clock.window(node.blocks.latest)
        while True:
            window += 1
            await node.blocks.until(clock.close(window) + 1)
            named = (window, hashlib.sha256(str(window).encode()).hexdigest())
            record = Commitment(Role.VALIDATOR, run, node.store.address, manifest=named)
            await node.chain.commit(record.encode())


@adversary("hiding")
class Hiding(Forger):
    """Honest work, shown to two thirds of the validators; accomplices leave out another third."""

    earns = "work"
    is_harmless = True

    async def publish(self, node: Node, window: int, work: Work) -> None:
        number = int(self.name.removeprefix(self.kind) or 0)
        stakes = (await node.councils.at(window)).stakes
        hidden = sorted(h for h in stakes if 2 * stakes[h] > max(stakes.values()))[number % 3 :: 3]

        def serve(reader: str, key: str, stored: bytes | None) -> bytes | None:
            return None if reader in hidden and key.endswith("/delta") else stored

        _serve(node, serve)
        await super().publish(node, window, work)


@adversary("evasive")
class Evasive(Forger):
    """Honest work, hidden once it is trusted from the first leaders: enough others have seen it."""

    earns = "work"
    is_harmless = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._hides = False

    async def publish(self, node: Node, window: int, work: Work) -> None:
        self._hides = self._hides or is_trusted(node)
        council = await node.councils.at(window)
        total, hidden, stake = sum(council.stakes.values()), set[str](), 0
        for leader in council.order if self._hides else ():
            stake += council.stakes[leader]
            if 2 * stake >= total:
                break
            hidden.add(leader)

        def serve(reader: str, key: str, stored: bytes | None) -> bytes | None:
            return None if reader in hidden and key.endswith("/delta") else stored

        _serve(node, serve)
        await super().publish(node, window, work)


@adversary("blurred")
class Blurred(Adversary):
    """Honest work, with shares so blurred, where no sum tells, that only full audits decide."""

    effort = 1.0
    earns = "work"
    is_harmless = True

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        offer = await super().offer(node, window, chosen, delta, members)
        if offer is None:
            return None
        points = await points_of(node, window)
        control = await node.worker.delta(node.schedule.control(window), points)
        seen, _ = points.meet(chosen)
        blur = noise(node, points.size, "blur", window)
        blur[seen] = 0.0
        shares = offer.shares.copy()
        for share in shares[:-1]:
            _blur(share, blur, control.on_points(points), points, node.run.gate.gate_min)
        return replace(offer, shares=shares)


def _blur(share: Floats, blur: Floats, control: Floats, points: Points, least: float) -> None:
    """Add so much of `blur` that an audit of this page alone just fails the gate."""
    low, high = 0.0, float(np.linalg.norm(share) / np.linalg.norm(blur))
    for _ in range(20):
        middle = (low + high) / 2
        off = compare(share + np.float32(middle) * blur, share, control, points.bounds).gate
        low, high = (middle, high) if 1.0 - off < 1.05 * (1.0 - least) else (low, middle)
    share += np.float32(high) * blur


def _serve(node: Node, serve: Serve) -> None:
    store = bucket(node)
    store.buckets.serve[store.address] = serve


def _fate(reader: str, of: int) -> int:
    """A number below `of` that is always the same for a reader."""
    return hashlib.sha256(reader.encode()).digest()[0] % of
