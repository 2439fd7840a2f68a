"""kill -9 before and after every named stage: is the model the one of a run nobody killed?

    python -m benchmarks.crashes [--seeds 20] [--moments 0] [--miners 2]

For each seed one network runs undisturbed and one in which a validator and a miner are killed at
each of their stages in turn, before and after, in an order drawn from the seed (`--moments` takes
only so many of each). The chain stands while a killed node comes back, so nobody misses a deadline
and both networks must hold the same state roots, window for window. All audits are full: a spot
audit's norm depends on its page, which is a private draw, and the norm limit follows from it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import machine_facts
from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import release_chain
from boltzmann.chain.embedded.ledger import Ledger
from boltzmann.chain.keys import EMBEDDED
from boltzmann.config import RunConfig
from boltzmann.local.histories import History, read_history
from boltzmann.local.network import Network, Process, prepared, publish
from boltzmann.local.plan import NETUID, Plan
from boltzmann.local.run import until_ready
from boltzmann.node.stages import MINER_STAGES, VALIDATOR_STAGES, Stage

RESULTS = Path(__file__).parent / "results"
FIRST_WINDOW = 2  # of a crash
VICTIM = "validator0"
TAIL_WINDOWS = 2  # after the last crash
PATIENCE_S = 30.0  # at a gate
SPARE_S = 1.5  # between the blocks that come while something waits
NEVER = 10**9
MOST_WINDOWS = 120


@dataclass
class Victim:
    """A node that is killed at one moment after the other."""

    name: str
    moments: deque[str]
    survived: list[str] = field(default_factory=list)

    @property
    def setting(self) -> str:
        return f"{self.moments[0]}:{FIRST_WINDOW}" if self.moments else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--moments", type=int, default=0)
    parser.add_argument("--miners", type=int, default=2)
    parser.add_argument("--block-time", type=float, default=0.1)
    parser.add_argument("--out", type=Path, default=RESULTS / "crashes.json")
    options = parser.parse_args()
    rows = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        began = time.time()
        row = compare(seed, options.moments, options.miners, options.block_time)
        row["minutes"] = round((time.time() - began) / 60, 1)
        rows.append(row)
        print(json.dumps(row), flush=True)
        result = {"machine": machine_facts(("torch", "numpy")), "seeds": rows}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    kills = sum(len(row["survived"]) for row in rows)
    print(
        f"{len(rows)} seeds, {kills} kills, "
        f"unequal: {[row['seed'] for row in rows if not row['equal']]}, "
        f"median {statistics.median(row['minutes'] for row in rows)} minutes a seed"
    )


def compare(seed: int, moments: int, miners: int, block_time: float) -> dict[str, Any]:
    """One seed: the killed network first, then an undisturbed one of as many windows."""
    rng = random.Random(seed)
    victims = [
        Victim(VICTIM, deque(_moments(rng, VALIDATOR_STAGES, moments))),
        Victim("miner0", deque(_moments(rng, MINER_STAGES, moments))),
    ]
    with TemporaryDirectory() as folder:
        plan = _plan(Path(folder) / "killed", seed, miners, block_time)
        with prepared(plan) as network:
            killed, last = asyncio.run(_run(network, victims, NEVER))
        plan = _plan(Path(folder) / "whole", seed, miners, block_time)
        with prepared(plan) as network:
            whole, _ = asyncio.run(_run(network, [], last))
    windows = sorted(set(killed) | set(whole))
    unequal = [w for w in windows if killed.get(w) != whole.get(w)]
    return {
        "seed": seed,
        "survived": [moment for victim in victims for moment in victim.survived],
        "not_reached": [moment for victim in victims for moment in victim.moments],
        "windows": last,
        "updates": len(killed),
        "equal": not unequal,
        "unequal_windows": unequal,
    }


class FullAudits(Plan):
    """A network whose norm limits depend on nobody's private draws."""

    def run_config(self) -> RunConfig:
        run = super().run_config()
        return replace(run, audit=replace(run.audit, full_rate=1.0))


def _plan(folder: Path, seed: int, miners: int, block_time: float) -> Plan:
    return FullAudits(
        miners=miners,
        validators=3,
        adversaries={},
        windows=0,
        train_blocks=8,
        exchange_blocks=8,
        block_time=block_time,
        epoch_windows=2,
        seed=seed,
        workdir=folder,
    )


def _moments(rng: random.Random, stages: tuple[Stage, ...], count: int) -> list[str]:
    found = [f"{when}:{stage.value}" for stage in stages for when in ("before", "after")]
    rng.shuffle(found)
    return found[:count] if count else found


async def _run(network: Network, victims: list[Victim], last: int) -> tuple[dict[int, str], int]:
    """window -> root as all nodes hold it, and the last window.

    The chain goes from gate to gate: it stands at each until every node has done its part, so what
    is slow, or has to be started again, misses nothing.
    """
    await publish(network)
    armed = {victim.name: victim.setting for victim in victims}
    for member in network.plan.members:
        network.spawn(member, {"CRASH_AT": armed.get(member.name, "")})
    chain = await connect(f"{EMBEDDED}{network.chain}", NETUID)
    try:
        await until_ready(network, chain)
        clock, window = network.plan.clock(), 0
        while window < last:
            window += 1
            for block, last_block, done in _gates(network, window):
                release_chain(network.chain, until=block)
                await _until(network, victims, partial(_has_come, network, block))
                spare = range(block + 1, last_block + 1)
                await _until(network, victims, done, spare)
            release_chain(network.chain, until=clock.decide(window))
            if victims and last == NEVER and not any(v.moments for v in victims):
                last = window + TAIL_WINDOWS
            if victims and window > MOST_WINDOWS:
                break
    finally:
        await chain.close()
    return _one_line(_histories(network)), window


def _gates(network: Network, window: int) -> list[tuple[int, int, Callable[[], bool]]]:
    """(block, last block, what must be done by then) of a window, in order.

    Blocks after the first come only as long as something waits: weights wait to be in one.
    """
    clock = network.plan.clock()
    names = [member.name for member in network.plan.members]
    miners = [name for name in names if name.startswith("miner")]
    validators = [name for name in names if name.startswith("validator")]

    def reported(nodes: list[str], text: str) -> Callable[[], bool]:
        return lambda: all(_told(network, node, text) for node in nodes)

    def stage(nodes: list[str], name: Stage) -> Callable[[], bool]:
        return reported(nodes, f'"stage": "{name.value}", "window": {window}}}')

    def alone(block: int, done: Callable[[], bool]) -> tuple[int, int, Callable[[], bool]]:
        return block, block, done

    def both(one: Callable[[], bool], other: Callable[[], bool]) -> Callable[[], bool]:
        return lambda: one() and other()

    def held(nodes: list[str], update_of: int) -> Callable[[], bool]:
        return lambda: all(
            update_of < 1 or update_of in read_history([_process(network, node).events]).line
            for node in nodes
        )

    def audited() -> bool:
        """Whether the last window's audits are done: a norm limit follows from them.

        A victim has lost its own when it was killed; the middle one of three does without.
        """
        others = [name for name in validators if name != VICTIM]
        text = f'"event": "round", "window": {window - 1},'
        return window == 1 or all(_told(network, node, text) for node in others)

    certified = f'"stage": "{Stage.CERTIFY.value}", "window": {window}}}'
    return [
        alone(clock.open(window), held(names, window - 1)),
        (
            clock.open(window) + 1,
            clock.close(window) - 1,
            both(stage(miners, Stage.TRAIN), audited),
        ),
        alone(clock.close(window), stage(miners, Stage.COMMIT)),
        alone(clock.commit_by(window), stage(validators, Stage.PLEDGES)),
        alone(clock.reveal_at(window), stage(miners, Stage.UPLOAD)),
        alone(clock.upload_by(window), stage(validators, Stage.RECEIPT)),
        alone(
            clock.decide(window) - 2,
            lambda: any(_told(network, node, certified) for node in validators),
        ),
        alone(clock.decide(window) - 1, lambda: _is_ordered(network, window)),
    ]


def _has_come(network: Network, block: int) -> bool:
    with closing(Ledger(network.chain)) as ledger:
        return ledger.head() >= block


def _told(network: Network, node: str, text: str) -> bool:
    events = _process(network, node).events
    return events.exists() and text in events.read_text()


def _is_ordered(network: Network, window: int) -> bool:
    """Whether some validator is done with putting the window's digest on chain."""
    text = f'"event": "ordered", "window": {window},'
    names = [member.name for member in network.plan.members if not member.is_miner]
    return any(_told(network, name, text) for name in names)


async def _until(
    network: Network,
    victims: list[Victim],
    done: Callable[[], bool],
    spare: Iterable[int] = (),
) -> None:
    """Wait for a gate's condition; a victim that dies meanwhile is started again.

    `spare`: blocks that may come while it waits, one after the other.
    """
    deadline, left = time.monotonic() + PATIENCE_S, iter(spare)
    next_spare = time.monotonic() + SPARE_S
    while not done():
        if time.monotonic() > next_spare and (block := next(left, None)) is not None:
            release_chain(network.chain, until=block)
            next_spare = time.monotonic() + SPARE_S
        for victim in victims:
            process = _process(network, victim.name)
            if process.process.exitcode is not None:
                if not victim.moments:
                    said = process.log.read_text()[-2000:]
                    raise RuntimeError(f"{victim.name} ended, and not by a kill of ours:\n{said}")
                victim.survived.append(victim.moments.popleft())
                network.spawn(process.member, {"CRASH_AT": victim.setting})
                deadline = time.monotonic() + PATIENCE_S
        if time.monotonic() > deadline:
            return  # a window without an update, or an order that waits for its next block
        await asyncio.sleep(0.02)


def _one_line(histories: dict[str, History]) -> dict[int, str]:
    """The roots by window. Raises: ValueError if two nodes differ."""
    line: dict[int, str] = {}
    for name, history in histories.items():
        if history.faults:
            raise ValueError(f"{name}: {history.faults}")
        for window, (_, root) in history.line.items():
            if line.setdefault(window, root) != root:
                raise ValueError(f"{name} holds another model after window {window}")
    return line


def _process(network: Network, name: str) -> Process:
    (item,) = [p for p in network.processes if p.member.name == name]
    return item


def _histories(network: Network) -> dict[str, History]:
    return {
        item.member.name: read_history([item.events] if item.events.exists() else [])
        for item in network.processes
    }


if __name__ == "__main__":
    main()
