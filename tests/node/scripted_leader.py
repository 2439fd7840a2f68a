"""A validator that closes windows by hand: what a node follows, well done or badly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from node_kit import CLOCK, CONFIG, RUN, new_state
from scripted_chain import Keys, Script

from boltzmann.node.objects import (
    descriptor_key,
    expected,
    manifest_key,
    shard_key,
    update_key,
)
from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.ballots import Ballot, Objection
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import CheckpointName, Manifest, Parent, Proposal
from boltzmann.protocol.slices import select
from boltzmann.protocol.wire import Kind, seal
from boltzmann.train import checkpoint
from boltzmann.train.checkpoint import Descriptor, shard_name
from boltzmann.train.model import initial_parameters

CODEC = CONFIG.exchange.codec
NOBODY = "00" * 32


@dataclass(frozen=True)
class Saved:
    """A checkpoint's objects. `name` is how proposals name it."""

    descriptor: Descriptor
    shards: tuple[bytes, ...]

    @property
    def name(self) -> CheckpointName:
        return CheckpointName(self.descriptor.window, self.descriptor.digest)

    @property
    def descriptor_key(self) -> str:
        return descriptor_key(RUN, self.descriptor.window, self.descriptor.digest)

    @property
    def shard_keys(self) -> tuple[str, ...]:
        window = self.descriptor.window
        return tuple(shard_key(RUN, window, shard.sha256) for shard in self.descriptor.shards)

    @property
    def objects(self) -> dict[str, bytes]:
        shards = dict(zip(self.shard_keys, self.shards, strict=True))
        return {**shards, self.descriptor_key: self.descriptor.encode()}


@dataclass(frozen=True)
class Closing:
    """A window's outcome: its manifest, and the body of its update (empty for a genesis).

    `base_root`: the root before it; `root`: what the update really leads to.
    """

    proposal: Proposal
    manifest: bytes
    body: bytes
    base_root: bytes
    root: bytes

    @property
    def window(self) -> int:
        return self.proposal.window

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    @property
    def name(self) -> Parent:
        return Parent(self.digest, self.window, self.proposal.leader)

    @property
    def manifest_key(self) -> str:
        return manifest_key(RUN, self.window, self.digest)

    @property
    def update_key(self) -> str:
        return update_key(RUN, self.window, self.proposal.update)


class Publisher(Protocol):
    """As much of a store as it takes to lead."""

    @property
    def address(self) -> str: ...

    def put(self, key: str, body: bytes) -> None: ...


class Leader:
    """A validator's hotkey, bucket and state. `voters`: whose approving ballots it collects."""

    def __init__(
        self,
        script: Script,
        name: str,
        bucket: Publisher,
        folder: Path,
        voters: Sequence[str] = (),
    ) -> None:
        self.keys = Keys(name)
        self.bucket = bucket
        self.state = new_state(folder)
        self.voters = tuple(voters) or (name,)
        self.saved: dict[str, Saved] = {}
        self._script = script
        self._folder = folder
        self._newest: CheckpointName | None = None
        self._at: dict[str, Parent] = {}

    def genesis(self, window: int = 0, *, label: str = "", root: bytes | None = None) -> Closing:
        """A run's beginning; `label` makes another model of it, `root` a lie."""
        seed = hashlib.sha256(label.encode()).digest()
        self.state.reset(initial_parameters(CONFIG.model, seed), "", window)
        made = self.state.position.root
        self.checkpoint()
        return self._sealed(
            Proposal(
                run=RUN,
                window=window,
                leader=self.keys.hotkey,
                parent=None,
                receipts=(),
                accepted=(),
                norm_limit=float("inf"),
                update="",
                update_bytes=0,
                root=(root or made).hex(),
                checkpoint=self._named(),
            ),
            {},
            b"",
            made,
        )

    def close(
        self,
        window: int,
        *,
        label: str = "",
        root: bytes | None = None,
        voters: Sequence[str] | None = None,
        against: Mapping[str, Objection] | None = None,
        checkpoint: CheckpointName | None = None,
    ) -> Closing:
        """The next window on top of this leader's state.

        `root` is a lie about the outcome; `voters` approve, `against` object, by their keys.
        """
        before = self.state.position
        chosen = select(self.state.layout, self._script.hash(CLOCK.close(window)))
        seed = hashlib.sha256(f"{window} {label}".encode()).digest()
        values = np.random.default_rng(list(seed)).standard_normal(chosen.size, np.float32)
        body = bytes(CODEC.encode(values))
        made = self.state.apply(chosen, CODEC.decode(body), digest(body), window)
        proposal = Proposal(
            run=RUN,
            window=window,
            leader=self.keys.hotkey,
            parent=self._at[before.head],
            receipts=((self.keys.hotkey, NOBODY),),
            accepted=(Accepted(self.keys.hotkey, NOBODY),),
            norm_limit=1.0,
            update=digest(body),
            update_bytes=len(body),
            root=(root or made).hex(),
            checkpoint=checkpoint or self._named(),
        )
        votes = dict.fromkeys(self.voters if voters is None else voters, Objection.NONE)
        return self._sealed(proposal, {**votes, **(against or {})}, body, before.root)

    def checkpoint(self) -> Saved:
        """Make a checkpoint of the present state, which the next manifests name."""
        folder = self._folder / "checkpoint"
        descriptor = checkpoint.write(self.state, RUN, folder)
        shards = tuple((folder / shard_name(s)).read_bytes() for s in descriptor.shards)
        saved = Saved(descriptor, shards)
        self._newest = saved.name
        self.saved[descriptor.digest] = saved
        return saved

    def update(self, closing: Closing, name: str = "") -> bytes:
        """The window's update, sealed by its leader or by another holder of copies."""
        keys = Keys(name) if name else self.keys
        chosen = select(self.state.layout, self._script.hash(CLOCK.close(closing.window)))
        known = expected(
            CONFIG, Kind.UPDATE, keys.hotkey, closing.window, closing.base_root, chosen
        )
        return seal(known, 0, closing.body, keys.sign)

    def publish(
        self,
        closing: Closing,
        *,
        at: int | None = None,
        update: bytes | None = None,
        manifest: bytes | None = None,
        withhold: Sequence[str] = (),
    ) -> None:
        """Put the objects, or other bytes in their place, and the digest on chain by block `at`.

        `withhold`: "update", "manifest", "checkpoint".
        """
        if not closing.body and "checkpoint" not in withhold:
            self.put_checkpoint(self.saved[closing.proposal.checkpoint.digest])
        if closing.body and "update" not in withhold:
            self.bucket.put(closing.update_key, self.update(closing) if update is None else update)
        if "manifest" not in withhold:
            self.bucket.put(
                closing.manifest_key, closing.manifest if manifest is None else manifest
            )
        self.order(closing, at=at)

    def put_checkpoint(self, saved: Saved, to: Publisher | None = None) -> None:
        for key, body in saved.objects.items():
            (to or self.bucket).put(key, body)

    def mirror(self, closing: Closing, name: str, bucket: Publisher) -> None:
        """What the validator `name`, who approved the update, has in its own bucket."""
        bucket.put(closing.update_key, self.update(closing, name))
        bucket.put(closing.manifest_key, closing.manifest)

    def order(self, closing: Closing, *, at: int | None = None) -> None:
        """Only the digest, by the window's deciding block unless `at` says otherwise."""
        record = Commitment(
            Role.VALIDATOR, RUN, self.bucket.address, manifest=(closing.window, closing.digest)
        )
        block = CLOCK.decide(closing.window) if at is None else at
        self._script.commit(self.keys.hotkey, record, block)

    def stand_on(self, closing: Closing) -> None:
        """Take this node's state for one that stands at `closing`, which another leader made."""
        self._at[closing.digest] = closing.name
        self._newest = closing.proposal.checkpoint

    def _named(self) -> CheckpointName:
        if self._newest is None:
            raise RuntimeError("a leader begins with a genesis or stands on somebody's manifest")
        return self._newest

    def _sealed(
        self, proposal: Proposal, votes: Mapping[str, Objection], body: bytes, base_root: bytes
    ) -> Closing:
        manifest = sealed_manifest(proposal, votes, self.keys)
        made = self.state.position.root
        self.state.confirm(digest(manifest))
        closing = Closing(proposal, manifest, body, base_root, made)
        self._at[closing.digest] = closing.name
        return closing


def sealed_manifest(proposal: Proposal, votes: Mapping[str, Objection], keys: Keys) -> bytes:
    """The proposal with ballots of these names, sealed by `keys`."""
    ballots: dict[str, tuple[Ballot, bytes]] = {}
    for name, objection in votes.items():
        voter = Keys(name)
        ballot = Ballot(proposal.run, proposal.window, proposal.digest, objection)
        ballots[voter.hotkey] = (ballot, ballot.seal(voter.hotkey, voter.sign))
    manifest = Manifest(
        proposal,
        {hotkey: ballot for hotkey, (ballot, _) in ballots.items()},
        tuple(json.loads(ballots[hotkey][1]) for hotkey in sorted(ballots)),
    )
    return manifest.seal(keys.sign)


def replaced(closing: Closing, **changes: object) -> Proposal:
    """The closing's proposal with other fields."""
    return replace(closing.proposal, **changes)  # type: ignore[arg-type]
