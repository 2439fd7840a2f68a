"""One window under audit: what the chain says of it, what it stands on, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from boltzmann.audit.line import Line, past
from boltzmann.audit.report import Report, signature_of
from boltzmann.node.councils import Council
from boltzmann.node.manifests import Held
from boltzmann.node.membership import Peer
from boltzmann.node.node import Node
from boltzmann.node.objects import manifest_key
from boltzmann.node.round import Duty, Round, assigned, chosen_in, points_of
from boltzmann.node.tip import Holder, holders_of
from boltzmann.protocol.manifest import Proposal


@dataclass(frozen=True)
class Past:
    """What the chain has of a window. `peers`: those of its deciding block."""

    peers: list[Peer]
    council: Council
    members: Mapping[str, Peer]
    pages: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Case:
    """A window, its manifest if one counts, and the one it stands on (None for a genesis).

    `past` is None if the chain has forgotten those blocks.
    """

    node: Node
    line: Line
    window: int
    held: Held | None
    base: Held | None
    past: Past | None
    report: Report

    @property
    def proposal(self) -> Proposal:
        """Raises: ValueError for a window without a manifest."""
        if self.held is None:
            raise ValueError(f"window {self.window} has no manifest")
        return self.held.manifest.proposal

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Every validator that may hold copies."""
        if self.past is None or self.held is None:
            return self.line.tip.holders
        found = holders_of(self.past.peers, self.past.council, self.proposal.leader)
        known = {holder.hotkey for holder in found}
        return (*found, *(h for h in self.line.tip.holders if h.hotkey not in known))

    @property
    def approvers(self) -> str:
        """Who stands by the manifest besides its leader, for a sentence."""
        ballots = self.held.manifest.ballots if self.held else {}
        others = [v for v, b in sorted(ballots.items()) if b.approves and v != self.proposal.leader]
        return f"; approved by {', '.join(others)}" if others else ""

    def blame_leader(self, what: str, detail: str) -> None:
        """A mismatch that the manifest itself proves: its leader signed it, others approved it."""
        held = self.held
        if held is not None:
            name = held.name
            key = manifest_key(self.node.run.run.id, name.window, name.digest)
            self.report.wrong(
                what, name.leader, detail + self.approvers, key, signature_of(held.data)
            )

    async def round(self) -> Round | None:
        """The window as validators had it; None if the chain has forgotten it."""
        if self.past is None or self.base is None:
            return None
        return Round(
            duty=Duty(self.window, self.base, self.past.members, self.past.pages),
            council=self.past.council,
            chosen=await chosen_in(self.node, self.window),
            points=await points_of(self.node, self.window),
        )


async def open_case(node: Node, line: Line, window: int) -> Case:
    """Look the window up on chain. Raises: ChainError."""
    held = line.held.get(window)
    report = Report(window)
    if held is not None:
        report.leader, report.manifest = held.name.leader, held.name.digest
        report.root = held.manifest.proposal.root
        report.accepted = len(held.manifest.proposal.accepted)

    async def read() -> Past:
        peers = await node.councils.peers(node.clock.decide(window))
        members, pages = await assigned(node, window)
        return Past(peers, await node.councils.at(window), members, pages)

    found = await past(node, read)
    if found is None:
        report.gaps.append(
            f"order, ballots, receipts, admission, deltas and verdicts: the chain endpoint no "
            f"longer has the state of blocks {node.clock.open(window)} to "
            f"{node.clock.decide(window)}, ask an archive node (--subtensor.network archive)"
        )
    return Case(node, line, window, held, line.before(window), found, report)
