"""Which manifest the chain has ordered last: the one question that decides which model is held.

The chain orders digests, buckets only carry bytes. A digest counts if it was in a validator's
record at its own window's deciding block, and if the manifest it names carries the ballots of
enough stake; of several for one window the first in the leaders' order counts. A digest that nobody
can read is as good as none: its window stays empty, unless a later manifest that a majority has
approved stands on it. A bucket may show some what it hides from others, so who only follows goes by
the newest manifest when more than half of the validators' stake show it: they stand at it then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from boltzmann.node.councils import Council
from boltzmann.node.manifests import Held
from boltzmann.node.membership import Peer, first_validator, validators
from boltzmann.node.node import Node
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.council import Outcome, more_than_half
from boltzmann.protocol.manifest import Manifest, Parent
from boltzmann.protocol.rejection import Rejection


@dataclass(frozen=True)
class Holder:
    """A validator whose bucket may hold copies."""

    hotkey: str
    address: str


@dataclass(frozen=True)
class Tip:
    """The newest manifest that counts, and who may hold what it names."""

    name: Parent
    held: Held
    holders: tuple[Holder, ...]

    @property
    def manifest(self) -> Manifest:
        return self.held.manifest


@dataclass(frozen=True)
class Sight:
    """What the chain says. `withheld`: a digest of the newest window that cannot be read, or of any
    that too few show, or ""."""

    tip: Tip | None
    withheld: str = ""


@dataclass(frozen=True)
class Claim:
    """A validator's record of one manifest, and what is behind it; `tip` is None if nothing is."""

    name: Parent
    held: Held | Rejection
    tip: Tip | None


async def tip_at(
    node: Node, window: int, *, by_majority: bool = False, again: bool = False
) -> Sight:
    """The newest manifest of a window up to `window` that counts, if any.

    `by_majority`: one that this node does not stand on yet has to be shown by validators with more
    than half of the stake of today; otherwise it is withheld. `again`: whether this is asked again
    soon, so that nobody has to be waited for.
    """
    withheld, newest_asked = "", window
    while window >= 0:
        peers = await node.councils.peers(node.clock.decide(window))
        newest = max((number for number, _ in _named(peers, window).values()), default=-1)
        if newest < window:
            window = max(newest, _before(node, window))
            continue
        council = await node.councils.at(window)
        names = ordered(peers, council)
        if not _is_asked_again(newest_asked - window):
            names = [n for n in names if not node.manifests.is_known_missing(n.digest)]
        async with aclosing(_claims(node, peers, council, names)) as claims:
            async for claim in claims:
                by = f"the manifest of window {window} by {claim.name.leader}"
                if claim.tip is not None:
                    shown = not by_majority or await _is_shown(node, newest_asked, claim.tip, again)
                    if shown:
                        return Sight(claim.tip, withheld)
                    withheld = withheld or f"{by}: half the validators' stake or less shows it"
                if isinstance(claim.held, Rejection) and window == newest_asked:
                    withheld = withheld or f"{by}: {claim.held}"
        window -= 1
    return Sight(None, withheld)


async def _is_shown(node: Node, window: int, tip: Tip, again: bool) -> bool:
    """Whether validators with more than half of the stake after `window` show a manifest.

    What this node stands on was shown before, and a bucket that is silent now takes it back no
    more. A genesis has nobody behind it but who begins the run.
    """
    if tip.manifest.is_genesis or tip.name.digest in node.worker.state.heads:
        return True
    council = await node.councils.at(window)
    peers = await node.councils.peers(node.clock.decide(window))
    bucket = {holder.hotkey: holder.address for holder in holders_of(peers, council, "")}

    def enough(shown: set[str]) -> bool:
        return more_than_half((h for h, b in bucket.items() if b in shown), council.stakes)

    return await node.manifests.are_shown(tip.name, bucket.values(), enough, again=again)


def _is_asked_again(age: int) -> bool:
    """Whether what nobody had is asked for in a window that is so many windows old: in the first
    two, as a copy may turn up, then ever less often. Never again would be too late for who could
    read nothing for a while: it would stand elsewhere than all others until it is restarted."""
    return age & (age - 1) == 0  # 0, 1, 2, 4, 8, ...


async def _claims(
    node: Node, peers: list[Peer], council: Council, names: list[Parent]
) -> AsyncGenerator[Claim, None]:
    """What is behind each name, in order; all are looked up at the same time, as many may name
    what nobody can read."""
    lookups = [asyncio.create_task(look_up(node, peers, council, name)) for name in names]
    try:
        for lookup in lookups:
            yield await lookup
    finally:
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)


def _before(node: Node, window: int) -> int:
    """The window to look at after one that nothing was ordered in; -1: the newest that is named.

    A validator may have overwritten, by now, the record that closed the window this node stands
    at. So its own last windows are looked at one by one, each at its own deciding block; what lies
    further back is beyond undoing, and found by what records still name.
    """
    state = node.worker.state
    stands_at = state.position.window - (not state.position.head)
    is_near = window - stands_at <= node.run.exchange.history
    return window - 1 if 0 <= stands_at < window and is_near else -1


def ordered(peers: list[Peer], council: Council) -> list[Parent]:
    """The manifests of the council's window that records of its deciding block name.

    In the leaders' order, who may begin a run last. `peers` are those of that block.
    """
    window, named = council.window, _named(peers, council.window)
    return [
        Parent(named[leader][1], window, leader)
        for leader in dict.fromkeys((*council.order, first_validator(peers)))
        if named.get(leader, (-1, ""))[0] == window
    ]


async def look_up(node: Node, peers: list[Peer], council: Council, name: Parent) -> Claim:
    """Read the manifest of one record, and see whether it counts."""
    holders = holders_of(peers, council, name.leader)
    held = await node.manifests.get(name, [holder.address for holder in holders])
    if isinstance(held, Rejection):
        return Claim(name, held, None)
    if held.manifest.is_genesis:
        # A run begins once, and the validator with the most stake begins it.
        first = name.leader == first_validator(peers)
        counts = first and (await tip_at(node, name.window - 1)).tip is None
    else:
        counts = name.leader in council.stakes and _is_approved(node, council, held.manifest)
    return Claim(name, held, Tip(name, held, holders) if counts else None)


def _named(peers: list[Peer], window: int) -> dict[str, tuple[int, str]]:
    """hotkey -> (window, digest) of validators' records; none of a window still to come."""
    return {
        peer.hotkey: peer.commitment.manifest
        for peer in peers
        if peer.commitment.role is Role.VALIDATOR
        and peer.commitment.manifest is not None
        and peer.commitment.manifest[0] <= window
    }


def holders_of(peers: list[Peer], council: Council, leader: str) -> tuple[Holder, ...]:
    """The leader first, then the other validators, of that time or of now; the most stake first,
    as who holds dust may have a bucket that makes each read wait for its limit."""
    found = {hotkey: peer.bucket for hotkey, peer in council.validators.items()}
    found |= {peer.hotkey: peer.bucket for peer in validators(peers)}
    stakes = {peer.hotkey: peer.neuron.stake for peer in (*council.validators.values(), *peers)}
    order = sorted(found, key=lambda hotkey: (hotkey != leader, -stakes[hotkey], hotkey))
    return tuple(Holder(hotkey, found[hotkey]) for hotkey in order)


def _is_approved(node: Node, council: Council, manifest: Manifest) -> bool:
    rules = node.run.agreement
    outcome = manifest.outcome(council.stakes, rules.vote_threshold, rules.proposer_counts)
    return outcome is Outcome.APPROVED
