"""One window as a validator sees it: who was assigned what, what arrived, what is left to audit."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boltzmann.errors import BoltzmannError
from boltzmann.node.membership import Peer, miners, peers_at
from boltzmann.node.node import Node
from boltzmann.node.objects import delta_key, expected
from boltzmann.protocol.aggregate import BLOCK, norm_of_blocks
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.slices import Slice, select
from boltzmann.protocol.wire import Expected, Kind, Opened, check_object, open_object

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


@dataclass
class Round:
    """One window's state of affairs.

    `queue`: hotkeys still to audit, in order; `control`: the control gradient in the codec;
    `losses`: what audits recomputed, in nats per token.
    """

    window: int
    members: Mapping[str, Peer]
    pages: Mapping[str, tuple[int, ...]]
    chosen: Slice
    control: bytearray
    received: dict[str, Received] = field(default_factory=dict)
    queue: list[str] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


async def open_round(node: Node, window: int) -> Round:
    """The window's assignment and slice, as soon as it has closed.

    The control gradient is computed while the miners train: it needs no upload, and the moment
    after the deadline belongs to the newcomers' audits.
    """
    clock = node.clock
    open_hash = await node.blocks.hash(clock.open(window))
    members = miners(await peers_at(node.chain, node.run.run.id, clock.open(window)))
    assignment = node.schedule.assign(window, open_hash, [peer.hotkey for peer in members])
    gradient = await node.worker.delta(node.schedule.control(window))
    chosen = select(node.worker.state.layout, await node.blocks.hash(clock.close(window)))
    codec = node.run.exchange.codec
    control = await node.worker.run(lambda: codec.encode(chosen.gather(gradient.tensors)))
    return Round(
        window=window,
        members={peer.hotkey: peer for peer in members if assignment[peer.hotkey]},
        pages=assignment,
        chosen=chosen,
        control=control,
    )


async def ingest(node: Node, this: Round) -> dict[str, Rejection]:
    """Fetch every member's delta once, to disk; who was refused, and why.

    What was fetched stays as it was then: a later overwrite changes nothing.
    """
    folder = node.folder / "ingest" / str(this.window)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.iterdir():
        if old.name.isdecimal() and int(old.name) < this.window - 1:
            shutil.rmtree(old, ignore_errors=True)
    results = await asyncio.gather(
        *(_ingest_one(node, this, peer, folder) for peer in this.members.values())
    )
    refused: dict[str, Rejection] = {}
    for hotkey, result in zip(this.members, results, strict=True):
        if isinstance(result, Rejection):
            refused[hotkey] = result
        else:
            this.received[hotkey] = result
    return refused


async def _ingest_one(node: Node, this: Round, peer: Peer, folder: Path) -> Received | Rejection:
    root = node.worker.state.position.root
    known = expected(node.run, Kind.DELTA, peer.hotkey, this.window, root, this.chosen)
    path = folder / f"{peer.neuron.uid}.delta"
    if not path.exists():
        refusal = await asyncio.to_thread(
            node.store.download,
            peer.bucket,
            delta_key(node.run.run.id, this.window),
            path,
            exact_bytes=known.object_bytes,
            seconds=node.fetch_seconds,
        )
        if refusal is not None:
            return refusal
    # One at a time: each is read as a whole.
    return await node.worker.run(lambda: _check(node, path, known))


def _check(node: Node, path: Path, known: Expected) -> Received | Rejection:
    data = path.read_bytes()
    checked = check_object(data, known, node.verify)
    if isinstance(checked, Rejection):
        return checked
    norm = norm_of_blocks(known.codec.pieces(memoryview(data)[known.body_start :], BLOCK))
    return Received(path, known, checked.sha256, checked.header.tokens, norm)


def reopen(node: Node, path: Path, known: Expected) -> Opened | Rejection:
    """Open an ingested object from disk."""
    return open_object(path.read_bytes(), known, node.verify)


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
