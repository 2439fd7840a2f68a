"""One simulation from start to result."""

from __future__ import annotations

import asyncio
import gc
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import torch

from boltzmann.errors import BoltzmannError
from boltzmann.node.objects import commit_key, delta_key
from boltzmann.simulate.clock import run_virtual
from boltzmann.simulate.network import Network, Running, opened
from boltzmann.simulate.plan import BLOCK_TIME_S, HONEST, VALIDATOR, SimulationPlan
from boltzmann.simulate.results import PeerResult, SimulationResult, dividends, shares_of_pay

_MEMORY = Path("/dev/shm")  # files are synced to disk, and here that costs nothing
_BYTES_PER_NODE = 4_000_000  # journal, undo log, checkpoints
_DELTAS_KEPT = 4  # windows whose deltas can still be read

_COLLECTED_AFTER = 100_000  # new objects: there are millions, and next to no cycles among them

Progress = Callable[[int, float | None, int], None]


def no_progress(window: int, loss: float | None, accepted: int) -> None:
    """Who asks for no progress is told none."""


def simulate(
    plan: SimulationPlan, progress: Progress = no_progress, *, processes: int = 1
) -> SimulationResult:
    """What this plan comes to: a function of the plan alone.

    `progress` is called after each window, with the miners' loss and how many deltas entered;
    `processes` share the gradients.
    Raises: BoltzmannError if a node ends, SimulationStuck if nothing can happen any more.
    """
    threads, collected_after = torch.get_num_threads(), gc.get_threshold()
    torch.set_num_threads(1)  # tensors this small are slower with more
    gc.set_threshold(_COLLECTED_AFTER)
    try:
        with work_folder(len(plan.members)) as folder:
            return run_virtual(_simulate(plan, folder, progress, processes))
    finally:
        torch.set_num_threads(threads)
        gc.set_threshold(*collected_after)


@contextmanager
def work_folder(nodes: int) -> Iterator[Path]:
    """A folder for the nodes' files, in memory if there is room; removed at the end."""
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > nodes * _BYTES_PER_NODE
    place = _MEMORY if roomy else None
    with tempfile.TemporaryDirectory(prefix="boltzmann-simulation-", dir=place) as folder:
        yield Path(folder)


async def _simulate(
    plan: SimulationPlan, folder: Path, progress: Progress, processes: int
) -> SimulationResult:
    async with opened(plan, folder, processes) as network:
        clock, first = network.run.windows, 0.0
        for window in range(1, plan.windows + 2):
            await _until(network, clock.open(window))
            if window == 1:
                first = await _held_out_loss(network)
            else:
                _tell(network, window - 1, progress)
            _forget(network, window - _DELTAS_KEPT)
            if window in plan.happenings:
                await plan.happenings[window](network)
        # The last window's audits are done while the next one's miners train.
        await _until(network, clock.close(plan.windows + 1))
        return result_of(network, plan.windows, first, await _held_out_loss(network))


async def _until(network: Network, block: int) -> None:
    """Make blocks, and let everybody do what each brings. Raises: BoltzmannError."""
    while network.ledger.height < block:
        await asyncio.sleep(BLOCK_TIME_S)
        network.ledger.advance()
        for running in network.nodes.values():
            _require_alive(running)
    await asyncio.sleep(BLOCK_TIME_S / 2)


def _require_alive(running: Running) -> None:
    """Raises: BoltzmannError if a node has ended of itself."""
    task = running.task
    if task.done() and not task.cancelled():
        raise BoltzmannError(
            f"the node {running.member.name} ended: {task.exception() or 'its loop was left'}"
        ) from task.exception()


def _forget(network: Network, window: int) -> None:
    run = network.run.run.id
    network.buckets.drop(commit_key(run, window))
    network.buckets.drop(delta_key(run, window))


def _tell(network: Network, window: int, progress: Progress) -> None:
    losses = network.seen.losses.get(window - 1)  # audits lag a window
    accepted = network.seen.accepted.get(window, ())
    progress(window, fmean(losses) if losses else None, len(accepted))


def _honest(network: Network, kind: str) -> list[Running]:
    """Those who are of an honest kind and have not left."""
    return [
        running
        for running in network.nodes.values()
        if running.member.kind == kind and not running.task.done()
    ]


async def _held_out_loss(network: Network) -> float:
    return await _honest(network, VALIDATOR)[0].node.worker.loss(network.held_out)


def result_of(network: Network, last: int, loss_first: float, loss_last: float) -> SimulationResult:
    """What the windows up to `last` have come to; the losses are the caller's."""
    plan, seen, clock = network.plan, network.seen, network.run.windows
    windows = range(1, last + 1)
    standing = {
        running.node.worker.state.position.root.hex()
        for kind in (VALIDATOR, HONEST)
        for running in _honest(network, kind)
    }
    pay = shares_of_pay(network.ledger.payments, [clock.open(w + 1) for w in windows])
    losses = (seen.losses.get(window) for window in windows)
    return SimulationResult(
        peers=tuple(
            _peer(network, running, pay, last)
            for running in network.nodes.values()
            if not running.member.stake
        ),
        validators=plan.validators,
        windows=last,
        seed=plan.seed,
        updates=sum(window in seen.accepted for window in windows),
        agreed=len(standing) == 1
        and all(len(set(r.values())) == 1 for r in seen.roots.values() if r),
        root=min(standing),
        loss_first=loss_first,
        loss_last=loss_last,
        losses=tuple(fmean(found) if found else None for found in losses),
        notes=tuple(seen.notes),
        dividends=_dividends(network),
    )


def _dividends(network: Network) -> dict[str, float]:
    """By kind of validator; whoever has set no weights earns nothing."""
    earned = dividends(network.ledger.payments)
    kinds: dict[str, list[float]] = {}
    for running in network.nodes.values():
        if running.member.stake:
            share = earned.get(running.node.hotkey, 0.0)
            kinds.setdefault(running.member.kind, []).append(share)
    return {kind: fmean(shares) for kind, shares in sorted(kinds.items())}


def _peer(network: Network, running: Running, pay: dict[str, float], last: int) -> PeerResult:
    seen, hotkey = network.seen, running.node.hotkey
    sent = sorted(w for w in seen.sent.get(hotkey, ()) if w <= last)
    begun: int | None = getattr(running.conduct, "first_cheat", min(sent, default=None))
    first_cheat = None if running.member.kind == HONEST else begun
    failed = [w for w in seen.failed(hotkey) if w >= (first_cheat or 0)]
    caught = min(failed, default=None)
    cheated = set() if running.member.kind == HONEST else _cheated(running.conduct, sent)
    bad = [w for w in cheated if w <= last and hotkey in seen.accepted.get(w, ())]
    bad_before = sum(caught is None or w <= caught for w in bad)
    return PeerResult(
        name=running.member.name,
        kind=running.member.kind,
        hotkey=hotkey,
        windows=len(sent),
        accepted=sum(hotkey in entered for w, entered in seen.accepted.items() if w <= last),
        audits=len(seen.audits[hotkey]),
        rejected=dict(sorted(Counter(reason for _, reason in seen.refused[hotkey]).items())),
        pay=pay.get(hotkey, 0.0),
        first_cheat=first_cheat,
        caught=caught,
        bad_before=bad_before,
        bad_after=len(bad) - bad_before,
        work=float(len(sent)) if running.member.kind == HONEST else _work(running.conduct),
    )


def _cheated(conduct: object, sent: Iterable[int]) -> Iterable[int]:
    """The windows in which it sent what should not enter an update."""
    if getattr(conduct, "is_harmless", False):
        return ()
    windows: Iterable[int] = getattr(conduct, "cheated", sent)
    return windows


def _work(conduct: object) -> float | None:
    work: float | None = getattr(conduct, "work", None)
    return work
