"""The running network: real nodes, whose ports lead into memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from boltzmann.config import RunConfig
from boltzmann.data.tokenizer import ByteTokenizer
from boltzmann.node.blocks import Blocks
from boltzmann.node.conduct import Conduct, Honest
from boltzmann.node.councils import Councils
from boltzmann.node.ingest import fetch_seconds
from boltzmann.node.miner import mine
from boltzmann.node.node import Node
from boltzmann.node.outbox import Outbox
from boltzmann.node.validator import validate
from boltzmann.node.worker import Worker
from boltzmann.ports import Keys, Store
from boltzmann.protocol.chainview import SubnetRules
from boltzmann.protocol.clock import INCLUSION_BLOCKS
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.pages import PageSchedule
from boltzmann.simulate.chain import Ledger, LedgerChain
from boltzmann.simulate.compute import Engine, SharedWorker
from boltzmann.simulate.helpers import Helpers
from boltzmann.simulate.keys import Keyring
from boltzmann.simulate.observe import Observations, Witnessed
from boltzmann.simulate.opened import Answers, SharedManifests
from boltzmann.simulate.plan import (
    BLOCK_TIME_S,
    HONEST,
    NETUID,
    VALIDATOR,
    Member,
    Rogue,
    SimulationPlan,
)
from boltzmann.simulate.schedule import KeptSchedule
from boltzmann.simulate.store import Buckets, MemoryStore
from boltzmann.simulate.text import Loaded, SmallPages
from boltzmann.train.model import parameter_shapes
from boltzmann.train.state import ModelState

HELD_OUT_PAGES = 32
_COMMIT_LIMIT = 1_000_000  # bytes per epoch: a validator may order every window
_HONEST = Rogue(lambda name: Honest())


@dataclass
class Running:
    """One participant: its node, what it does, and the task that does it."""

    member: Member
    node: Node
    conduct: Conduct
    task: asyncio.Task[None]


@dataclass
class Network:
    """A subnet in one process. `nodes` by name, those that have left included.

    What hostile participants have in common they find here.
    """

    plan: SimulationPlan
    folder: Path
    run: RunConfig
    ledger: Ledger
    buckets: Buckets
    ring: Keyring
    schedule: PageSchedule
    engine: Engine
    held_out: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]]
    councils: Councils  # one for all nodes: they follow from the chain alone
    opened: Answers = field(default_factory=Answers)
    seen: Observations = field(default_factory=Observations)
    nodes: dict[str, Running] = field(default_factory=dict)

    def seat(self, member: Member) -> None:
        """Register a participant in the next block, with its record on chain."""
        hotkey, address = self.ring.keys(member.owner).hotkey, self._address(member)
        role = Role.VALIDATOR if member.stake else Role.MINER
        record = Commitment(role, self.run.run.id, address).encode()

        def seated() -> None:
            self.ledger.register(hotkey, member.stake)
            self.ledger.commit(hotkey, record)

        self.ledger.at(self.ledger.height + 1, seated)

    async def start(self, member: Member) -> Running:
        """Start a participant that has a seat, or will have one in the next block."""
        rogue = _HONEST if member.kind in (HONEST, VALIDATOR) else self.plan.rogue(member.kind)
        conduct, address = rogue.conduct(member.name), self._address(member)
        keys = rogue.keys(self.ring.keys(member.owner))
        if rogue.serve is not None:
            self.buckets.serve[address] = rogue.serve(member.name)
        store = rogue.store(MemoryStore(self.buckets, keys.hotkey, address), self.buckets)
        node = await self._node(member, keys, store)
        loop: Coroutine[Any, Any, None]
        if rogue.drive is not None:
            loop = rogue.drive(node, conduct)
        else:
            loop = validate(node) if member.stake else mine(node, conduct)
        task = asyncio.create_task(loop, name=member.name)
        self.nodes[member.name] = Running(member, node, conduct, task)
        return self.nodes[member.name]

    async def leave(self, name: str) -> None:
        """Stop a participant and take its seat in the next block; its uid is free then."""
        await self.stop(name)
        hotkey = self.nodes[name].node.hotkey
        self.ledger.at(self.ledger.height + 1, lambda: self.ledger.deregister(hotkey))

    async def stop(self, name: str) -> None:
        """End a participant's process, as a kill would; its seat and its bucket stay."""
        running = self.nodes[name]
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        await running.node.blocks.close()

    def _address(self, member: Member) -> str:
        return self.buckets.make(member.name.lower().replace("_", "-"))

    async def _node(self, member: Member, keys: Keys, store: Store) -> Node:
        run, folder = self.run, self.folder / member.name
        folder.mkdir()
        told = Witnessed(member.name, keys.hotkey, member.kind in (HONEST, VALIDATOR), self.seen)
        chain = LedgerChain(self.ledger, keys.hotkey)
        blocks = Blocks(chain, told)
        await blocks.start()
        state = ModelState(
            run.layout(self.shapes), self.shapes, run.outer, folder / "undo", run.exchange.history
        )
        read_seconds = fetch_seconds(run.windows, BLOCK_TIME_S)
        return Node(
            run=run,
            keys=keys,
            verify=self.ring.verify,
            chain=chain,
            blocks=blocks,
            store=store,
            schedule=self.schedule,
            worker=SharedWorker(state, self.engine),
            outbox=Outbox(folder / "outbox"),
            telemetry=told,
            folder=folder,
            fetch_seconds=read_seconds,
            poll_seconds=BLOCK_TIME_S / 8,
            councils=self.councils,
            manifests=SharedManifests(
                store, self.ring.verify, run.run.id, read_seconds, self.opened
            ),
            private=random.Random(self.plan.secret("private", member.name)),
        )


@asynccontextmanager
async def opened(plan: SimulationPlan, folder: Path, processes: int) -> AsyncIterator[Network]:
    """The network just before the block that decides window 0; everybody is there.

    `processes`: how many compute, this one among them.
    Raises: ConfigError if the text has too few pages for so many peers.
    """
    run, pages = plan.run_config(), SmallPages(HELD_OUT_PAGES)
    schedule = run.schedule(pages.count)
    kept = KeptSchedule(
        schedule.run_key,
        schedule.total_pages,
        schedule.members_max,
        schedule.pages_per_member,
        schedule.control_pages,
    )
    shapes = parameter_shapes(run.model)
    state = ModelState(
        run.layout(shapes), shapes, run.outer, folder / "engine", run.exchange.history
    )
    load = Loaded(pages, ByteTokenizer(), run.data.sequence_length)
    worker = Worker(run, state, load, torch.device("cpu"))
    engine = Engine(worker, Helpers(worker, processes - 1))
    ledger = _ledger(plan)
    network = Network(
        plan=plan,
        folder=folder,
        run=run,
        ledger=ledger,
        buckets=Buckets(),
        ring=Keyring(plan.secret("keys", "ring")),
        schedule=kept,
        engine=engine,
        held_out=pages.held_out,
        shapes=shapes,
        councils=Councils(LedgerChain(ledger, ""), run),
    )
    try:
        for member in plan.members:
            network.seat(member)
        network.ledger.advance(run.windows.decide(0) - INCLUSION_BLOCKS)
        for member in plan.members:
            await network.start(member)
        yield network
    finally:
        for name in network.nodes:
            await network.stop(name)
        engine.close()


def _ledger(plan: SimulationPlan) -> Ledger:
    clock = plan.clock()
    rules = SubnetRules("owner", 2 * clock.length - 1, clock.length, 0, 1, 1.0, False)
    return Ledger(plan.secret("chain", "blocks"), rules, NETUID, BLOCK_TIME_S, _COMMIT_LIMIT)
