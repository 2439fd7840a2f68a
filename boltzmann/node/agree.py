"""Agreeing on a window's update: receipts, a proposal, ballots, and the digest on chain."""

from __future__ import annotations

import asyncio

from boltzmann.node.desk import Desk, look_for_proposals, look_for_receipts, put_back
from boltzmann.node.node import Node
from boltzmann.node.propose import certify, may_propose, propose
from boltzmann.node.round import Round
from boltzmann.node.vote import APPROVED, draw_held_out, mirror, restore, vote
from boltzmann.protocol.manifest import Proposal


async def agree(node: Node, this: Round) -> Desk:
    """Take part until this node's work is done or the window's deciding block is here.

    What is approved stays applied: `follow` confirms it once the chain has ordered it, or takes it
    back.
    """
    desk = Desk(this, draw_held_out(node, this.window))
    bound = node.outbox.find(this.window, APPROVED)
    desk.bound_to = bound.decode() if bound else ""
    desk.loss_before = await node.worker.loss(desk.held_out)
    if node.hotkey not in this.council.validators:
        return desk
    try:
        await _take_part(node, desk)
    finally:
        await desk.reads.close()
    if not desk.approved:
        await put_back(node, desk)
    return desk


async def _take_part(node: Node, desk: Desk) -> None:
    limit = node.clock.decide(desk.this.window)
    while node.blocks.latest < limit and not desk.is_done(node.hotkey):
        if not desk.is_first_hand:
            await look_for_receipts(node, desk)
        if may_propose(node, desk):
            await propose(node, desk)
        if not desk.approved:
            await look_for_proposals(node, desk)
            await _vote_in_order(node, desk)
        mine = desk.proposals.get(node.hotkey)
        if mine is not None and not desk.certified:
            await certify(node, desk, mine)
        if not desk.is_done(node.hotkey):
            await asyncio.sleep(node.poll_seconds)


async def _vote_in_order(node: Node, desk: Desk) -> None:
    """On each proposal once, the leaders' order deciding which comes first."""
    for leader in desk.this.council.order:
        proposal = desk.proposals.get(leader)
        if proposal is None or leader in desk.cast or desk.approved:
            continue
        await vote(node, desk, proposal)
        if desk.cast.get(leader):
            await _stand_by(node, desk, proposal)


async def _stand_by(node: Node, desk: Desk, proposal: Proposal) -> None:
    if desk.candidate is None:  # approved before a restart
        await restore(node, desk, proposal)
    await mirror(node, desk)
