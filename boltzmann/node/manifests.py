"""Manifests by digest: fetched from whoever holds a copy, opened once, kept for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from boltzmann.node.objects import manifest_key
from boltzmann.ports import Reader, Verify
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, digest
from boltzmann.protocol.manifest import Manifest, Parent, open_manifest
from boltzmann.protocol.rejection import Reason, Rejection

_KEPT = 64


@dataclass(frozen=True)
class Held:
    """A manifest and the very bytes that its digest names."""

    manifest: Manifest
    data: bytes

    @property
    def name(self) -> Parent:
        """How its children name it."""
        proposal = self.manifest.proposal
        return Parent(digest(self.data), proposal.window, proposal.leader)


class Manifests:
    """The manifests of one run. `seconds` bounds the read from one bucket."""

    def __init__(self, store: Reader, verify: Verify, run: str, seconds: float) -> None:
        self._store = store
        self._verify = verify
        self._run = run
        self._seconds = seconds
        self._held: OrderedDict[str, Held] = OrderedDict()

    def keep(self, held: Held) -> None:
        """Hold a manifest that this node knows already."""
        name = digest(held.data)
        self._held[name] = held
        self._held.move_to_end(name)
        while len(self._held) > _KEPT:
            self._held.popitem(last=False)

    def __getitem__(self, name: str) -> Held:
        """A manifest that was looked at lately, by digest. Raises: KeyError."""
        return self._held[name]

    async def get(self, name: Parent, addresses: Iterable[str]) -> Held | Rejection:
        """The manifest of this digest, window and leader, from the first bucket that has it."""
        if name.digest in self._held:
            return self._held[name.digest]
        asked = list(addresses)
        refusal = Rejection(Reason.ABSENT, f"in none of {len(asked)} buckets")
        for address in asked:
            data = await asyncio.to_thread(
                self._store.get,
                address,
                manifest_key(self._run, name.window, name.digest),
                max_bytes=MAX_DOCUMENT_BYTES,
                seconds=self._seconds,
            )
            opened = self._opened(data, name)
            if isinstance(opened, Held):
                self.keep(opened)
                return opened
            # A bucket that has it, but damaged, tells more than one that does not have it.
            if refusal.reason is Reason.ABSENT:
                detail = f"{opened.detail} in {address}".strip()
                known = opened.reason is Reason.ABSENT
                refusal = refusal if known else Rejection(opened.reason, detail)
        return refusal

    def _opened(self, data: bytes | Rejection, name: Parent) -> Held | Rejection:
        if isinstance(data, Rejection):
            return data
        if digest(data) != name.digest:
            return Rejection(Reason.BAD_DIGEST, f"{digest(data)[:12]}, not {name.digest[:12]}")
        opened = open_manifest(data, self._run, name.window, name.leader, self._verify)
        return opened if isinstance(opened, Rejection) else Held(opened, data)
