"""The processes that `benchmarks.catchup` measures: one that joins late, one that never left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.nodes import Counted, Events, forget_peak, open_node, peak, reach, resident
from benchmarks.scripted import Member, Ordered, ScriptedChain
from benchmarks.servers import Place
from boltzmann.config import RunConfig
from boltzmann.node.follow import follow
from boltzmann.node.node import Node

JOINER = "joiner"


@dataclass(frozen=True)
class Case:
    """A run as it stands after `tip`, and an empty folder for a node that follows it."""

    run: RunConfig
    place: Place
    members: Mapping[str, Member]
    ordered: Sequence[Ordered]
    tip: int
    folder: Path


@dataclass(frozen=True)
class Joined:
    """A late node at the tip. Seconds in all, and by what they went into.

    Reads go side by side with each other and with steps, so the parts may come to more than the
    whole. `peak`: the most bytes resident in the process's life.
    """

    seconds: float
    parts: Mapping[str, float]
    bytes_down: int
    peak: int
    root: str


@dataclass(frozen=True)
class Steady:
    """A node that follows one window at a time: seconds of one, bytes resident at the most."""

    seconds: float
    peak: int


def join(case: Case) -> Joined:
    """Follow from nothing to the tip."""
    return asyncio.run(_join(case))


async def _join(case: Case) -> Joined:
    chain, events = _chain(case), Events()
    store = Counted(case.place.store(JOINER))
    async with _node(case, chain, events, store) as node:
        await reach(node, chain, node.clock.decide(case.tip))
        began = time.monotonic()
        await _follow(node, case.tip)
        seconds = time.monotonic() - began
        parts = {f"read {kind}s": spent for kind, spent in store.seconds.items()}
        parts["load"] = events.total["loaded"]
        parts["select"] = events.total["applied.select"]
        parts["open, apply"] = events.total["applied.apply"]
        root = node.worker.state.position.root.hex()
        return Joined(seconds, parts, sum(store.bytes.values()), peak(), root)


def stay(case: Case, settle: int, windows: int) -> Steady:
    """Follow from the genesis on, one window at a time; measured after `settle` of them."""
    return asyncio.run(_stay(case, settle, windows))


async def _stay(case: Case, settle: int, windows: int) -> Steady:
    chain, events, seconds = _chain(case), Events(), []
    store = Counted(case.place.store(JOINER))
    async with _node(case, chain, events, store) as node:
        for window in range(settle + windows + 1):
            if window == settle + 1:
                resident()
                forget_peak()
            await reach(node, chain, node.clock.decide(window))
            began = time.monotonic()
            await _follow(node, window)
            seconds.append(time.monotonic() - began)
        return Steady(median(seconds[settle + 1 :]), peak())


def _chain(case: Case) -> ScriptedChain:
    members = {**case.members, JOINER: Member(case.place.address(JOINER))}
    return ScriptedChain(case.run.run.id, JOINER, members, list(case.ordered))


def _node(
    case: Case, chain: ScriptedChain, events: Events, store: Counted
) -> AbstractAsyncContextManager[Node]:
    return open_node(case.run, chain, store, case.folder, events)


async def _follow(node: Node, window: int) -> None:
    missing = await follow(node, window)
    if missing is not None or node.worker.state.position.window != window:
        raise RuntimeError(f"window {window} was not reached: {missing}")
