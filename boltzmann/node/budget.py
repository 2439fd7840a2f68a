"""Whether the chain's byte budget of commitments lets the validators order every window."""

from __future__ import annotations

from boltzmann.node.councils import record_charge
from boltzmann.node.membership import validators
from boltzmann.node.node import Node
from boltzmann.protocol.budget import shortest_window


async def tell_budget(node: Node) -> None:
    """Say so if windows are shorter than the budget allows: some would then stay empty."""
    head = await node.chain.head()
    seats = validators(await node.councils.peers(head.number))
    rules = await node.chain.rules(head.number)
    space = await node.chain.commit_space(head.number)
    if not seats:
        return
    if len(seats) == 1 and not node.run.agreement.proposer_counts:
        node.telemetry.event(
            "error",
            what="agreement",
            detail="this is the run's only validator and agreement.proposer_counts is false, so "
            "nobody can approve its updates: another validator must join, or the owner change it",
        )
    window = node.clock.window(head.number)
    charges = [taken for peer in seats if (taken := record_charge(peer, window)) is not None]
    if not charges:
        return  # nobody can order anything, whatever the windows' length
    largest = max(charges)
    shortest = shortest_window(space.limit, rules.tempo, largest, len(charges))
    if node.clock.length < shortest:
        node.telemetry.event(
            "error",
            what="the chain's commitment budget",
            detail=f"{len(charges)} validators whose records take up to {largest} of {space.limit} "
            f"bytes per {rules.tempo} blocks can order a window every {shortest} blocks; this "
            f"run's windows have {node.clock.length}, so some will stay empty: the owner should "
            f"lengthen them or let more validators in",
        )
