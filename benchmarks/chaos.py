"""A network whose nodes are killed at random moments: does everybody end with one model?

    python -m benchmarks.chaos [--windows 200] [--validators 3] [--miners 6] [--seed 1]

In every stretch of five windows 30% of the nodes are killed (kill -9) at random moments and started
again up to a window later, all drawn from the seed. Afterwards the chain goes on until all nodes
stand together; their event files are then read to prove that no agreed update was left out
anywhere and none applied twice (`boltzmann.local.histories`). At last `boltzmann audit` goes over
all windows, then once more over one of them after one byte of one object was changed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3

from benchmarks.machine import machine_facts
from benchmarks.settled import histories_of, settle
from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import release_chain
from boltzmann.chain.keys import EMBEDDED
from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.local.histories import History, disagreements
from boltzmann.local.network import Network, prepared, publish
from boltzmann.local.plan import NETUID, Plan
from boltzmann.local.run import until_ready

RESULTS = Path(__file__).parent / "results"
STRETCH = 5  # windows
SHARE = 0.3  # of the nodes, killed in each stretch


@dataclass(frozen=True)
class Kill:
    """One node's end and return, at block heights with fractions for the moment in between."""

    node: str
    at: float
    back: float


@dataclass
class Watch:
    """What happened. `returns`: (node, Unix seconds) of each start after a kill."""

    kills: list[Kill] = field(default_factory=list)
    returns: list[tuple[str, float]] = field(default_factory=list)


def drawn(plan: Plan, rng: random.Random) -> list[Kill]:
    """All kills of a run, in order of time."""
    clock, names = plan.clock(), [member.name for member in plan.members]
    kills = []
    for first in range(2, plan.windows + 1, STRETCH):
        begin, end = clock.open(first), clock.open(min(first + STRETCH, plan.windows + 1))
        for node in rng.sample(names, round(SHARE * len(names))):
            at = rng.uniform(begin, end)
            kills.append(Kill(node, at, at + rng.uniform(0.0, clock.length)))
    return sorted(kills, key=lambda kill: kill.at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("windows", 200), ("validators", 3), ("miners", 6), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--block-time", type=float, default=0.9)
    parser.add_argument("--workdir", type=Path, default=Path(".boltzmann/chaos"))
    parser.add_argument("--out", type=Path, default=RESULTS / "chaos.json")
    options = parser.parse_args()
    plan = Plan(
        miners=options.miners,
        validators=options.validators,
        adversaries={},
        windows=options.windows,
        block_time=options.block_time,
        seed=options.seed,
        workdir=options.workdir,
    )
    began = time.time()
    with prepared(plan) as network:
        watch = asyncio.run(_run(network))
        histories, lags = histories_of(network), _lags(network, watch)
        rows = _figures(plan, watch, histories, lags, time.time() - began)
        _write(options.out, rows)  # before the audits: they are long, and the run was longer
        for item in network.processes:  # audits have the machine to themselves
            item.process.terminate()
        rows["audit"] = _audited(network, "--from", "1", "--to", str(plan.windows))
        rows["audit_after_a_byte_was_changed"] = _audit_damaged(network, histories)
    _write(options.out, rows)
    print(json.dumps(rows, indent=1))


def _write(path: Path, rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine_facts(("torch", "numpy"))}
    path.write_text(json.dumps({**facts, **rows}, indent=1) + "\n")


async def _run(network: Network) -> Watch:
    await publish(network)
    network.spawn_all()
    chain = await connect(f"{EMBEDDED}{network.chain}", NETUID)
    try:
        await until_ready(network, chain)
        release_chain(network.chain)
        watch = Watch(drawn(network.plan, random.Random(network.plan.seed)))
        await _hurt(network, chain, watch)
        await settle(network, chain)
        return watch
    finally:
        await chain.close()


async def _hurt(network: Network, chain: SubtensorChain, watch: Watch) -> None:
    clock, plan = network.plan.clock(), network.plan
    members = {member.name: member for member in plan.members}
    todo, away, said = list(watch.kills), dict[str, Kill](), 0
    since, block = time.monotonic(), 0
    while block < clock.open(plan.windows + 1) or away:
        number = (await chain.head()).number
        if number > block:
            since, block = time.monotonic(), number
        now = block + min(0.99, (time.monotonic() - since) / plan.block_time)
        while todo and todo[0].at <= now:
            kill = todo.pop(0)
            if kill.node not in away:
                _kill(network, kill.node)
                away[kill.node] = kill
        for kill in [kill for kill in away.values() if kill.back <= now]:
            network.spawn(members[kill.node])
            watch.returns.append((kill.node, time.time()))
            del away[kill.node]
        if clock.window(block) >= said + 10:
            said = clock.window(block)
            print(f"window {said}, {len(watch.kills) - len(todo)} kills so far", flush=True)
        await asyncio.sleep(0.05)


def _kill(network: Network, node: str) -> None:
    (item,) = [p for p in network.processes if p.member.name == node]
    if item.process.pid is not None and item.process.exitcode is None:
        os.kill(item.process.pid, signal.SIGKILL)
        item.process.join()


def _audited(network: Network, *windows: str) -> dict[str, Any]:
    """What `boltzmann audit` says: its exit code, how many windows of each kind, mismatches."""
    command = [sys.executable, "-m", "boltzmann", "audit", *windows, "--netuid", str(NETUID)]
    began = time.time()
    done = subprocess.run(
        [*command, "--subtensor.network", f"{EMBEDDED}{network.chain}"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    kinds = [line.split()[2] for line in lines]
    return {
        "exit_code": done.returncode,
        "windows": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "mismatches": [line for line in lines if "MISMATCH" in line][:5],
        "partial": [line for line in lines if " partial " in line][:5],
        "trouble": done.stderr.splitlines()[-1:] if done.returncode not in (0, 1) else [],
        "seconds": round(time.time() - began, 1),
    }


def _audit_damaged(network: Network, histories: dict[str, History]) -> dict[str, Any]:
    """The audit of one window after one byte of the first miner's delta was flipped."""
    names = {"aws_access_key_id": "local", "aws_secret_access_key": "local-secret"}
    client = boto3.client("s3", endpoint_url=network.s3.url, region_name="us-east-1", **names)
    bucket, run = "miner0", f"local-{network.plan.seed}"
    there = {
        item["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for item in page.get("Contents", ())
    }
    # One that it sent, in a window that was agreed on: it may have been away in any of them.
    window = max(
        window
        for history in histories.values()
        for window in history.line
        if f"{run}/{window}/delta" in there
    )
    key = f"{run}/{window}/delta"
    body = bytearray(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    body[-1] ^= 1
    client.put_object(Bucket=bucket, Key=key, Body=bytes(body))
    return {"object": f"{bucket}/{key}", **_audited(network, "--window", str(window))}


def _lags(network: Network, watch: Watch) -> list[int]:
    """For each return: how many windows the others agreed on before the node held an update too."""
    applied = {
        item.member.name: [
            (event["t"], event["window"])
            for event in map(json.loads, item.events.read_text().splitlines())
            if event["event"] == "applied"
        ]
        for item in network.processes
    }
    first_seen: dict[int, float] = {}
    for rows in applied.values():
        for moment, window in rows:
            first_seen[window] = min(moment, first_seen.get(window, moment))
    lags = []
    for number, (node, back) in enumerate(watch.returns):
        again = min((t for n, t in watch.returns[number + 1 :] if n == node), default=float("inf"))
        caught_up = min((t for t, _ in applied[node] if back < t < again), default=None)
        if caught_up is not None:
            lags.append(sum(back < moment < caught_up for moment in first_seen.values()))
    return lags


def _figures(
    plan: Plan, watch: Watch, histories: dict[str, History], lags: list[int], seconds: float
) -> dict[str, Any]:
    agreed = sorted({w for history in histories.values() for w in history.line})
    within = [window for window in agreed if window <= plan.windows]
    gaps = [b - a - 1 for a, b in pairwise(agreed)]
    counts: dict[str, int] = {}
    for history in histories.values():
        for name, count in history.counts.items():
            counts[name] = counts.get(name, 0) + count
    return {
        "windows": plan.windows,
        "validators": plan.validators,
        "miners": plan.miners,
        "seed": plan.seed,
        "block_time_s": plan.block_time,
        "kills": len(watch.kills),
        "windows_with_an_update": len(within),
        "windows_until_a_returned_node_held_an_update": {str(n): lags.count(n) for n in set(lags)},
        "longest_run_of_empty_windows": max(gaps, default=0),
        "events": counts,
        "faults": {name: h.faults for name, h in histories.items() if h.faults},
        "disagreements": disagreements(histories),
        "roots_equal": len({h.head for h in histories.values()}) == 1,
        "minutes": round(seconds / 60, 1),
    }


if __name__ == "__main__":
    main()
