"""What every attack stands on: register a class here, and the command, tests and tables have it.

    @adversary("lazy-bones")
    class LazyBones(Adversary):
        \"""Sends its last delta but one.\"""

An attack is the honest miner with steps replaced: `train` (what is sent of which work), `offer`
(once the slice is known), or `cheat` (all of a window). The docstring's first line is its
description.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from boltzmann.node.conduct import Conduct, Honest, spread
from boltzmann.node.endure import forever
from boltzmann.node.follow import join_window
from boltzmann.node.keepsake import keep_state, tidy
from boltzmann.node.membership import Peer, miners
from boltzmann.node.miner import Work, commit, make_delta, mine_window, reveal
from boltzmann.node.node import Node
from boltzmann.node.objects import expected, receipt_key
from boltzmann.node.round import assigned, chosen_in
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES
from boltzmann.protocol.points import Points
from boltzmann.protocol.receipts import open_receipt
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.seeds import derive
from boltzmann.protocol.wire import Expected, Kind
from boltzmann.simulate.chain import Ledger, LedgerChain
from boltzmann.simulate.rogue import Rogue
from boltzmann.simulate.store import MemoryStore
from boltzmann.train.gradients import Delta
from boltzmann.train.state import split

Floats = NDArray[np.float32]
Tensors = Sequence[Floats]


class Adversary(Honest):
    """One hostile miner, or validator if the class has a `stake`.

    `effort`: the share of an honest miner's work that a window of cheating takes; `earns`: the most
    that the attack may earn, as a share of an honest miner's pay, "work" for what it has worked;
    `is_harmless`: whether what can enter an update of it is honest work all the same.
    """

    effort: ClassVar[float] = 0.0
    earns: ClassVar[float | str] = 0.01
    stake: ClassVar[float] = 0.0
    is_harmless: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.cheated: set[int] = set()
        self.work = 0.0

    @property
    def first_cheat(self) -> int | None:
        """The first window of cheating."""
        return min(self.cheated, default=None)

    @property
    def kind(self) -> str:
        """The name without its number: what accomplices have in common."""
        return self.name.rstrip("0123456789")

    async def drive(self, node: Node) -> None:
        """Take part in every window until cancelled."""

        async def one_window() -> None:
            window = await self.join(node)
            tidy(node, window)
            await keep_state(node, window)
            await self.window(node, window)

        await forever(node, one_window)

    async def join(self, node: Node) -> int:
        """Hold the state of a window whose deltas are not due yet; that window."""
        return (await join_window(node, node.clock.upload_by, by_majority=True)).window

    async def window(self, node: Node, window: int) -> None:
        """One window of cheating."""
        self.cheated.add(window)
        self.work += self.effort
        await self.cheat(node, window)
        await self.look(node, window)

    async def cheat(self, node: Node, window: int) -> None:
        """What it does in a window in which it cheats."""
        await mine_window(node, self, window)

    async def look(self, node: Node, window: int) -> None:
        """What it remembers of a window, after the deltas' deadline, whether it cheated or not."""


class Forger(Adversary):
    """Does all the work, and publishes something else. For attacks on bytes, keys and times."""

    effort = 1.0

    async def cheat(self, node: Node, window: int) -> None:
        work = await make_delta(node, self, window)
        if work is not None:
            await self.publish(node, window, work)
        await node.blocks.until(node.clock.upload_by(window))

    async def publish(self, node: Node, window: int, work: Work) -> None:
        """Commit to the delta in time, then show it."""
        await commit(node, window, work)
        await node.blocks.until(node.clock.reveal_at(window))
        await reveal(node, window, work)


REGISTERED: dict[str, type[Adversary]] = {}
A = TypeVar("A", bound=type[Adversary])


def adversary(name: str) -> Callable[[A], A]:
    """Register an attack. Raises: ValueError if the name is taken, or has no description."""

    def register(attack: A) -> A:
        if name in REGISTERED or not attack.__doc__:
            raise ValueError(f"the adversary {name} needs a name and a docstring of its own")
        REGISTERED[name] = attack
        return attack

    return register


def rogue_of(make: Callable[[str], Adversary], stake: float = 0.0) -> Rogue:
    """An attack as a simulation takes it."""

    async def drive(node: Node, conduct: Conduct) -> None:
        if not isinstance(conduct, Adversary):
            raise TypeError(f"{conduct} is no adversary")
        await conduct.drive(node)

    return Rogue(make, stake=stake, drive=drive)


# What attacks are made of


async def pages_of(node: Node, window: int) -> tuple[int, ...]:
    """The node's own pages of a window; none if it is no member."""
    return (await assigned(node, window))[1].get(node.hotkey, ())


async def peers_of(node: Node, window: int) -> list[Peer]:
    """The members of a window."""
    return miners(await node.councils.peers(node.clock.open(window)))


async def known_of(node: Node, window: int, hotkey: str = "") -> Expected:
    """What readers expect of a hotkey's delta (this node's own without one), once it is closed."""
    chosen, root = await chosen_in(node, window), node.worker.state.position.root
    return expected(node.run, Kind.DELTA, hotkey or node.hotkey, window, root, chosen)


def made_up(node: Node, tensors: Tensors, pages: tuple[int, ...], points: Points) -> Delta:
    """A delta out of thin air, whose shares add up."""
    data = node.run.data
    tokens = len(pages) * data.rows_per_page * (data.sequence_length - 1)
    return Delta(tensors, 0.0, tokens, spread(points.gather(tensors), len(pages)))


def whole(tensors: Tensors) -> Floats:
    """All tensors in one vector."""
    return np.concatenate(tensors)


def parts(node: Node, flat: Floats) -> Tensors:
    """A vector's tensors."""
    return tuple(split(flat, node.worker.state.layout))


def noise(node: Node, size: int, *names: object) -> Floats:
    """Standard normal noise `[size]`, the same in each run of the same simulation."""
    key = derive(node.run.key, "adversary", node.hotkey, *map(str, names))
    draw = np.random.default_rng(np.frombuffer(key, np.uint64))
    return draw.standard_normal(size, np.float32)


def coin(node: Node, window: int, rate: float) -> bool:
    """A private toss that comes up with chance `rate`."""
    key = derive(node.run.key, "coin", node.hotkey, window)
    return int.from_bytes(key[:8], "big") < rate * 2**64


def bucket(node: Node) -> MemoryStore:
    """The node's bucket, to do with as it likes. Raises: TypeError outside of a simulation."""
    if not isinstance(node.store, MemoryStore):
        raise TypeError(f"{node.store} is no bucket of a simulation")
    return node.store


def ledger(node: Node) -> Ledger:
    """The chain, to register on. Raises: TypeError outside of a simulation."""
    if not isinstance(node.chain, LedgerChain):
        raise TypeError(f"{node.chain} is no chain of a simulation")
    return node.chain.ledger


def is_trusted(node: Node) -> bool:
    """Whether the last update has a delta of this node's."""
    base = node.manifests[node.worker.state.position.head].manifest.proposal
    return any(entry.hotkey == node.hotkey for entry in base.accepted)


async def is_caught(node: Node, window: int, since: int) -> bool:
    """Whether any receipt of this window tells of a failed audit of this node, of `since` or later.

    Receipts are public, so a cheat knows as soon as everybody does.
    """
    council = await node.councils.at(window)
    for peer in council.validators.values():
        key = receipt_key(node.run.run.id, window)
        data = node.store.get(peer.bucket, key, max_bytes=MAX_DOCUMENT_BYTES, seconds=1.0)
        if isinstance(data, Rejection):
            continue
        receipt = open_receipt(data, node.run.run.id, window, peer.hotkey, node.verify)
        if not isinstance(receipt, Rejection) and any(
            v.hotkey == node.hotkey and not v.passed and v.window >= since for v in receipt.verdicts
        ):
            return True
    return False
