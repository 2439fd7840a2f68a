"""The beginning of the run that `benchmarks.exchange` measures: one state in every process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.scripted import Ordered, ScriptedChain
from boltzmann.node.manifests import Held
from boltzmann.node.membership import first_validator, peers_at
from boltzmann.node.node import Node
from boltzmann.node.objects import manifest_key
from boltzmann.protocol.manifest import CheckpointName, Manifest, Parent, Proposal
from boltzmann.protocol.rejection import Rejection

Floats = NDArray[np.float32]

LEADER, MINER = "leader", "miner"
_FILL = 1 << 22  # coordinates filled at a time


async def begin(node: Node, chain: ScriptedChain) -> None:
    """The run's genesis; its checkpoint is never read, so there is none."""
    run, state = node.run.run.id, node.worker.state
    _reset(node)
    proposal = Proposal(
        run=run,
        window=0,
        leader=node.hotkey,
        parent=None,
        receipts=(),
        accepted=(),
        norm_limit=float("inf"),
        update="",
        update_bytes=0,
        root=state.position.root.hex(),
        checkpoint=CheckpointName(0, "0" * 64),
    )
    manifest = Manifest(proposal, {}, ())
    held = Held(manifest, manifest.seal(node.keys.sign))
    node.store.put(manifest_key(run, 0, held.name.digest), held.data)
    node.manifests.keep(held)
    state.confirm(held.name.digest)
    chain.ordered.append(Ordered(node.clock.decide(0), LEADER, 0, held.name.digest))


async def take_over(node: Node, chain: ScriptedChain) -> None:
    """The same state as the leader's, at its manifest."""
    _reset(node)
    leader = first_validator(await peers_at(node.chain, node.run.run.id, node.clock.decide(0)))
    name = Parent(chain.ordered[0].digest, 0, leader)
    held = await node.manifests.get(name, [chain.members[LEADER].address])
    if isinstance(held, Rejection):
        raise RuntimeError(f"the genesis manifest is refused: {held}")
    if held.manifest.proposal.root != node.worker.state.position.root.hex():
        raise RuntimeError("the miner's initial state is not the leader's")
    node.worker.state.confirm(name.digest)


def _reset(node: Node) -> None:
    state = node.worker.state
    _fill(state.theta, seed=0)
    state.reset(state.parameters, "", 0)


def noise(size: int, seed: int) -> Floats:
    """`[size] float32` as `_fill` has them."""
    values = np.empty(size, np.float32)
    _fill(values, seed)
    return values


def _fill(values: Floats, seed: int) -> None:
    """Numbers of a weight's or a clipped gradient's size, in place and touching every page."""
    random = np.random.default_rng(seed)
    for start in range(0, len(values), _FILL):
        part = values[start : start + _FILL]
        random.random(out=part, dtype=np.float32)
        part -= np.float32(0.5)
        part *= np.float32(1e-4)
