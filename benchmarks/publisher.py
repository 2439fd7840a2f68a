"""Everything that a run's validators leave in their buckets and on chain, made without a network.

Each window: one sealed update, and a certified manifest with the ballots of all validators, sealed
by the leader that the closing hash draws, in that leader's bucket. The state is a real one, so the
roots are those that a follower must reach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.nodes import open_state
from benchmarks.scripted import Member, Ordered, SeedKeys, block_hash
from benchmarks.servers import Place
from boltzmann.config import RunConfig
from boltzmann.node.objects import (
    descriptor_key,
    expected,
    manifest_key,
    shard_key,
    update_key,
)
from boltzmann.protocol.admission import Accepted, Admission
from boltzmann.protocol.ballots import Ballot, Objection
from boltzmann.protocol.council import leaders
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import CheckpointName, Manifest, Parent, Proposal
from boltzmann.protocol.receipts import Receipt
from boltzmann.protocol.slices import Slice, select
from boltzmann.protocol.wire import Kind, seal
from boltzmann.train import checkpoint
from boltzmann.train.model import initial_parameters

Floats = NDArray[np.float32]

VALIDATORS = ("validator-1", "validator-2", "validator-3")
STAKE = 1000.0  # of each
_RAO = 10**9


@dataclass(frozen=True)
class Outcome:
    """What a window came to: who is accepted, by which receipts, and their mean delta."""

    receipts: tuple[tuple[str, str], ...]
    admission: Admission
    mean: Floats


class Publisher:
    """All validators of a run in one. `ordered`: what they have put on chain."""

    def __init__(self, run: RunConfig, place: Place, folder: Path) -> None:
        self.run = run
        self.ordered: list[Ordered] = []
        self.state = open_state(run, folder)
        self._keys = {name: SeedKeys(name) for name in VALIDATORS}
        self._names = {keys.hotkey: name for name, keys in self._keys.items()}
        self._stores = {name: place.bucket(name) for name in VALIDATORS}
        self._folder = folder
        self._head: Parent | None = None
        self._checkpoint = CheckpointName(0, "")

    @property
    def members(self) -> dict[str, Member]:
        """The validators as the chain has them."""
        return {name: Member(store.address, STAKE) for name, store in self._stores.items()}

    @property
    def hotkeys(self) -> tuple[str, ...]:
        """The validators', in order."""
        return tuple(sorted(self._names))

    def leader(self, window: int) -> str:
        """The hotkey that comes first in the leaders' order."""
        close_hash = block_hash(self.run.windows.close(window))
        stakes = dict.fromkeys(self.hotkeys, int(STAKE) * _RAO)
        return leaders(close_hash, stakes, ())[0]

    def slice(self, window: int) -> Slice:
        """What the window's closing hash names."""
        return select(self.state.layout, block_hash(self.run.windows.close(window)))

    def begin(self) -> None:
        """The genesis: its checkpoint and its manifest, in window 0."""
        self.state.reset(initial_parameters(self.run.model, self.run.key), "", 0)
        self.save()
        # The validator with the most stake, then with the largest hotkey, begins a run.
        leader = self._names[max(self.hotkeys)]
        proposal = self._proposal(0, leader, Outcome((), Admission((), float("inf")), _NONE), b"")
        self._order(leader, Manifest(proposal, {}, ()))

    def save(self) -> None:
        """Publish the present state's checkpoint; later manifests name it."""
        run, at = self.run.run.id, self.state.position
        folder = self._folder / f"checkpoint-{at.window}"
        made = checkpoint.write(self.state, run, folder)
        store = self._stores[VALIDATORS[0]]
        for shard in made.shards:
            path = folder / checkpoint.shard_name(shard)
            store.put_file(shard_key(run, at.window, shard.sha256), path)
            path.unlink()
        store.put(descriptor_key(run, at.window, made.digest), made.encode())
        self._checkpoint = CheckpointName(at.window, made.digest)

    def close(self, window: int, outcome: Outcome) -> None:
        """Take one window's step, and publish what it came to."""
        chosen, codec = self.slice(window), self.run.exchange.codec
        leader = self._names[self.leader(window)]
        base = self.state.position.root
        body = bytes(codec.encode(outcome.mean))
        known = expected(self.run, Kind.UPDATE, self._keys[leader].hotkey, window, base, chosen)
        sealed = seal(known, 0, body, self._keys[leader].sign)
        self.state.apply(chosen, codec.decode(body), digest(body), window)
        self._stores[leader].put(update_key(self.run.run.id, window, digest(body)), sealed)
        proposal = self._proposal(window, leader, outcome, body)
        documents = self._ballots(proposal)
        self._order(leader, Manifest(proposal, {}, documents))

    def sealed(self, receipt: Receipt) -> tuple[tuple[str, str], ...]:
        """(witness, digest) of the same receipt by every validator."""
        keys = [self._keys[self._names[hotkey]] for hotkey in self.hotkeys]
        return tuple((key.hotkey, digest(receipt.seal(key.hotkey, key.sign))) for key in keys)

    def drawn_outcome(self, window: int, accepted: Sequence[Accepted]) -> Outcome:
        """A made-up update of a clipped gradient's size; receipts that nobody will read."""
        random = np.random.default_rng(window)
        values = random.standard_normal(self.slice(window).size, np.float32) * np.float32(1e-5)
        receipts = tuple((hotkey, digest(hotkey.encode())) for hotkey in self.hotkeys)
        return Outcome(receipts, Admission(tuple(accepted), 1.0), values)

    def _proposal(self, window: int, leader: str, outcome: Outcome, body: bytes) -> Proposal:
        return Proposal(
            run=self.run.run.id,
            window=window,
            leader=self._keys[leader].hotkey,
            parent=self._head,
            receipts=outcome.receipts,
            accepted=outcome.admission.accepted,
            norm_limit=outcome.admission.norm_limit,
            update=digest(body) if body else "",
            update_bytes=len(body),
            root=self.state.position.root.hex(),
            checkpoint=self._checkpoint,
        )

    def _ballots(self, proposal: Proposal) -> tuple[Mapping[str, object], ...]:
        ballot = Ballot(
            proposal.run, proposal.window, proposal.digest, Objection.NONE, 2.123456789, 2.0987654
        )
        keys = [self._keys[self._names[hotkey]] for hotkey in self.hotkeys]
        return tuple(json.loads(ballot.seal(key.hotkey, key.sign)) for key in keys)

    def _order(self, leader: str, manifest: Manifest) -> None:
        """Publish a manifest and put its digest on chain, just in time."""
        proposal = manifest.proposal
        data = manifest.seal(self._keys[leader].sign)
        name = digest(data)
        self._stores[leader].put(manifest_key(proposal.run, proposal.window, name), data)
        self.state.confirm(name)
        self._head = Parent(name, proposal.window, proposal.leader)
        block = self.run.windows.decide(proposal.window)
        self.ordered.append(Ordered(block, leader, proposal.window, name))


_NONE = np.empty(0, np.float32)
