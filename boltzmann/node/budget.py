"""Whether the chain's byte budget of commitments lets the validators order every window."""

from __future__ import annotations

from collections.abc import Sequence

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
    trouble = budget_trouble(charges, space.limit, rules.tempo, node.clock.length)
    if trouble:
        node.telemetry.event("error", what="the chain's commitment budget", detail=trouble)


def budget_trouble(charges: Sequence[int], limit: int, tempo: int, length: int) -> str:
    """Why windows of `length` blocks cannot all be ordered, or "".

    `charges`: the bytes of each validator's record, of `limit` bytes per `tempo` blocks.
    """
    largest = max(charges)
    try:
        shortest = shortest_window(limit, tempo, largest, len(charges))
    except ValueError as error:  # a record that the chain takes from nobody
        return str(error)
    if length >= shortest:
        return ""
    return (
        f"{len(charges)} validators whose records take up to {largest} of {limit} bytes per "
        f"{tempo} blocks can order a window every {shortest} blocks; this run's windows have "
        f"{length}, so some will stay empty: the owner should lengthen them or let more "
        f"validators in"
    )
