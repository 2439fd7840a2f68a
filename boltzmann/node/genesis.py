"""The run's first model: published once by the run's first validator."""

from __future__ import annotations

from boltzmann.errors import ChainError
from boltzmann.node.checkpoints import folder_of, named, publish_checkpoint
from boltzmann.node.manifests import Held
from boltzmann.node.membership import first_validator, peers_at
from boltzmann.node.node import Node
from boltzmann.node.objects import manifest_key
from boltzmann.node.outbox import writing
from boltzmann.node.publish import publish
from boltzmann.node.tip import Sight, tip_at
from boltzmann.protocol.clock import INCLUSION_BLOCKS
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.manifest import Manifest, Proposal, open_manifest
from boltzmann.protocol.rejection import Rejection
from boltzmann.train import checkpoint
from boltzmann.train.model import initial_parameters

_PATIENCE_WINDOWS = 2  # for a digest that cannot be read, before a run is begun


async def ensure_genesis(node: Node) -> None:
    """See to it that the run has a genesis, by publishing it if this node is its first validator.

    Returns at once if the run has begun, or another validator has more stake. A genesis that missed
    its window's deciding block counts for nobody and is made anew. A digest that nobody can read
    may be a genesis of better days: it is waited for, but not for long, as anybody can order one.
    Raises: NoRoom or StoreError if the disk or the own bucket does not take it.
    """
    waited = 0
    while True:
        sight = await _sight(node)
        if sight.tip is not None or not await _is_first(node):
            return
        window = await _under_way(node)
        doubtful = bool(sight.withheld) or waited > 0
        if window is None and doubtful and waited < _PATIENCE_WINDOWS:
            waited += 1
            window = _decided(node) + 1
            what = f"window {window}: what is on chain and cannot be read may be a genesis"
            node.telemetry.event("waiting", what=what, seconds=0.0)
        elif window is None:
            # The first window whose deciding block a commitment made now can still reach.
            soon = node.blocks.latest + INCLUSION_BLOCKS
            window = node.clock.window(soon + node.clock.order_blocks - 1)
            await _publish(node, window)
        await node.blocks.until(node.clock.decide(window))


async def _sight(node: Node) -> Sight:
    return await tip_at(node, _decided(node))


def _decided(node: Node) -> int:
    """The newest window whose deciding block is there."""
    window = node.clock.window(node.blocks.latest)
    return window - (node.blocks.latest < node.clock.decide(window))


async def _is_first(node: Node) -> bool:
    peers = await peers_at(node.chain, node.run.run.id, node.blocks.latest)
    return first_validator(peers) == node.hotkey


async def _under_way(node: Node) -> int | None:
    """The window of a genesis that this node, before a restart, put on chain in good time.

    Another one before its deciding block would leave nodes with two beginnings of one run.
    """
    peers = await peers_at(node.chain, node.run.run.id, node.blocks.latest)
    record = next((p.commitment.manifest for p in peers if p.hotkey == node.hotkey), None)
    return record[0] if record and node.clock.decide(record[0]) > node.blocks.latest else None


async def _publish(node: Node, window: int) -> None:
    state, run = node.worker.state, node.run.run.id
    parameters = await node.worker.run(lambda: initial_parameters(node.run.model, node.run.key))
    await node.worker.run(lambda: state.reset(parameters, "", window))
    folder = folder_of(node, window)
    with writing(folder):
        descriptor = await node.worker.run(lambda: checkpoint.write(state, run, folder))
    await publish_checkpoint(node, descriptor)
    data = node.outbox.find(window, "manifest")
    if data is None:
        data = Manifest(_proposal(node, window, descriptor), {}, ()).seal(node.keys.sign)
        node.outbox.keep(window, "manifest", data)
    opened = open_manifest(data, run, window, node.hotkey, node.verify)
    if isinstance(opened, Rejection) or opened.proposal.root != state.position.root.hex():
        return  # the journal of another run's beginning: the next window begins this one
    held = Held(opened, data)
    node.manifests.keep(held)
    state.confirm(held.name.digest)
    key, limit = manifest_key(run, window, held.name.digest), node.clock.decide(window)
    if await publish(node, key, data, before=limit):
        record = Commitment(
            Role.VALIDATOR, run, node.store.address, manifest=(window, held.name.digest)
        )
        try:
            await node.chain.commit(record.encode())
        except ChainError as error:  # too late or refused: the loop above looks again
            node.telemetry.event("error", what="ordering the genesis", detail=str(error))
        else:
            node.telemetry.event("genesis", window=window, root=state.position.root.hex())


def _proposal(node: Node, window: int, descriptor: checkpoint.Descriptor) -> Proposal:
    return Proposal(
        run=node.run.run.id,
        window=window,
        leader=node.hotkey,
        parent=None,
        receipts=(),
        accepted=(),
        norm_limit=float("inf"),
        update="",
        update_bytes=0,
        root=node.worker.state.position.root.hex(),
        checkpoint=named(descriptor),
    )
