"""A network behind a websocket that misbehaves: what does each fault cost?

    python -m benchmarks.websocket [--minutes 10] [--faults 20] [--validators 3] [--miners 3]

The nodes reach the chain only through the websocket node of the tests, which runs as a process of
its own (tests/rpc_node/rpc_serve.py; the runtime's metadata comes from the package index once) and
is hurt over its own socket. Faults of every kind it knows are drawn from the seed, one in each
stretch of the run. A window that closes without an update counts against the last fault that had
begun before its deciding block. No fault should cost more than one, and a socket that falls silent
should be made anew within two minutes. In the end all nodes must stand at one model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from benchmarks.machine import machine_facts
from benchmarks.settled import histories_of, settle
from benchmarks.websocket_faults import (
    FIRST_WINDOW,
    KINDS,
    Control,
    Fault,
    drawn,
    websocket_node,
)
from boltzmann.chain import connect as chains
from boltzmann.chain.embedded import release_chain
from boltzmann.chain.keys import EMBEDDED
from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.local.histories import disagreements
from boltzmann.local.network import Network, prepared, publish, stop
from boltzmann.local.plan import NETUID, Plan
from boltzmann.local.run import until_ready

RESULTS = Path(__file__).parent / "results"
REBUILT_S = 120.0


async def _run(network: Network, faults: list[Fault], lag: int) -> list[tuple[float, str]]:
    """Start, hurt and settle the network; (Unix seconds, node) of every connection made."""
    await publish(network)
    async with websocket_node(network.chain, lag) as url, connect(f"{url}/control") as socket:
        control = Control(socket)
        for member in network.plan.members:
            settings = {
                "SUBTENSOR_NETWORK": f"{url}/{member.name}",
                "BITTENSOR_RUNTIME_CACHE_DIR": str(network.folder / "runtime-cache"),
            }
            network.spawn(member, settings)
        chain = await chains.connect(f"{EMBEDDED}{network.chain}", NETUID)
        try:
            await until_ready(network, chain)
            release_chain(network.chain)
            await _hurt(network, chain, control, faults)
            await settle(network, chain)
            joined = [(at, name) for at, name in await control.ask("boltzmann_joined")]
        finally:
            await chain.close()
            stop(network.processes)  # they wait for the chain if it goes first
    return joined


async def _hurt(
    network: Network, chain: SubtensorChain, control: Control, faults: list[Fault]
) -> None:
    clock, plan = network.plan.clock(), network.plan
    todo, lasting = list(faults), list[Fault]()
    since, block = time.monotonic(), 0
    while block < clock.open(plan.windows + 1) or lasting:
        number = (await chain.head()).number
        if number > block:
            since, block = time.monotonic(), number
        now = block + min(0.99, (time.monotonic() - since) / plan.block_time)
        for fault in [fault for fault in lasting if fault.ends <= now]:
            await control.carry_out(KINDS[fault.kind].end, fault.names)
            lasting.remove(fault)
        while todo and todo[0].at <= now:
            fault = todo.pop(0)
            fault.begun = time.time()
            await control.carry_out(KINDS[fault.kind].begin, fault.names)
            lasting.append(fault)
            where = ", ".join(fault.names) if KINDS[fault.kind].one else "all nodes"
            print(
                f"window {clock.window(block)}, block {now:.1f}: {fault.kind}, {where}", flush=True
            )
        await asyncio.sleep(0.05)


def _rows(
    plan: Plan, faults: list[Fault], missed: list[int], joined: list[tuple[float, str]]
) -> list[dict[str, Any]]:
    """One per fault: what it was, and what it cost."""
    clock = plan.clock()
    cost = Counter(
        max((number for number, f in enumerate(faults) if f.at < clock.decide(window)), default=-1)
        for window in missed
    )
    rows = []
    for number, fault in enumerate(faults):
        back = [
            min((at for at, who in joined if who == name and at > fault.begun), default=None)
            for name in fault.names
        ]
        row: dict[str, Any] = {
            "kind": fault.kind,
            "window": clock.window(int(fault.at)),
            "block_of_the_window": round(fault.at - clock.open(clock.window(int(fault.at))), 1),
            "windows_missed": cost[number],
        }
        if "silent" in fault.kind and not fault.kind.startswith("subscriptions"):
            seconds = [round(at - fault.begun, 1) for at in back if at is not None]
            row["seconds_until_rebuilt"] = seconds
            row["never_rebuilt"] = len(back) - len(seconds)
        rows.append(row)
    return rows


def _figures(
    network: Network, faults: list[Fault], joined: list[tuple[float, str]], seconds: float
) -> dict[str, Any]:
    plan, histories = network.plan, histories_of(network)
    agreed = {window for history in histories.values() for window in history.line}
    missed = sorted(set(range(1, plan.windows + 1)) - agreed)
    rows = _rows(plan, faults, missed, joined)
    rebuilt = [s for row in rows for s in row.get("seconds_until_rebuilt", ())]
    return {
        "validators": plan.validators,
        "miners": plan.miners,
        "seed": plan.seed,
        "block_time_s": plan.block_time,
        "window_s": plan.block_time * plan.clock().length,
        "windows": plan.windows,
        "windows_with_an_update": plan.windows - len(missed),
        "windows_missed": missed,
        "most_windows_missed_by_a_fault": max((row["windows_missed"] for row in rows), default=0),
        "silent_sockets": len(rebuilt),
        "silent_sockets_never_rebuilt": sum(row.get("never_rebuilt", 0) for row in rows),
        "seconds_until_rebuilt_median": statistics.median(rebuilt) if rebuilt else None,
        "seconds_until_rebuilt_max": max(rebuilt, default=None),
        "connections_made": len([name for _, name in joined if name != "control"]),
        "errors": _errors(network),
        "broken_histories": {name: h.faults for name, h in histories.items() if h.faults},
        "disagreements": disagreements(histories),
        "roots_equal": len({history.head for history in histories.values()}) == 1,
        "minutes": round(seconds / 60, 1),
        "faults": rows,
    }


def _errors(network: Network) -> dict[str, int]:
    """What the nodes reported as their own trouble, without the numbers in it."""
    told: Counter[str] = Counter()
    for item in network.processes:
        for event in map(json.loads, item.events.read_text().splitlines()):
            if event["event"] == "error":
                told[event["what"].rstrip("0123456789 ")] += 1
    return dict(told)


def _print(rows: dict[str, Any]) -> None:
    print(f"\n{'fault':<24}{'window':>7}{'block':>7}{'missed':>8}  seconds until rebuilt")
    for row in rows["faults"]:
        rebuilt = ", ".join(map(str, row.get("seconds_until_rebuilt", ())))
        place = f"{row['window']:>7}{row['block_of_the_window']:>7}"
        print(f"{row['kind']:<24}{place}{row['windows_missed']:>8}  {rebuilt}")
    print(json.dumps({name: value for name, value in rows.items() if name != "faults"}, indent=1))
    slowest = rows["seconds_until_rebuilt_max"] or 0.0
    aims = {
        "no fault made more than one window missed": rows["most_windows_missed_by_a_fault"] <= 1,
        "every silent socket was made anew within 120 s": slowest < REBUILT_S
        and not rows["silent_sockets_never_rebuilt"],
        "all nodes end with one root": rows["roots_equal"] and not rows["disagreements"],
    }
    for aim, reached in aims.items():
        print(f"{'yes' if reached else 'NO':<4}{aim}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    defaults = {"faults": 20, "validators": 3, "miners": 3, "lag": 1, "seed": 1}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--block-time", type=float, default=1.8)
    parser.add_argument("--workdir", type=Path, default=Path(".boltzmann/websocket"))
    parser.add_argument("--out", type=Path, default=RESULTS / "websocket.json")
    options = parser.parse_args()
    # What is final lies `lag` blocks back when it is read, and again when it is written.
    exchange = Plan().exchange_blocks + 2 * options.lag
    length = (Plan().train_blocks + exchange) * options.block_time
    plan = Plan(
        miners=options.miners,
        validators=options.validators,
        adversaries={},
        windows=max(FIRST_WINDOW, round(60.0 * options.minutes / length)),
        exchange_blocks=exchange,
        block_time=options.block_time,
        seed=options.seed,
        workdir=options.workdir,
    )
    faults, began = drawn(plan, options.faults), time.time()
    with prepared(plan) as network:
        joined = asyncio.run(_run(network, faults, options.lag))
        rows = _figures(network, faults, joined, time.time() - began)
    facts = {"machine": machine_facts(("torch", "bittensor", "websockets"))}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**facts, "lag": options.lag, **rows}, indent=1) + "\n")
    _print(rows)


if __name__ == "__main__":
    main()
