"""A miner or a leader at full model size, in a process of its own, measured window by window.

Worker, store, journal and sr25519 keys are the real ones, and so are the functions that are timed;
the chain is a script, so that no time goes into waiting for blocks, and there is no training:
prepared arrays stand for what it leaves behind, the miner's dense gradient and the slice of the
leader's control gradient. They are counted as input; what a leader keeps of the latter through the
window, its encoding, is not: it counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.exchange_case import (
    GENESIS,
    LEADER,
    MINER,
    MODELS,
    Committed,
    ScriptedChain,
    SeedKeys,
    run_config,
)
from benchmarks.exchange_figures import Events, Figures, resident
from boltzmann.chain.keys import verify
from boltzmann.node.blocks import Blocks
from boltzmann.node.book import Book
from boltzmann.node.conduct import Honest
from boltzmann.node.follow import follow
from boltzmann.node.laps import Laps
from boltzmann.node.membership import miners, peers_at
from boltzmann.node.miner import make_delta, offer
from boltzmann.node.node import Node
from boltzmann.node.outbox import Outbox
from boltzmann.node.propose import propose
from boltzmann.node.round import Round, ingest
from boltzmann.ports import TokenBatch
from boltzmann.protocol.rewards import passed
from boltzmann.protocol.slices import select
from boltzmann.store.s3 import S3Store
from boltzmann.train.gradients import Delta

Floats = NDArray[np.float32]

_FILL = 1 << 22  # coordinates filled at a time
_SEALS = ("select", "gather", "encode", "seal", "journal")
_PROPOSES = ("aggregate", "encode", "apply", "seal", "journal", "publish")


@dataclass(frozen=True)
class Case:
    """One model on one S3 server. `endpoint` and `keys` are for writing; `buckets`: the public
    address by node name."""

    model: str
    endpoint: str
    keys: tuple[str, str]
    buckets: Mapping[str, str]
    windows: int
    folder: Path


@dataclass(frozen=True)
class DeltasWanted:
    """A leader's wish: the peers' deltas of a window, which trained on the state at `root`."""

    window: int
    root: bytes


@dataclass(frozen=True)
class Outcome:
    """A process's last word: what it measured, and which manifests the chain holds."""

    figures: Figures
    committed: Sequence[Committed]


class Prepared(Honest):
    """An honest miner whose training is over."""

    def __init__(self, gradient: tuple[Floats, ...]) -> None:
        self._delta = Delta(gradient, loss=1.0, tokens=1, norm=1.0)

    async def train(self, node: Node, pages: tuple[int, ...]) -> Delta | None:
        return self._delta


def run_miner(case: Case, committed: Sequence[Committed], pipe: Connection) -> None:
    """Sends the Outcome of a miner that follows the windows a leader published."""
    asyncio.run(_mine(case, committed, pipe))


def run_leader(case: Case, committed: Sequence[Committed], pipe: Connection) -> None:
    """Sends DeltasWanted and waits for an answer before each window; at last the Outcome."""
    asyncio.run(_lead(case, committed, pipe))


async def _mine(case: Case, committed: Sequence[Committed], pipe: Connection) -> None:
    chain, events = ScriptedChain(case.buckets, list(committed)), Events()
    async with _open_node(case, MINER, chain, events) as node:
        clock, layout = node.clock, node.worker.state.layout
        conduct = Prepared(tuple(_random(size, seed) for seed, size in enumerate(layout.sizes)))
        figures = Figures(resident(), layout.max_slice)
        for window in range(1, case.windows + 1):
            await _reach(node, chain, clock.close(window))
            total = await _mine_window(node, chain, conduct, window, figures)
            root = node.worker.state.position.root
            figures.add(_miner_phases(events.seconds), total, root)
            node.outbox.forget_before(window)
        pipe.send(Outcome(figures, committed))


async def _mine_window(
    node: Node, chain: ScriptedChain, conduct: Prepared, window: int, figures: Figures
) -> float:
    """The node's own work of one window, from the closing block on; its seconds."""
    started = time.monotonic()
    with figures.step("seal"):
        work = await make_delta(node, conduct, window)
    if work is None:
        raise RuntimeError("the miner was assigned nothing")
    with figures.step("upload"):
        await offer(node, window, work)
    offered = time.monotonic()
    del work  # as `mine_window` does on return
    await _reach(node, chain, node.clock.decide(window))
    resumed = time.monotonic()
    with figures.step("follow"):
        missing = await follow(node, window)
    if missing is not None or node.worker.state.position.window != window:
        raise RuntimeError(f"window {window} was not applied: {missing}")
    return offered - started + time.monotonic() - resumed


def _miner_phases(seconds: Mapping[str, float]) -> dict[str, float]:
    return {
        **{phase: seconds[f"sealed.{phase}"] for phase in _SEALS},
        "upload": seconds["window.upload"],
        "fetch": seconds["applied.fetch"],
        "open": seconds["applied.open"],
        "apply": seconds["applied.apply"],
    }


async def _lead(case: Case, committed: Sequence[Committed], pipe: Connection) -> None:
    chain, events = ScriptedChain(case.buckets, list(committed)), Events()
    async with _open_node(case, LEADER, chain, events) as node:
        state, rewards = node.worker.state, node.run.rewards
        book = Book(node.folder / "standings.json")
        book.enrol(n for n in await chain.neurons(0) if not n.permit)
        for hotkey in book.standings:
            book[hotkey] = passed(book[hotkey], rewards, 0, score=1.0, gate=1.0, norm=0.1)
        control = _random(state.layout.max_slice, seed=1)
        figures = Figures(resident(), state.layout.max_slice)
        for window in range(1, case.windows + 1):
            await _reach(node, chain, node.clock.upload_by(window))
            pipe.send(DeltasWanted(window, state.position.root))
            pipe.recv()
            laps, total = await _lead_window(node, book, window, control, figures)
            own = {phase: events.seconds[f"proposed.{phase}"] for phase in _PROPOSES}
            figures.add({**laps.seconds, **own}, total, state.position.root)
            node.outbox.forget_before(window)
        pipe.send(Outcome(figures, chain.committed))


async def _lead_window(
    node: Node, book: Book, window: int, control: Floats, figures: Figures
) -> tuple[Laps, float]:
    """The leader's work of one window, from the upload deadline on: phases, seconds in all."""
    started, laps = time.monotonic(), Laps()
    this = await _open_round(node, window, control)
    laps.end("select")
    with figures.step("ingest"):
        refused = await ingest(node, this)
    laps.end("fetch, check")
    with figures.step("propose"):
        proposal = await propose(node, book, this)
    if refused or proposal is None or len(proposal.accepted) != len(this.members):
        raise RuntimeError(f"not everything was accepted: {refused}")
    return laps, time.monotonic() - started


async def _open_round(node: Node, window: int, control: Floats) -> Round:
    """As `boltzmann.node.round.open_round`, but without training for the control gradient."""
    peers = miners(await peers_at(node.chain, node.run.run.id, node.clock.open(window)))
    chosen = select(node.worker.state.layout, await node.blocks.hash(node.clock.close(window)))
    held = node.run.exchange.codec.encode(control[: chosen.size])
    return Round(window, {peer.hotkey: peer for peer in peers}, {}, chosen, held)


@asynccontextmanager
async def _open_node(
    case: Case, name: str, chain: ScriptedChain, events: Events
) -> AsyncIterator[Node]:
    """The named node with the run's initial state, the same in every process."""
    from boltzmann.node.worker import Worker, pick_device
    from boltzmann.train.model import parameter_shapes
    from boltzmann.train.state import ModelState

    run, folder = run_config(MODELS[case.model]), case.folder / name
    shapes = parameter_shapes(run.model)
    state = ModelState(run.layout(shapes), shapes, run.outer, folder / "undo", run.exchange.history)
    _fill(state.theta, seed=0)
    state.reset(state.parameters, GENESIS, 0)
    store = S3Store(case.endpoint, name, *case.keys, public_url=case.buckets[name])
    store.check()
    blocks = Blocks(chain, events)
    await blocks.start()
    worker = Worker(run, state, _no_pages, pick_device("cpu"))
    try:
        yield Node(
            run=run,
            keys=SeedKeys(name),
            verify=verify,
            chain=chain,
            blocks=blocks,
            store=store,
            schedule=run.schedule(1_000_000),
            worker=worker,
            outbox=Outbox(folder / "outbox"),
            telemetry=events,
            folder=folder,
            fetch_seconds=60.0,
        )
    finally:
        await blocks.close()
        worker.close()


async def _reach(node: Node, chain: ScriptedChain, block: int) -> None:
    chain.advance(block)
    await node.blocks.until(block)


def _no_pages(pages: Sequence[int]) -> AbstractContextManager[Iterator[TokenBatch]]:
    raise NotImplementedError("nothing is trained here")


def _random(size: int, seed: int) -> Floats:
    values = np.empty(size, np.float32)
    _fill(values, seed)
    return values


def _fill(values: Floats, seed: int) -> None:
    """Numbers of a weight's or a clipped gradient's size, in place and touching every page."""
    random = np.random.default_rng(seed)
    for start in range(0, len(values), _FILL):
        part = values[start : start + _FILL]
        random.random(out=part, dtype=np.float32)
        part -= np.float32(0.5)
        part *= np.float32(1e-4)
