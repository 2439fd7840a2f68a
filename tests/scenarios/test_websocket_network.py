"""A network that reaches its chain through a websocket only, and what happens to websockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from network_kit import Running, network_on_a_websocket, small_plan
from rpc_running import RunningNode
from rpc_server import RpcNode

from boltzmann.chain.connect import connect
from boltzmann.local.plan import NETUID, Plan

pytestmark = pytest.mark.scenario

LAG = 1  # blocks between the best one and the final one
SILENT = "miner0"


def plan(folder: Path) -> Plan:
    return small_plan(folder / "network", miners=2, validators=2, block_time=0.7)


@dataclass(frozen=True)
class Hurt:
    """The network after all that was done to it. `faults`: those that met everybody, by window;
    `joins`: how often each node had connected before anybody was refused."""

    running: Running
    node: RunningNode
    history: Mapping[int, str]
    faults: Mapping[str, int]
    joins: Mapping[str, int]


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hurt]:
    folder = tmp_path_factory.mktemp("websocket")
    with network_on_a_websocket(plan(folder), lag=LAG) as (running, node):
        next_window(running)  # the first is not hurt
        faults = {"cut": next_window(running)}
        others = [name for name in running.names if name != SILENT]
        node.do(lambda it: it.silence_connections(SILENT))
        node.do(lambda it: it.drop_connections(*others))

        faults["heads"] = next_window(running)
        node.faults.heads_twice, node.faults.heads_every = True, 3
        running.until(lambda: node.joins(SILENT) > 1, f"a new socket of {SILENT}")
        joins = {name: node.joins(name) for name in running.names}

        faults["refused"] = next_window(running)
        node.faults.heads_twice, node.faults.heads_every = False, 1
        node.do(RpcNode.refuse)
        node.do(RpcNode.drop_connections)
        blocks_later(running, 3)
        node.faults.http_status = 429
        node.do(RpcNode.accept)
        blocks_later(running, 3)
        node.faults.http_status = None

        history = running.together_after(faults["refused"] + 1)
        yield Hurt(running, node, history, faults, joins)


def next_window(running: Running) -> int:
    """Wait for the next window to open."""
    clock = running.network.plan.clock()
    window = clock.window(running.head()) + 1
    running.until(lambda: running.head() >= clock.open(window), f"window {window}")
    return window


def blocks_later(running: Running, count: int) -> None:
    block = running.head() + count
    running.until(lambda: running.head() >= block, f"block {block}")


def test_all_nodes_hold_one_model_whatever_happened(hurt: Hurt) -> None:
    # `together_after` has compared all of their roots.
    assert len(hurt.history) >= 3
    assert not any(hurt.running.events(name, "undone") for name in hurt.running.names)


def test_no_fault_costs_more_than_a_window(hurt: Hurt) -> None:
    # Of others it says nothing: where all depends on one miner, a machine under load may be late.
    for name, window in hurt.faults.items():
        assert hurt.history.keys() & {window, window + 1}, name


def test_cut_and_silent_sockets_are_made_anew(hurt: Hurt) -> None:
    assert all(count > 1 for count in hurt.joins.values())
    silent = hurt.faults["cut"]
    hurt.running.until(
        lambda: max(hurt.running.accepted(SILENT), default=0) > silent,
        f"a delta of {SILENT} after its silence",
    )


async def test_weights_are_set_through_the_websocket(hurt: Hurt) -> None:
    running = hurt.running
    await asyncio.to_thread(
        running.until,
        lambda: all(running.events(name, "weights") for name in running.validators),
        "weights of every validator",
    )
    chain = await connect(f"{hurt.node.url}/test", NETUID)
    try:
        head = await chain.head()
        rows = await chain.weights(head.number)
        uids = {neuron.hotkey: neuron.uid for neuron in await chain.neurons(head.number)}
    finally:
        await chain.close()
    named = {name: uids[running.network.hotkeys[name]] for name in running.names}
    assert set(rows) == {named[name] for name in running.validators}
    for row in rows.values():
        assert {uid for uid, weight in row.items() if weight} <= {named["miner0"], named["miner1"]}
