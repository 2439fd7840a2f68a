"""A validator that closes windows by hand: what a node follows, well done or badly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from node_kit import CLOCK, CONFIG, RUN, new_state
from scripted_chain import Keys, Script

from boltzmann.node.objects import checkpoint_key, expected, manifest_key, update_key
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import Manifest
from boltzmann.protocol.slices import select
from boltzmann.protocol.wire import Kind, seal
from boltzmann.train import checkpoint
from boltzmann.train.model import initial_parameters

CODEC = CONFIG.exchange.codec


@dataclass(frozen=True)
class Closing:
    """A window's objects. `update` is the initial checkpoint where there is no parent."""

    window: int
    update: bytes
    manifest: bytes
    root: bytes

    @property
    def digest(self) -> str:
        return digest(self.manifest)


class Publisher(Protocol):
    """As much of a store as it takes to lead."""

    @property
    def address(self) -> str: ...

    def put(self, key: str, body: bytes) -> None: ...


class Leader:
    """A validator's hotkey, bucket and state."""

    def __init__(self, script: Script, name: str, bucket: Publisher, folder: Path) -> None:
        self.keys = Keys(name)
        self.bucket = bucket
        self.state = new_state(folder)
        self._script = script

    def genesis(self, window: int = 0, *, label: str = "", root: bytes | None = None) -> Closing:
        """A run's beginning; `label` makes another model of it, `root` a lie."""
        seed = hashlib.sha256(label.encode()).digest()
        parameters = initial_parameters(CONFIG.model, seed)
        data = checkpoint.encode(parameters)
        self.state.reset(parameters, "", window)
        named = root or self.state.position.root
        manifest = self._manifest(window, "", 0, digest(data), len(data), named)
        self.state.confirm(digest(manifest))
        return Closing(window, data, manifest, self.state.position.root)

    def close(self, window: int, *, label: str = "", root: bytes | None = None) -> Closing:
        """The next window on top of this leader's state; `root` is a lie about the outcome."""
        before = self.state.position
        chosen = select(self.state.layout, self._script.hash(CLOCK.close(window)))
        seed = hashlib.sha256(f"{window} {label}".encode()).digest()
        values = np.random.default_rng(list(seed)).standard_normal(chosen.size, np.float32)
        body = CODEC.encode(values)
        hotkey = self.keys.hotkey
        known = expected(CONFIG, Kind.UPDATE, hotkey, window, before.root, chosen)
        update = seal(known, 0, body, self.keys.sign)
        made = self.state.apply(chosen, CODEC.decode(body), digest(body), window)
        manifest = self._manifest(
            window, before.head, before.window, digest(body), len(body), root or made
        )
        self.state.confirm(digest(manifest))
        return Closing(window, update, manifest, made)

    def publish(
        self,
        closing: Closing,
        *,
        at: int | None = None,
        update: bytes | None = None,
        manifest: bytes | None = None,
    ) -> None:
        """Put the objects, or other bytes in their place, and the digest on chain by block `at`."""
        first = self.state.position.genesis == closing.window
        key = (checkpoint_key if first else update_key)(RUN, closing.window)
        self.bucket.put(key, closing.update if update is None else update)
        self.bucket.put(
            manifest_key(RUN, closing.window), closing.manifest if manifest is None else manifest
        )
        self.order(closing, at=at)

    def order(self, closing: Closing, *, at: int | None = None) -> None:
        """Only the digest, by the window's deciding block unless `at` says otherwise."""
        record = Commitment(
            Role.VALIDATOR, RUN, self.bucket.address, manifest=(closing.window, closing.digest)
        )
        block = CLOCK.decide(closing.window) if at is None else at
        self._script.commit(self.keys.hotkey, record, block)

    def _manifest(
        self, window: int, parent: str, parent_window: int, update: str, size: int, root: bytes
    ) -> bytes:
        return Manifest(
            run=RUN,
            window=window,
            parent=parent,
            parent_window=parent_window,
            accepted=(),
            norm_limit=float("inf"),
            update=update,
            update_bytes=size,
            root=root.hex(),
        ).seal(self.keys.hotkey, self.keys.sign)
