"""One window as a validator sees it: who was assigned what, what arrived, what is left to audit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boltzmann.errors import BoltzmannError
from boltzmann.node.councils import Council
from boltzmann.node.manifests import Held
from boltzmann.node.membership import Peer, miners
from boltzmann.node.node import Node
from boltzmann.protocol.aggregate import BLOCK
from boltzmann.protocol.points import Points, draw
from boltzmann.protocol.receipts import Receipt, Verdict
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.reveal import Pledge
from boltzmann.protocol.slices import Slice, select
from boltzmann.protocol.spot import OnPage
from boltzmann.protocol.wire import Expected, Opened, open_object
from boltzmann.train.gradients import Delta

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


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
    """What a window asks of whom. `base`: the manifest whose state its miners train on; `is_late`:
    whether this node stood there so late that some may have begun without it."""

    window: int
    base: Held
    members: Mapping[str, Peer]
    pages: Mapping[str, tuple[int, ...]]
    is_late: bool = False

    @property
    def base_root(self) -> bytes:
        return bytes.fromhex(self.base.manifest.proposal.root)


@dataclass(frozen=True)
class Task:
    """One audit to do. `page`: the place of the one page to recompute, None for all of them;
    `accuser`: the validator whose failed audit is looked at again, if it is one."""

    hotkey: str
    page: int | None = None
    accuser: str = ""


@dataclass(frozen=True)
class Alarm:
    """A failed audit that another validator tells of; `sha256`: of what it audited, if known."""

    witness: str
    verdict: Verdict
    sha256: str = field(default="", compare=False)


@dataclass
class Round:
    """One window's state of affairs.

    `control`: the control gradient's slice in the codec, empty when it was let go;
    `control_points`: its values on the audit points `[points] float32`; `pledges`: the members'
    commits; `received` and `refused`: what came of each member; `is_witness`: whether everything
    was read in time, so that this node may say what it saw; `queue`: audits still to do, in order;
    `losses`: what they recomputed, in nats per token; `passed` and `failed`: whose work an audit
    passed, and what audits failed; `told`: how many of those this node has told the others of;
    `unpaid`: who gets nothing for this window; `receipts` by witness, once they are read;
    `alarms`: failed audits of others, of this window or earlier ones, to be looked at; `open`: full
    audits of the trusted whose spot audit did not tell, for when all others are done; `watched`:
    who is in debt and for this node to look at; `credited`: what the window has earned whom;
    `decide_hash`: of its deciding block, which draws who looks at whom, empty before;
    `is_concluded`: whether it has been paid and told of, which comes once only; `behind`: those of
    its members who worked on the state before a late base, as a round of their own.
    """

    duty: Duty
    council: Council
    chosen: Slice
    points: Points
    control: bytearray = field(default_factory=bytearray)
    control_points: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    received: dict[str, Received] = field(default_factory=dict)
    pledges: dict[str, Pledge] = field(default_factory=dict)
    refused: dict[str, Rejection] = field(default_factory=dict)
    is_witness: bool = False
    queue: list[Task] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)
    failed: list[Verdict] = field(default_factory=list)
    told: int = 0
    unpaid: set[str] = field(default_factory=set)
    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    open: list[Task] = field(default_factory=list)
    watched: set[str] = field(default_factory=set)
    credited: dict[str, float] = field(default_factory=dict)
    decide_hash: bytes = b""
    is_concluded: bool = False
    behind: Round | None = None

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

    @cached_property
    def meeting(self) -> tuple[Indices, Indices]:
        """Where points and slice meet: see `Points.meet`."""
        return self.points.meet(self.chosen)

    @property
    def untold(self) -> Sequence[Verdict]:
        """The failed audits that this node has told nobody of."""
        return self.failed[self.told :]

    def count_as_told(self) -> None:
        """All failed audits so far are in a document of this node's, or about to be."""
        self.told = len(self.failed)

    def set_control(self, node: Node, gradient: Delta) -> None:
        """In the worker's thread: hold the control gradient as audits need it."""
        codec = node.run.exchange.codec
        self.control = codec.encode(gradient.on_slice(self.chosen))
        self.control_points = codec.roundtrip(gradient.on_points(self.points))


async def assign(node: Node, window: int, *, is_late: bool = False) -> Duty:
    """The window's members and pages, as soon as it is open; the state must stand at its base."""
    members, pages = await assigned(node, window)
    base = node.manifests[node.worker.state.position.head]
    return Duty(window, base, members, pages, is_late)


def with_behind(rounds: Iterable[Round]) -> tuple[Round, ...]:
    """These rounds, each after what was behind it."""
    return tuple(part for this in rounds for part in (this.behind, this) if part is not None)


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


async def points_of(node: Node, window: int) -> Points:
    """The audit points that the window's opening block names."""
    open_hash = await node.blocks.hash(node.clock.open(window))
    return draw(node.worker.state.layout, open_hash, node.run.audit.points)


async def open_round(node: Node, duty: Duty) -> Round:
    """The round of a window, as soon as it has closed.

    The control gradient is computed while the miners train: it needs no upload, and the moment
    after the deadline belongs to the newcomers' audits.
    """
    gradient = await node.worker.delta(node.schedule.control(duty.window))
    chosen, points = await chosen_in(node, duty.window), await points_of(node, duty.window)
    this = Round(duty, await node.councils.at(duty.window), chosen, points)
    await node.worker.run(lambda: this.set_control(node, gradient))
    return this


def on_page(node: Node, this: Round, gradient: Delta, pages: int) -> OnPage:
    """One page's gradient as the share of a delta of so many pages, as it would travel."""
    codec, part = node.run.exchange.codec, np.float32(1.0 / pages)
    return OnPage(
        codec.roundtrip(gradient.shares[0] * part),
        codec.roundtrip(gradient.on_slice(this.chosen) * part),
    )


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
        for start in range(0, known.values, BLOCK):
            data = file.read(min(BLOCK, known.values - start) * known.codec.width)
            digest.update(data)
            yield known.codec.decode(data)
        digest.update(file.read())  # the pages' shares
    if digest.hexdigest() != received.sha256:
        raise BoltzmannError(
            f"{received.path} changed after it was checked: let no other program write there"
        )
