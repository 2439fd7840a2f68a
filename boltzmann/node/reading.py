"""Reading what many others publish, of whom some answer late or never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from boltzmann.node.manifests import AT_FIRST
from boltzmann.node.node import Node
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES
from boltzmann.protocol.rejection import Rejection

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where an object lies."""

    bucket: str
    key: str


@dataclass
class Reads:
    """Reads that outlive a look: whoever dawdles over an answer keeps nobody waiting but itself."""

    _begun: dict[Place, asyncio.Task[bytes | Rejection]] = field(default_factory=dict)

    async def look(
        self, node: Node, places: Mapping[str, Place], max_bytes: int = MAX_DOCUMENT_BYTES
    ) -> dict[str, bytes | Rejection]:
        """What has been answered of these, under the names given; asks those not asked yet.

        New questions are waited for, but not for long; those from before are not. An answer is
        given once: who asks for the same again begins a new read.
        """
        fresh = []
        for place in places.values():
            if place not in self._begun:
                self._begun[place] = asyncio.create_task(_read(node, place, max_bytes))
                fresh.append(self._begun[place])
        if fresh:
            await asyncio.wait(fresh, timeout=node.fetch_seconds * AT_FIRST)
        done = {name: place for name, place in places.items() if self._begun[place].done()}
        # Several names may have one place: anybody may commit to another's bucket.
        answers = {place: self._begun.pop(place).result() for place in set(done.values())}
        return {name: answers[place] for name, place in done.items()}

    async def close(self) -> None:
        """Wait for no answer any more."""
        left = list(self._begun.values())
        self._begun.clear()
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def read_all(
    node: Node, places: Mapping[str, Place], max_bytes: int = MAX_DOCUMENT_BYTES
) -> dict[str, bytes | Rejection]:
    """Every answer, at the latest when the slowest read has come to its limit."""
    answers = await asyncio.gather(*(_read(node, place, max_bytes) for place in places.values()))
    return dict(zip(places, answers, strict=True))


def well_formed(
    answers: Mapping[str, bytes | Rejection], opened: Callable[[bytes, str], T | Rejection]
) -> dict[str, T]:
    """What answers come to by `opened`. A malformed object is as good as none."""
    found: dict[str, T] = {}
    for name, data in answers.items():
        value = data if isinstance(data, Rejection) else opened(data, name)
        if not isinstance(value, Rejection):
            found[name] = value
    return found


async def _read(node: Node, place: Place, max_bytes: int) -> bytes | Rejection:
    return await asyncio.to_thread(
        node.store.get,
        place.bucket,
        place.key,
        max_bytes=max_bytes,
        seconds=node.fetch_seconds,
    )
