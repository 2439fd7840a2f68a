"""Following the chain: bringing the state to the newest manifest that counts.

A node walks back from that manifest along its parents to one it knows, or to a checkpoint, undoes
what was decided otherwise, and applies the rest in order, each step proven by its root. Whatever is
taken back or loaded anew is told by an event of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from boltzmann.errors import Divergence
from boltzmann.node.catchup import load_checkpoint
from boltzmann.node.node import Node
from boltzmann.node.route import Link, Route, route_to
from boltzmann.node.stages import Stage
from boltzmann.node.tip import Sight, Tip, tip_at
from boltzmann.node.updates import Fetched, apply_update, fetch_update, tell_applied
from boltzmann.protocol.rejection import Rejection

_TELL_SECONDS = 10.0  # between two words on the same wait
_AHEAD = 3  # updates fetched while earlier ones are applied
_PATIENCE_BLOCKS = 1  # into a window, for a manifest that is on chain but cannot be read
_COPYING_BLOCKS = 1  # after that, for the copies of validators that read it in the last moment


@dataclass(frozen=True)
class Joined:
    """A window whose state this node holds. `is_late`: the manifest it begins at is new to this
    node, which did not stand there until after the block that decided on it."""

    window: int
    is_late: bool = False


async def join_window(
    node: Node, deadline: Callable[[int], int], *, by_majority: bool = False
) -> Joined:
    """Hold the state of a window whose `deadline` is still to come.

    Waits for the block that decides the window before it, for the run's genesis, and for objects
    that cannot be fetched yet. `by_majority`: as `follow`.
    """
    patience = _PATIENCE_BLOCKS + (_COPYING_BLOCKS if by_majority else 0)
    since, told = time.monotonic(), time.monotonic()
    began_at = node.worker.state.heads[:1]
    while True:
        latest = node.blocks.latest
        window = node.clock.window(latest)
        if latest >= deadline(window):
            window += 1
        await node.blocks.until(node.clock.decide(window - 1))
        patient = node.blocks.latest < node.clock.open(window) + patience
        sight = await tip_at(node, window - 1, by_majority=by_majority, again=patient)
        missing = await _go_to(node, sight, window - 1, patient=patient)
        if missing is None and node.blocks.latest < deadline(window):
            is_new = node.worker.state.position.head not in began_at
            return Joined(window, is_new and node.blocks.latest > node.clock.decide(window - 1))
        if missing is not None and time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            node.telemetry.event("waiting", what=missing, seconds=told - since)
        await asyncio.sleep(node.poll_seconds)


async def follow(
    node: Node, window: int, *, patient: bool = False, by_majority: bool = False
) -> str | None:
    """Bring the state to where it stands after `window`; else what is not there yet.

    `patient`: a digest of `window` that is on chain but cannot be read is waited for; otherwise the
    window stays empty, until a later manifest says otherwise. `by_majority`: for who judges nothing
    itself, and whose work counts only where most validators stand: so does a manifest that
    validators with half the stake or less show.

    Raises: Divergence if an agreed update leads to another root than its manifest names, or if the
    newest manifest would begin the run anew.
    """
    sight = await tip_at(node, window, by_majority=by_majority, again=patient)
    return await _go_to(node, sight, window, patient=patient)


async def _go_to(node: Node, sight: Sight, window: int, *, patient: bool) -> str | None:
    """Bring the state to what was seen on chain, as `follow` does."""
    if sight.withheld and patient:
        return sight.withheld
    if sight.tip is None:
        return sight.withheld or "the first validator's genesis on chain"
    if sight.withheld:
        node.telemetry.event("withheld", window=window, detail=sight.withheld)
    tip, state = sight.tip, node.worker.state
    if state.position.head == tip.name.digest:
        return None
    with node.stage(Stage.FOLLOW, tip.name.window):
        await _settle_candidate(node, tip)
        if state.position.head == tip.name.digest:
            return None
        return await reach(node, tip)


async def reach(node: Node, tip: Tip) -> str | None:
    """Bring the state to this manifest, by the cheapest way there is; else what is missing.

    Raises: Divergence as `follow` does.
    """
    avoid: frozenset[str] = frozenset()
    while True:
        route = await route_to(node, tip, avoid)
        if isinstance(route, str):
            return route
        missing = await _go_back(node, tip, route)
        if missing is None:
            missing = await _go_on(node, tip, route)
            node.manifests.keep(tip.held)  # a long way back may have crowded it out
            return missing
        if route.start is None:
            return missing
        # Damaged or gone with every holder: the checkpoint before it has to do.
        node.telemetry.event("error", what="loading a checkpoint", detail=missing)
        avoid |= {route.start.descriptor.digest}


async def _settle_candidate(node: Node, tip: Tip) -> None:
    """An update this validator has tried out is kept if it is what was agreed, else taken back."""
    state = node.worker.state
    if state.position.head or not state.can_undo:
        return
    proposal = tip.manifest.proposal
    # The root names the whole history, so equal roots mean equal parents too.
    if state.position.root.hex() != proposal.root:
        node.telemetry.event("dropped", window=state.position.window)
        await node.worker.run(state.undo)
        return
    state.confirm(tip.name.digest)
    tell_applied(node, tip.name.digest, proposal, 0, {})


async def _go_back(node: Node, tip: Tip, route: Route) -> str | None:
    """To the head that the route begins at."""
    state = node.worker.state
    if route.start is None:
        while state.position.head != route.base:
            node.telemetry.event("undone", window=state.position.window, head=state.position.head)
            await node.worker.run(state.undo)
        return None
    if state.position.head:
        _require_same_run(node, route)
        # Two validators that start at once may each begin the run: nothing is lost with one.
        name = "dropped" if state.position.window == state.position.genesis else "abandoned"
        node.telemetry.event(name, window=state.position.window, head=state.position.head)
    return await load_checkpoint(node, tip, route.start)


def _require_same_run(node: Node, route: Route) -> None:
    """Raises: Divergence."""
    start, at = route.start, node.worker.state.position
    if start is not None and start.descriptor.genesis != at.genesis:
        raise Divergence(
            f"the manifest of window {start.head.manifest.proposal.window} belongs to a run that "
            f"began with window {start.descriptor.genesis}, this node's state to one that began "
            f"with window {at.genesis}: the state was kept; tell the run's owner"
        )


async def _go_on(node: Node, tip: Tip, route: Route) -> str | None:
    """Apply the route's links; the next updates are fetched meanwhile."""
    began, told = time.monotonic(), time.monotonic()
    tasks: dict[int, asyncio.Task[Fetched | Rejection]] = {}
    roots = [node.worker.state.position.root]
    roots += [bytes.fromhex(link.manifest.proposal.root) for link in route.links]
    try:
        for number, link in enumerate(route.links):
            for ahead in range(number, min(number + 1 + _AHEAD, len(route.links))):
                if ahead not in tasks:
                    work = fetch_update(node, tip.holders, route.links[ahead], roots[ahead])
                    tasks[ahead] = asyncio.create_task(work)
            missing = await apply_link(node, tip, link, roots[number], await tasks.pop(number))
            if missing is not None:
                return missing
            if time.monotonic() - told > 1.0 or (number + 1 == len(route.links) > _AHEAD):
                told = time.monotonic()
                node.telemetry.event(
                    "progress",
                    what="catch-up",
                    done=number + 1,
                    of=len(route.links),
                    seconds=told - began,
                )
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    return None


async def apply_link(
    node: Node, tip: Tip, link: Link, base_root: bytes, fetched: Fetched | Rejection
) -> str | None:
    """Take one step, from one holder after the other, until one has what the manifest names.

    Raises: Divergence.
    """
    avoid: frozenset[str] = frozenset()
    while isinstance(fetched, Fetched):
        refusal = await apply_update(node, link, fetched)
        if refusal is None:
            return None
        node.telemetry.event(
            "refused",
            what=f"the update of window {link.manifest.proposal.window}",
            holder=fetched.holder,
            reason=refusal.reason.value,
            detail=refusal.detail,
        )
        avoid |= {fetched.holder}
        fetched = await fetch_update(node, tip.holders, link, base_root, avoid)
    return f"the update of window {link.manifest.proposal.window}: {fetched}"
