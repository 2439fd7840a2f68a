"""Reading what the members published: their commits first, then the deltas these name.

Each object is read once, to disk: what a bucket shows later changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from boltzmann.node.membership import Peer
from boltzmann.node.node import Node
from boltzmann.node.objects import commit_key, delta_key, expected
from boltzmann.node.outbox import make_folder, write_whole
from boltzmann.node.round import Duty, Received, Round, chosen_in
from boltzmann.node.stages import Stage
from boltzmann.protocol.arrival import arrive
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.reveal import MAX_COMMIT_BYTES, Pledge, open_commit
from boltzmann.protocol.slices import Slice
from boltzmann.protocol.wire import Expected, Kind

T = TypeVar("T")
_ALL = 1.5  # how much longer than one read all of them may take


@dataclass(frozen=True)
class Collected:
    """What was read of the members by the deadlines.

    `pledges`: by hotkey, or why there is none; `missing`: why a delta that was pledged is not on
    this node's disk; `in_time`: whether all was read when it should be.
    """

    pledges: Mapping[str, Pledge | Rejection]
    missing: Mapping[str, Rejection]
    in_time: bool


def fetch_seconds(clock: WindowClock, block_time: float) -> float:
    """Half the time there is to read and audit a window's deltas, and never under two seconds.

    It bounds the read of one object: a bucket that answers at a trickle must not keep the
    newcomers' audits waiting. `block_time` in seconds.
    """
    return max(2.0, max(1, clock.receipt_blocks) * block_time / 2)


async def collect(node: Node, duty: Duty) -> Collected:
    """Read the commits at their deadline and the deltas at theirs, whatever else is going on.

    Runs beside the audits and gradients of the same node, which must not make it miss a deadline:
    who reads too late has not seen for itself, and is no witness of the window.
    """
    clock, window = node.clock, duty.window
    await node.blocks.until(clock.commit_by(window))
    with node.stage(Stage.PLEDGES, window):
        pledges, in_time = await _read_pledges(node, duty)
    await node.blocks.until(clock.upload_by(window))
    in_time = in_time and node.blocks.latest < clock.upload_by(window) + max(
        1, clock.receipt_blocks
    )
    with node.stage(Stage.INGEST, window):
        chosen = await chosen_in(node, window)
        results = await _of_each(
            node, duty, lambda peer: _download(node, duty, peer, pledges[peer.hotkey], chosen)
        )
    missing = {hotkey: why for hotkey, why in results.items() if why is not None}
    return Collected(pledges, missing, in_time)


async def _of_each(
    node: Node, duty: Duty, read: Callable[[Peer], Coroutine[None, None, T | Rejection]]
) -> dict[str, T | Rejection]:
    """What a read of each member's bucket comes to, by hotkey; SLOW where it took too long.

    Those whose deltas are in the last update come first: buckets of newcomers that never answer
    take up threads, and must neither keep the others waiting nor hold up the receipt.
    """
    entered = {entry.hotkey for entry in duty.base.manifest.proposal.accepted}
    peers = sorted(
        duty.members.values(), key=lambda peer: (peer.hotkey not in entered, peer.hotkey)
    )
    tasks = {peer.hotkey: asyncio.create_task(read(peer)) for peer in peers}
    try:
        if tasks:
            await asyncio.wait(tasks.values(), timeout=_ALL * node.fetch_seconds)
    finally:
        left = [task for task in tasks.values() if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    late = Rejection(Reason.SLOW, "its turn to be read did not come or did not end in time")
    return {h: late if task.cancelled() else task.result() for h, task in tasks.items()}


async def ingest(node: Node, this: Round, collected: Collected) -> None:
    """Check what was read; `this` then says what came of each member."""
    this.is_witness = collected.in_time
    for hotkey, peer in this.members.items():
        pledge = collected.pledges[hotkey]
        if isinstance(pledge, Rejection):
            this.refused[hotkey] = collected.missing.get(hotkey, pledge)
            continue
        this.pledges[hotkey] = pledge
        received = collected.missing.get(hotkey) or await _as_pledged(node, this, peer, pledge)
        if isinstance(received, Rejection):
            this.refused[hotkey] = received
        else:
            this.received[hotkey] = received


async def _as_pledged(node: Node, this: Round, peer: Peer, pledge: Pledge) -> Received | Rejection:
    received = await _checked(node, this, peer, delta_path(node, this.window, peer))
    if isinstance(received, Received) and received.sha256 != pledge.sha256:
        detail = f"{received.sha256[:12]}, committed {pledge.sha256[:12]}"
        return Rejection(Reason.BAD_COMMIT, detail)
    return received


async def _read_pledges(node: Node, duty: Duty) -> tuple[Mapping[str, Pledge | Rejection], bool]:
    """What each member has committed to, and whether it was read in time.

    What was read in time is written down, so that a restart does not take a later commit for an
    early one.
    """
    _forget_before(node, duty.window - 1)
    path = _folder(node, duty.window) / "commits.json"
    make_folder(path.parent)
    if path.exists():
        return _unspelled(path.read_text()), True
    in_time = node.blocks.latest < node.clock.upload_by(duty.window)
    pledges = await _of_each(node, duty, lambda peer: read_pledge(node, duty, peer))
    if in_time:
        write_whole(path, _spelled(pledges).encode())
    return pledges, in_time


async def read_pledge(node: Node, duty: Duty, peer: Peer) -> Pledge | Rejection:
    """What a member has committed to, as its bucket shows it now."""
    data = await asyncio.to_thread(
        node.store.get,
        peer.bucket,
        commit_key(node.run.run.id, duty.window),
        max_bytes=MAX_COMMIT_BYTES,
        seconds=node.fetch_seconds,
    )
    if isinstance(data, Rejection):
        absent = data.reason is Reason.ABSENT
        return Rejection(Reason.UNCOMMITTED, data.detail) if absent else data
    return open_commit(data, node.run.run.id, duty.window, peer.hotkey, node.verify)


def _spelled(pledges: Mapping[str, Pledge | Rejection]) -> str:
    rows = {
        hotkey: ["pledge", answer.sha256, answer.signature]
        if isinstance(answer, Pledge)
        else ["refused", answer.reason.value, answer.detail]
        for hotkey, answer in pledges.items()
    }
    return json.dumps(rows)


def _unspelled(text: str) -> dict[str, Pledge | Rejection]:
    return {
        hotkey: Pledge(*row) if kind == "pledge" else Rejection(Reason(row[0]), row[1])
        for hotkey, (kind, *row) in json.loads(text).items()
    }


async def _download(
    node: Node, duty: Duty, peer: Peer, pledge: Pledge | Rejection, chosen: Slice
) -> Rejection | None:
    """A member's delta to disk, unless it is there; None when it is."""
    if isinstance(pledge, Rejection):
        # Nothing at all is an absence, a delta without its commit a breach of the rule.
        return Rejection(Reason.ABSENT) if await _is_idle(node, duty, peer, pledge) else pledge
    path = delta_path(node, duty.window, peer)
    return None if path.exists() else await _fetch(node, duty, peer, chosen, path)


async def _is_idle(node: Node, duty: Duty, peer: Peer, pledge: Rejection) -> bool:
    """Whether a member without a commit sent no delta either."""
    if pledge.reason is not Reason.UNCOMMITTED:
        return False
    found = await asyncio.to_thread(
        node.store.get,
        peer.bucket,
        delta_key(node.run.run.id, duty.window),
        max_bytes=0,  # whether it is there is all that counts
        seconds=node.fetch_seconds,
    )
    return isinstance(found, Rejection) and found.reason is Reason.ABSENT


async def fetch_delta(node: Node, this: Round, peer: Peer) -> Received | Rejection:
    """A member's delta as its bucket shows it now, unless it is on this node's disk."""
    path = delta_path(node, this.window, peer)
    if not path.exists():
        refusal = await _fetch(node, this.duty, peer, this.chosen, path)
        if refusal is not None:
            return refusal
    return await _checked(node, this, peer, path)


async def fetch_exact(node: Node, this: Round, peer: Peer, sha256: str) -> Received | None:
    """The delta of a member whose object has this sha256, if its bucket shows that one now."""
    path = _folder(node, this.window) / f"{peer.neuron.uid}.{sha256[:16]}.delta"
    if await _fetch(node, this.duty, peer, this.chosen, path) is not None:
        return None
    received = await _checked(node, this, peer, path)
    return received if isinstance(received, Received) and received.sha256 == sha256 else None


async def _fetch(node: Node, duty: Duty, peer: Peer, chosen: Slice, path: Path) -> Rejection | None:
    make_folder(path.parent)
    return await asyncio.to_thread(
        node.store.download,
        peer.bucket,
        delta_key(node.run.run.id, duty.window),
        path,
        exact_bytes=_expected(node, duty, peer, chosen).object_bytes,
        seconds=node.fetch_seconds,
    )


def _expected(node: Node, duty: Duty, peer: Peer, chosen: Slice) -> Expected:
    return expected(node.run, Kind.DELTA, peer.hotkey, duty.window, duty.base_root, chosen)


async def _checked(node: Node, this: Round, peer: Peer, path: Path) -> Received | Rejection:
    known = _expected(node, this.duty, peer, this.chosen)
    # One at a time: each is read as a whole.
    return await node.worker.run(lambda: _check(node, this, path, known))


def _check(node: Node, this: Round, path: Path, known: Expected) -> Received | Rejection:
    arrived = arrive(path.read_bytes(), known, this.meeting, node.verify)
    if isinstance(arrived, Rejection):
        return arrived
    checked = arrived.checked
    return Received(path, known, checked.sha256, checked.header.tokens, arrived.norm)


def delta_path(node: Node, window: int, peer: Peer) -> Path:
    """Where this node keeps a member's delta."""
    return _folder(node, window) / f"{peer.neuron.uid}.delta"


def _folder(node: Node, window: int) -> Path:
    """Where a window's objects lie."""
    return node.folder / "ingest" / str(window)


def _forget_before(node: Node, window: int) -> None:
    for old in (node.folder / "ingest").glob("*"):
        if old.name.isdecimal() and int(old.name) < window:
            shutil.rmtree(old, ignore_errors=True)
