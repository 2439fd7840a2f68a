"""Going through windows one after another: what each was, and the state it led to."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial

from boltzmann.audit.case import Case, open_case
from boltzmann.audit.copies import check_checkpoint, check_copies
from boltzmann.audit.deltas import recompute_update
from boltzmann.audit.documents import Receipts, check_admission, check_order
from boltzmann.audit.line import Line, find_line, link_of
from boltzmann.audit.report import Report
from boltzmann.audit.verdicts import check_verdicts
from boltzmann.errors import BoltzmannError, Divergence
from boltzmann.node.follow import apply_link, reach
from boltzmann.node.manifests import Held
from boltzmann.node.node import Node
from boltzmann.node.round import Round
from boltzmann.node.tip import Tip
from boltzmann.node.updates import fetch_update
from boltzmann.protocol.documents import digest
from boltzmann.train import checkpoint


@dataclass
class _Replay:
    """`rebuilt`: window -> digest of the checkpoint that its state makes; `lost`: the window whose
    state could not be reached, if any."""

    node: Node
    line: Line
    recompute: bool
    receipts: Receipts
    rebuilt: dict[int, str] = field(default_factory=dict)
    lost: int | None = None


async def audit(
    node: Node, first: int, last: int, *, recompute: bool
) -> AsyncGenerator[Report, None]:
    """Recompute windows `first` to `last`, one report each. The node's state begins empty.

    Raises: ConfigError if the windows are not there to audit, BoltzmannError if what came before
    them cannot be rebuilt, ChainError.
    """
    trust = node.run.rewards.trust_windows if recompute else 0
    line = await find_line(node, first, last, last + trust)
    replay = _Replay(node, line, recompute, Receipts(node))
    if line.base is not None:
        await _begin(replay, line.base, first)
    for window in range(first, last + 1):
        node.telemetry.event("progress", what="audit", done=window - first, of=last + 1 - first)
        yield await _audit_window(replay, window)


async def _begin(replay: _Replay, base: Tip, first: int) -> None:
    """The state that the first window stands on. Raises: BoltzmannError."""
    try:
        missing = await reach(replay.node, base)
    except Divergence as error:
        raise BoltzmannError(
            f"what came before window {first} does not lead where its manifests say ({error}): "
            f"audit those windows as well"
        ) from error
    if missing is not None:
        raise BoltzmannError(
            f"the state before window {first} cannot be rebuilt, for want of {missing}; try again "
            f"later, or audit from a later window on"
        )
    await _rebuild(replay)


async def _audit_window(replay: _Replay, window: int) -> Report:
    node, case = replay.node, await open_case(replay.node, replay.line, window)
    await check_order(case)
    await check_admission(case, replay.receipts)
    await check_copies(case)
    await check_checkpoint(case, replay.rebuilt)
    if replay.lost is not None:
        case.report.gaps.append(f"the state: that of window {replay.lost} could not be reproduced")
        return case.report
    if case.held is not None and case.held.manifest.is_genesis:
        await _begin(replay, Tip(case.held.name, case.held, case.holders), window)
        return case.report
    this = await case.round()
    if this is not None and replay.recompute:
        await check_verdicts(case, this, replay.receipts)
    if case.held is not None:
        # A manifest that the walk fetched long ago may have been crowded out since.
        node.manifests.keep(case.held)
        body = await recompute_update(case, this) if this is not None else None
        await _step(replay, case, case.held, this, body)
    return case.report


async def _step(
    replay: _Replay, case: Case, held: Held, this: Round | None, body: bytearray | None
) -> None:
    """Apply the window's update: as recomputed if that is what was agreed, else as published."""
    node, proposal = case.node, held.manifest.proposal
    state = node.worker.state
    if this is not None and body is not None and digest(body) == proposal.update:
        values = node.run.exchange.codec.decode(body)
        work = partial(state.apply, this.chosen, values, proposal.update, case.window)
        root = (await node.worker.run(work)).hex()
        state.confirm(case.report.manifest)
        if root == proposal.root:
            await _rebuild(replay)
            return
        case.blame_leader("root", f"the update leads to {root[:12]}, it names {proposal.root[:12]}")
    elif await _step_as_published(case, held):
        await _rebuild(replay)
        return
    replay.lost = case.window


async def _step_as_published(case: Case, held: Held) -> bool:
    """Whether there was an update to apply that led where the manifest says."""
    node, base_root = case.node, case.node.worker.state.position.root
    link, tip = link_of(held), Tip(held.name, held, case.holders)
    try:
        fetched = await fetch_update(node, tip.holders, link, base_root)
        missing = await apply_link(node, tip, link, base_root, fetched)
    except Divergence as error:
        case.blame_leader("root", str(error).partition(":")[0])
        return False
    if missing is not None:
        case.report.gaps.append(f"the state: {missing}")
    return missing is None


async def _rebuild(replay: _Replay) -> None:
    """Make the checkpoint of the present state, if a manifest of the line names one of it."""
    node, window = replay.node, replay.node.worker.state.position.window
    named = {held.manifest.proposal.checkpoint.window for held in replay.line.held.values()}
    if window not in named:
        return
    folder = node.folder / "rebuilt"
    work = partial(checkpoint.write, node.worker.state, node.run.run.id, folder)
    replay.rebuilt[window] = (await node.worker.run(work)).digest
    shutil.rmtree(folder)
