"""A miner or a leader at full model size, in a process of its own, measured window by window.

Worker, store, journal and sr25519 keys are the real ones, and so are the functions that are timed;
the chain is a script, so that no time goes into waiting for blocks, and there is no training:
prepared arrays stand for what it leaves behind, the miner's dense gradient and the slice of the
leader's control gradient, and a prepared number for the held-out loss. The arrays are counted as
input; what a leader keeps of the control gradient through the window, its encoding, is not: it
counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.exchange_begin import LEADER, MINER, Floats, begin, noise, take_over
from benchmarks.exchange_figures import Figures, StageTimes
from benchmarks.nodes import Events, open_node, reach, resident
from benchmarks.runs import run_config
from benchmarks.scripted import Member, Ordered, ScriptedChain
from benchmarks.servers import Place
from boltzmann.config import RunConfig
from boltzmann.node.agree import agree
from boltzmann.node.book import Book
from boltzmann.node.conduct import Honest, spread
from boltzmann.node.follow import follow
from boltzmann.node.ingest import collect, ingest
from boltzmann.node.miner import commit, make_delta, reveal
from boltzmann.node.node import Node
from boltzmann.node.round import Duty, Round, assign, points_of
from boltzmann.node.stages import Stage
from boltzmann.node.witness import publish_receipt
from boltzmann.node.worker import Worker
from boltzmann.protocol.points import Points
from boltzmann.protocol.receipts import Verdict
from boltzmann.protocol.slices import select
from boltzmann.train.gradients import Delta

PEERS = 8
_SEALS = ("select", "gather", "encode", "seal", "journal")
_PROPOSES = ("aggregate", "encode", "apply", "journal", "publish")
_AGREES = (Stage.VOTE, Stage.MIRROR, Stage.CERTIFY, Stage.ORDER)


@dataclass(frozen=True)
class Case:
    """One model on one S3 server, and who is registered, by name."""

    model: str
    place: Place
    members: Mapping[str, Member]
    windows: int
    folder: Path

    @property
    def run(self) -> RunConfig:
        return exchange_run(self.model)


@dataclass(frozen=True)
class DeltasWanted:
    """A leader's wish: the peers' deltas of a window, which trained on the state at `root`."""

    window: int
    root: bytes


@dataclass(frozen=True)
class Outcome:
    """A process's last word: what it measured, and which manifests the chain holds."""

    figures: Figures
    ordered: Sequence[Ordered]


class Prepared(Honest):
    """An honest miner whose training is over."""

    def __init__(self, gradient: tuple[Floats, ...]) -> None:
        self._gradient = gradient

    async def train(self, node: Node, pages: tuple[int, ...], points: Points) -> Delta | None:
        shares = spread(points.gather(self._gradient), len(pages))
        return Delta(self._gradient, loss=1.0, tokens=1, shares=shares)


class Measured(Worker):
    """A worker whose held-out losses are known already."""

    async def loss(self, pages: Sequence[int]) -> float:
        return 1.0


def exchange_run(model: str) -> RunConfig:
    """The run that is measured: slice ratio 100, eight peers and one miner more."""
    return run_config("exchange", model, PEERS + 1)


def run_miner(case: Case, ordered: Sequence[Ordered], pipe: Connection) -> None:
    """Sends the Outcome of a miner that follows the windows a leader published."""
    asyncio.run(_mine(case, ordered, pipe))


def run_leader(case: Case, ordered: Sequence[Ordered], pipe: Connection) -> None:
    """Sends DeltasWanted and waits for an answer before each window; at last the Outcome."""
    asyncio.run(_lead(case, ordered, pipe))


async def _mine(case: Case, ordered: Sequence[Ordered], pipe: Connection) -> None:
    chain, events = ScriptedChain("exchange", MINER, case.members, list(ordered)), Events()
    store, folder = case.place.store(MINER), case.folder / MINER
    async with open_node(case.run, chain, store, folder, events, make_worker=Measured) as node:
        clock, layout = node.clock, node.worker.state.layout
        await take_over(node, chain)
        conduct = Prepared(tuple(noise(size, seed) for seed, size in enumerate(layout.sizes)))
        figures = Figures(resident(), layout.max_slice)
        for window in range(1, case.windows + 1):
            await reach(node, chain, clock.close(window))
            phases, total = await _mine_window(node, chain, conduct, window, figures)
            phases = {**_miner_phases(events.latest), **phases}
            figures.add(phases, total, node.worker.state.position.root)
            node.outbox.forget_before(window)
        pipe.send(Outcome(figures, ordered))


async def _mine_window(
    node: Node, chain: ScriptedChain, conduct: Prepared, window: int, figures: Figures
) -> tuple[dict[str, float], float]:
    """The node's own work of one window, from the closing block on: phases, seconds in all."""
    started = time.monotonic()
    with figures.step("seal"):
        work = await make_delta(node, conduct, window)
    if work is None:
        raise RuntimeError("the miner was assigned nothing")
    sealed = time.monotonic()
    await commit(node, window, work)
    committed = time.monotonic()
    await reach(node, chain, node.clock.commit_by(window))
    resumed = time.monotonic()
    with figures.step("upload"):
        await reveal(node, window, work)
    offered = time.monotonic()
    del work  # as `mine_window` does on return
    await reach(node, chain, node.clock.decide(window))
    decided = time.monotonic()
    with figures.step("follow"):
        await _follow(node, window)
    total = committed - started + offered - resumed + time.monotonic() - decided
    return {"commit": committed - sealed}, total


def _miner_phases(seconds: Mapping[str, float]) -> dict[str, float]:
    return {
        **{phase: seconds[f"sealed.{phase}"] for phase in _SEALS},
        "upload": seconds["window.upload"],
        "fetch": seconds["applied.select"] + seconds["applied.fetch"],
        "open, apply": seconds["applied.apply"],
    }


async def _lead(case: Case, ordered: Sequence[Ordered], pipe: Connection) -> None:
    chain, events = ScriptedChain("exchange", LEADER, case.members, list(ordered)), Events()
    store, folder, stages = case.place.store(LEADER), case.folder / LEADER, StageTimes()
    async with open_node(
        case.run, chain, store, folder, events, trip=stages, make_worker=Measured
    ) as node:
        state = node.worker.state
        await begin(node, chain)
        book = Book(node.folder / "standings.json")
        book.enrol(n for n in await chain.neurons(0) if not n.permit)
        for hotkey in book.standings:
            book.judge(Verdict(hotkey, 0, "", score=1.0, gate=1.0, norm=0.1))
        control = noise(state.layout.max_slice, seed=1)
        figures = Figures(resident(), state.layout.max_slice)
        for window in range(1, case.windows + 1):
            await reach(node, chain, node.clock.open(window))
            duty = await assign(node, window)
            pipe.send(DeltasWanted(window, state.position.root))
            pipe.recv()
            check, total = await _lead_window(node, chain, book, duty, control, figures, stages)
            phases = _leader_phases(check, stages.seconds, events.latest)
            figures.add(phases, total, state.position.root)
            await reach(node, chain, node.clock.decide(window))
            await _follow(node, window)
            node.outbox.forget_before(window)
        pipe.send(Outcome(figures, chain.ordered))


async def _lead_window(
    node: Node,
    chain: ScriptedChain,
    book: Book,
    duty: Duty,
    control: Floats,
    figures: Figures,
    stages: StageTimes,
) -> tuple[float, float]:
    """The leader's work of one window, from the upload deadline on: until its manifest is out.

    Seconds to check what was read, and in all. The commits are read before.
    """
    clock, window = node.clock, duty.window
    collecting = asyncio.create_task(collect(node, duty))
    await reach(node, chain, clock.commit_by(window))
    chosen = select(node.worker.state.layout, await node.blocks.hash(clock.close(window)))
    held = node.run.exchange.codec.encode(control[: chosen.size])
    points = await points_of(node, window)
    council = await node.councils.at(window)
    this = Round(duty, council, chosen, points, held, control[: points.size])
    await stages.over(Stage.PLEDGES, window)
    started = time.monotonic()
    await reach(node, chain, clock.upload_by(window))
    with figures.step("ingest"):
        collected = await collecting
        fetched = time.monotonic()
        await ingest(node, this, collected)
    check = time.monotonic() - fetched
    with figures.step("agree"):
        with node.stage(Stage.RECEIPT, window):
            await publish_receipt(node, book, this)
        desk = await agree(node, this)
    total = time.monotonic() - started
    proposal = desk.proposals.get(node.hotkey)
    if proposal is None or not desk.certified or len(proposal.accepted) != len(this.members):
        raise RuntimeError(f"not everything was accepted: {this.refused}")
    return check, total


def _leader_phases(
    check: float, stages: Mapping[Stage, float], seconds: Mapping[str, float]
) -> dict[str, float]:
    return {
        "fetch": stages[Stage.INGEST],
        "check": check,
        "receipt": stages[Stage.RECEIPT],
        **{phase: seconds[f"proposed.{phase}"] for phase in _PROPOSES},
        **{stage.value: stages[stage] for stage in _AGREES},
    }


async def _follow(node: Node, window: int) -> None:
    missing = await follow(node, window)
    if missing is not None or node.worker.state.position.window != window:
        raise RuntimeError(f"window {window} was not applied: {missing}")
