"""The run's first model: published once by the run's first validator."""

from __future__ import annotations

import asyncio

from boltzmann.node.follow import tip_at
from boltzmann.node.membership import leader, peers_at
from boltzmann.node.node import Node
from boltzmann.node.objects import checkpoint_key, manifest_key
from boltzmann.protocol.clock import COMMIT_BLOCKS
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import Manifest
from boltzmann.train import checkpoint
from boltzmann.train.model import initial_parameters


async def ensure_genesis(node: Node) -> None:
    """See to it that the run has a genesis, by publishing it if this node is its first validator.

    Returns at once if any validator of the run has a manifest on chain, or another one leads. A
    genesis that missed its window's deciding block counts for nobody and is made anew.
    """
    while await _is_wanted(node):
        window = await _under_way(node)
        if window is None:
            # The first window whose deciding block a commitment made now can still reach.
            soon = node.blocks.latest + COMMIT_BLOCKS
            window = node.clock.window(soon + node.clock.order_blocks - 1)
            await _publish(node, window)
        await node.blocks.until(node.clock.decide(window))


async def _is_wanted(node: Node) -> bool:
    window = node.clock.window(node.blocks.latest)
    if node.blocks.latest >= node.clock.decide(window) and await tip_at(node, window):
        return False
    if window > 0 and await tip_at(node, window - 1):
        return False
    first = leader(await peers_at(node.chain, node.run.run.id, node.blocks.latest))
    return first is not None and first.hotkey == node.hotkey


async def _under_way(node: Node) -> int | None:
    """The window of a genesis that this node, before a restart, put on chain in good time.

    Another one before its deciding block would leave nodes with two beginnings of one run.
    """
    peers = await peers_at(node.chain, node.run.run.id, node.blocks.latest)
    named = next((p.commitment.manifest for p in peers if p.hotkey == node.hotkey), None)
    return named[0] if named and node.clock.decide(named[0]) > node.blocks.latest else None


async def _publish(node: Node, window: int) -> None:
    parameters = await node.worker.run(lambda: initial_parameters(node.run.model, node.run.key))
    data = checkpoint.encode(parameters)
    state = node.worker.state
    await node.worker.run(lambda: state.reset(parameters, "", window))
    manifest = node.outbox.find(window, "manifest") or _seal(node, window, data)
    node.outbox.keep(window, "manifest", manifest)
    state.confirm(digest(manifest))
    run = node.run.run.id
    await asyncio.to_thread(node.store.put, checkpoint_key(run, window), data)
    await asyncio.to_thread(node.store.put, manifest_key(run, window), manifest)
    commitment = Commitment(
        Role.VALIDATOR, run, node.store.address, manifest=(window, digest(manifest))
    )
    await node.chain.commit(commitment.encode())
    node.telemetry.event("genesis", window=window, root=state.position.root.hex())


def _seal(node: Node, window: int, data: bytes) -> bytes:
    return Manifest(
        run=node.run.run.id,
        window=window,
        parent="",
        parent_window=0,
        accepted=(),
        norm_limit=float("inf"),
        update=digest(data),
        update_bytes=len(data),
        root=node.worker.state.position.root.hex(),
    ).seal(node.hotkey, node.keys.sign)
