"""The miner: one window after another, readable top to bottom."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from boltzmann.node.conduct import Conduct, Offer
from boltzmann.node.endure import forever
from boltzmann.node.follow import join_window
from boltzmann.node.keepsake import keep_state, tidy
from boltzmann.node.laps import Laps
from boltzmann.node.membership import miners
from boltzmann.node.node import Node
from boltzmann.node.objects import commit_key, delta_key, expected
from boltzmann.node.publish import publish
from boltzmann.node.round import points_of
from boltzmann.node.stages import Stage
from boltzmann.protocol.codec import Codec
from boltzmann.protocol.documents import digest
from boltzmann.protocol.reveal import seal_commit
from boltzmann.protocol.slices import select
from boltzmann.protocol.wire import Kind, seal

_SENT = "sent"  # in the journal: the bucket has this window's delta


@dataclass(frozen=True)
class Work:
    """What a window's work came to. `loss` is None where the sealed bytes are from the journal."""

    sealed: bytes
    loss: float | None
    tokens: int
    seconds: dict[str, float]


async def mine(node: Node, conduct: Conduct) -> None:
    """Take part in every window until cancelled."""

    async def one_window() -> None:
        window = (await join_window(node, node.clock.upload_by, by_majority=True)).window
        tidy(node, window)
        await keep_state(node, window)
        await mine_window(node, conduct, window)

    await forever(node, one_window)


async def mine_window(node: Node, conduct: Conduct, window: int) -> None:
    """Train on the assigned pages; commit to the slice that the closing block names; reveal it."""
    kept = node.outbox.find(window, "delta")
    done = node.outbox.has(window, _SENT)
    work = Work(kept, None, 0, {}) if kept else await make_delta(node, conduct, window)
    if work is not None and not done:
        if await commit(node, window, work):
            await node.blocks.until(node.clock.reveal_at(window))
            await reveal(node, window, work)
        else:
            # Beside a commit to other bytes a delta counts as forged; none at all only as absent.
            _tell(node, window, work, sent=False, seconds=0.0)
    await node.blocks.until(node.clock.upload_by(window))


async def make_delta(node: Node, conduct: Conduct, window: int) -> Work | None:
    """The sealed delta of this window, written to the journal; None if there is none to send."""
    clock = node.clock
    open_hash = await node.blocks.hash(clock.open(window))
    members = miners(await node.councils.peers(clock.open(window)))
    hotkeys = [member.hotkey for member in members]
    pages = node.schedule.assign(window, open_hash, hotkeys).get(node.hotkey, ())
    if not pages:
        node.telemetry.event("unassigned", window=window, members=len(members))
        return None
    training = Laps()
    with node.stage(Stage.TRAIN, window):
        delta = await conduct.train(node, pages, await points_of(node, window))
    training.end("train")
    if delta is None:
        return None
    close_hash = await node.blocks.hash(clock.close(window))
    laps = Laps()
    chosen = select(node.worker.state.layout, close_hash)
    laps.end("select")
    offer = await conduct.offer(node, window, chosen, delta, members)
    if offer is None:
        return None
    laps.end("gather")
    root = node.worker.state.position.root
    known = expected(node.run, Kind.DELTA, node.hotkey, window, root, chosen)
    body = await node.worker.run(partial(_encode, node.run.exchange.codec, offer))
    del offer  # twice the body's size, and not needed beside the sealed bytes
    laps.end("encode")
    sealed = await node.worker.run(partial(seal, known, delta.tokens, body, node.keys.sign))
    laps.end("seal")
    with node.stage(Stage.SEAL, window):
        node.outbox.keep(window, "delta", sealed)
    laps.end("journal")
    node.telemetry.event("sealed", window=window, seconds=laps.seconds)
    return Work(sealed, delta.loss, delta.tokens, {**training.seconds, "encode": laps.total})


def _encode(codec: Codec, offer: Offer) -> bytearray:
    body = codec.encode(offer.values)
    body += codec.encode(offer.shares.reshape(-1))
    return body


async def commit(node: Node, window: int, work: Work) -> bool:
    """Make the delta's sha256 public, before anybody can read the delta itself. Whether it is."""
    sealed = node.outbox.find(window, "commit")
    if sealed is None:
        sha256 = digest(work.sealed)
        sealed = seal_commit(node.run.run.id, window, sha256, node.hotkey, node.keys.sign)
        node.outbox.keep(window, "commit", sealed)
    with node.stage(Stage.COMMIT, window):
        key = commit_key(node.run.run.id, window)
        return await publish(node, key, sealed, before=node.clock.upload_by(window))


async def reveal(node: Node, window: int, work: Work) -> None:
    """Upload the sealed delta, again and again until the deadline if the bucket is silent."""
    started = time.monotonic()
    with node.stage(Stage.UPLOAD, window):
        key = delta_key(node.run.run.id, window)
        sent = await publish(node, key, work.sealed, before=node.clock.upload_by(window))
    if sent:
        node.outbox.keep(window, _SENT, b"")
    _tell(node, window, work, sent=sent, seconds=time.monotonic() - started)


def _tell(node: Node, window: int, work: Work, *, sent: bool, seconds: float) -> None:
    """What the window came to; `seconds`: how long the upload took."""
    train, gauge = work.seconds.get("train"), node.worker.gauge
    figures = gauge.read(work.tokens, train) if gauge and train is not None else {}
    node.telemetry.event(
        "window",
        window=window,
        root=node.worker.state.position.root.hex(),
        loss=work.loss,
        tokens=work.tokens,
        sample_rate=float(sent),
        **figures,
        seconds={**work.seconds, "upload": seconds},
        bytes_up=len(work.sealed) if sent else 0,
        bytes_down=0,
        accepted=None,
    )
