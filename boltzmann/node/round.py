"""One window as a validator sees it: who was assigned what, what arrived, what is left to audit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boltzmann.errors import BoltzmannError
from boltzmann.node.councils import Council
from boltzmann.node.manifests import Held
from boltzmann.node.membership import Peer, miners
from boltzmann.node.node import Node
from boltzmann.protocol.aggregate import BLOCK
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.reveal import Pledge
from boltzmann.protocol.slices import Slice, select
from boltzmann.protocol.wire import Expected, Opened, open_object
from boltzmann.train.gradients import Delta

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Received:
    """A delta that arrived in time and is well formed; its bytes lie at `path`.

    `sha256` is of the whole object, `norm` of its values.
    """

    path: Path
    known: Expected
    sha256: str
    tokens: int
    norm: float


@dataclass(frozen=True)
class Duty:
    """What a window asks of whom. `base`: the manifest whose state its miners train on."""

    window: int
    base: Held
    members: Mapping[str, Peer]
    pages: Mapping[str, tuple[int, ...]]

    @property
    def base_root(self) -> bytes:
        return bytes.fromhex(self.base.manifest.proposal.root)


@dataclass
class Round:
    """One window's state of affairs.

    `control`: the control gradient in the codec; `pledges`: the members' commits; `received` and
    `refused`: what came of each member; `is_witness`: whether everything was read in time, so
    that this node may say what it saw; `queue`: hotkeys still to audit, in order; `losses`: what
    audits recomputed, in nats per token.
    """

    duty: Duty
    council: Council
    chosen: Slice
    control: bytearray
    received: dict[str, Received] = field(default_factory=dict)
    pledges: dict[str, Pledge] = field(default_factory=dict)
    refused: dict[str, Rejection] = field(default_factory=dict)
    is_witness: bool = False
    queue: list[str] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def window(self) -> int:
        return self.duty.window

    @property
    def base(self) -> Held:
        return self.duty.base

    @property
    def members(self) -> Mapping[str, Peer]:
        return self.duty.members

    @property
    def pages(self) -> Mapping[str, tuple[int, ...]]:
        return self.duty.pages


async def assign(node: Node, window: int) -> Duty:
    """The window's members and pages, as soon as it is open; the state must stand at its base."""
    members, pages = await assigned(node, window)
    return Duty(window, node.manifests[node.worker.state.position.head], members, pages)


async def assigned(
    node: Node, window: int
) -> tuple[Mapping[str, Peer], Mapping[str, tuple[int, ...]]]:
    """The members of a window that is open, and everybody's pages."""
    block = node.clock.open(window)
    open_hash = await node.blocks.hash(block)
    peers = miners(await node.councils.peers(block))
    pages = node.schedule.assign(window, open_hash, [peer.hotkey for peer in peers])
    members = {peer.hotkey: peer for peer in peers if pages[peer.hotkey]}
    return members, pages


async def chosen_in(node: Node, window: int) -> Slice:
    """The slice that the window's closing block names."""
    return select(node.worker.state.layout, await node.blocks.hash(node.clock.close(window)))


async def open_round(node: Node, duty: Duty) -> Round:
    """The round of a window, as soon as it has closed.

    The control gradient is computed while the miners train: it needs no upload, and the moment
    after the deadline belongs to the newcomers' audits.
    """
    gradient = await node.worker.delta(node.schedule.control(duty.window))
    chosen = await chosen_in(node, duty.window)
    control = await in_codec(node, chosen, gradient)
    return Round(duty, await node.councils.at(duty.window), chosen, control)


async def in_codec(node: Node, chosen: Slice, gradient: Delta) -> bytearray:
    """The slice of a gradient as it would travel."""
    codec = node.run.exchange.codec
    return await node.worker.run(lambda: codec.encode(chosen.gather(gradient.tensors)))


def reopen(node: Node, received: Received) -> Opened | Rejection:
    """Open an ingested object from disk."""
    return open_object(received.path.read_bytes(), received.known, node.verify)


def blocks(received: Received) -> Iterator[Floats]:
    """The values of an ingested delta, BLOCK at a time, so that it is never in memory as a whole.

    Raises: BoltzmannError at the end if they are not what was checked.
    """
    known, digest = received.known, hashlib.sha256()
    with received.path.open("rb") as file:
        digest.update(file.read(known.body_start))
        for _ in range(0, known.values, BLOCK):
            data = file.read(BLOCK * known.codec.width)
            digest.update(data)
            yield known.codec.decode(data)
    if digest.hexdigest() != received.sha256:
        raise BoltzmannError(
            f"{received.path} changed after it was checked: let no other program write there"
        )
