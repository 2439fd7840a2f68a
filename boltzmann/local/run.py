"""One local network from start to summary."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass, field

from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import release_chain
from boltzmann.chain.keys import EMBEDDED
from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.errors import BoltzmannError
from boltzmann.local.network import Network, prepared, publish
from boltzmann.local.plan import NETUID, Plan
from boltzmann.local.progress import Progress, Tail
from boltzmann.local.show import Show
from boltzmann.local.summary import Outcome, summarise, write_summary
from boltzmann.node.membership import first_validator, peers_at

_POLL_S = 0.2
_READY_SECONDS = 180.0
_LOG_LINES = 8
_GRACE_WINDOWS = 3  # that stragglers get after the last window


@dataclass
class Times:
    """Unix seconds: the launch, and the chain's release once all nodes were up."""

    launched: float = field(default_factory=time.time)
    released: float = 0.0


async def run_local(plan: Plan, show: Show) -> Outcome:
    """Start the network, watch it for its windows, end it; the outcome.

    Raises: BoltzmannError if it cannot start or a node dies; asyncio.CancelledError on interrupt,
    after all processes have ended.
    """
    times, progress = Times(), Progress()
    with prepared(plan) as network:
        show.say(f"S3 server {network.s3.url}, chain {network.chain.name}, files in {plan.workdir}")
        await publish(network)
        network.spawn_all()
        chain = await connect(f"{EMBEDDED}{network.chain}", NETUID)
        try:
            await until_ready(network, chain)
            release_chain(network.chain)
            times.released = time.time()
            show.say(
                f"all nodes are up after {times.released - times.launched:.1f} s; "
                f"training begins with window 1"
            )
            await _watch(network, chain, progress, show)
            outcome = await summarise(network, chain, progress, times.launched)
        finally:
            await chain.close()
    write_summary(plan, outcome)
    if not plan.keep:
        for name in ("chain.sqlite", "chain.sqlite-wal", "chain.sqlite-shm", "guest.env"):
            (plan.workdir / name).unlink(missing_ok=True)
        shutil.rmtree(plan.workdir / "wallets", ignore_errors=True)
        for item in network.processes:
            shutil.rmtree(item.events.parent / "ingest", ignore_errors=True)
            shutil.rmtree(item.events.parent / "undo", ignore_errors=True)
    return outcome


async def until_ready(network: Network, chain: SubtensorChain) -> None:
    """Until every node has its record on chain and the first validator the genesis manifest.

    Whoever was alone at first may have begun the run as well; that beginning counts for nobody.
    """
    deadline = time.monotonic() + _READY_SECONDS
    run = network.plan.run_config().run.id
    while True:
        _require_alive(network)
        peers = await peers_at(chain, run, (await chain.head()).number)
        known = {peer.hotkey: peer.commitment for peer in peers}
        first = known.get(first_validator(peers))
        late = [item.member.name for item in network.processes if item.hotkey not in known]
        if not late and first is not None and first.manifest is not None:
            return
        if time.monotonic() > deadline:
            raise BoltzmannError(
                f"{late or 'the genesis'} not ready after {_READY_SECONDS:.0f} s: see the logs in "
                f"{network.plan.workdir / 'logs'}"
            )
        await asyncio.sleep(_POLL_S)


async def _watch(network: Network, chain: SubtensorChain, progress: Progress, show: Show) -> None:
    """Collect and show what the nodes report until the last window is audited everywhere."""
    tails = [(item, Tail(item.events)) for item in network.processes]
    clock, plan = network.plan.clock(), network.plan
    while True:
        _require_alive(network)
        for item, tail in tails:
            for event in tail.read():
                progress.add(item.member.name, item.hotkey, event)
        block = (await chain.head()).number
        show.update(network, progress, block)
        if plan.windows and block >= clock.open(plan.windows + 1):
            audited = progress.closed_round >= plan.windows
            together = progress.nodes_at_end() == len(network.processes)
            if (audited and together) or block >= clock.open(plan.windows + 1 + _GRACE_WINDOWS):
                return
        await asyncio.sleep(_POLL_S)


def _require_alive(network: Network) -> None:
    for item in network.processes:
        code = item.process.exitcode
        if code is not None:
            last = item.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            raise BoltzmannError(
                f"{item.member.name} ended with exit code {code}; the end of {item.log}:\n  "
                + "\n  ".join(last)
            )
