"""Manifests by digest: fetched from whoever holds a copy, opened once, kept for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from weakref import WeakValueDictionary

from boltzmann.node.objects import manifest_key
from boltzmann.ports import Reader, Verify
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, digest
from boltzmann.protocol.manifest import Manifest, Parent, open_manifest
from boltzmann.protocol.rejection import Reason, Rejection

_KEPT = 64
_MISSING_KEPT = 1024
AT_FIRST = 1 / 8  # of what a read may take: how long others wait for who has been asked first


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
        self._missing: OrderedDict[str, None] = OrderedDict()
        self._shown: OrderedDict[str, set[str]] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def keep(self, held: Held) -> None:
        """Hold a manifest that this node knows already."""
        name = digest(held.data)
        self._held[name] = held
        self._missing.pop(name, None)
        self._held.move_to_end(name)
        while len(self._held) > _KEPT:
            self._held.popitem(last=False)

    def __getitem__(self, name: str) -> Held:
        """A manifest that was looked at lately, by digest. Raises: KeyError."""
        return self._held[name]

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def is_known_missing(self, digest: str) -> bool:
        """Whether all that were asked for this one before had nothing."""
        return digest in self._missing

    async def get(self, name: Parent, addresses: Iterable[str]) -> Held | Rejection:
        """The manifest of this digest, window and leader, from the first bucket that has it.

        The first address is asked alone; if it has not answered soon, the others are asked too, all
        at once: who never answers must not use up the time of those after it. All of them together
        have as long as one read: of a bucket that many names are asked for, each waits its turn.
        """
        if name.digest in self._held:
            return self._held[name.digest]
        asked = list(addresses)
        reads = [asyncio.create_task(self._read(name, address)) for address in asked[:1]]
        try:
            if reads:
                await asyncio.wait(reads, timeout=self._seconds * AT_FIRST)
            if not any(read.done() and isinstance(read.result(), Held) for read in reads):
                reads += [asyncio.create_task(self._read(name, a)) for a in asked[1:]]
            with suppress(asyncio.TimeoutError):
                for answer in asyncio.as_completed(reads, timeout=self._seconds):
                    opened = await answer
                    if isinstance(opened, Held):
                        self.keep(opened)
                        return opened
        finally:
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)
        slow = Rejection(Reason.SLOW, "it did not answer in time")
        answers = [slow if read.cancelled() else read.result() for read in reads]
        self._missing[name.digest] = None
        while len(self._missing) > _MISSING_KEPT:
            self._missing.popitem(last=False)
        return _refusal(asked, answers)

    async def are_shown(
        self,
        name: Parent,
        addresses: Iterable[str],
        enough: Callable[[set[str]], bool],
        *,
        again: bool,
    ) -> bool:
        """Whether enough of these buckets show the manifest of this digest.

        All are asked at once. It waits until `enough` says so of the addresses that have it, or all
        have answered, for as long as a read may take. If this is asked `again` soon, then for a
        part of that only: who is slower is listened to meanwhile and counted next time. What one
        has shown it counts for without being asked again.
        """
        shown = self._shown.setdefault(name.digest, set())
        while len(self._shown) > _KEPT:
            self._shown.popitem(last=False)
        reads = {self._asked(name, address, shown) for address in addresses if address not in shown}
        clock = asyncio.get_running_loop().time
        until = clock() + self._seconds * (AT_FIRST if again else 1.0)
        while reads and not enough(shown) and clock() < until:
            done, reads = await asyncio.wait(
                reads, timeout=until - clock(), return_when=asyncio.FIRST_COMPLETED
            )
            for read in done:
                read.result()
        return enough(shown)

    def _asked(self, name: Parent, address: str, shown: set[str]) -> asyncio.Task[None]:
        """The one read of a bucket for a manifest that is under way."""
        key = name.digest, address
        if key not in self._asking:

            async def ask() -> None:
                if not isinstance(await self._fetch(name, address), Rejection):
                    shown.add(address)

            self._asking[key] = asking = asyncio.create_task(ask())
            asking.add_done_callback(lambda _: self._asking.pop(key))
        return self._asking[key]

    async def _read(self, name: Parent, address: str) -> Held | Rejection:
        data = await self._fetch(name, address)
        return data if isinstance(data, Rejection) else self._opened(data, name)

    def _opened(self, data: bytes, name: Parent) -> Held | Rejection:
        opened = open_manifest(data, self._run, name.window, name.leader, self._verify)
        return opened if isinstance(opened, Rejection) else Held(opened, data)

    async def _fetch(self, name: Parent, address: str) -> bytes | Rejection:
        """The bytes that have the name's digest."""
        # One thread per bucket: those of silent ones, asked for many names, would take them all.
        turn = self._turns.setdefault(address, asyncio.Lock())
        await turn.acquire()
        read = partial(
            self._store.get,
            address,
            manifest_key(self._run, name.window, name.digest),
            max_bytes=MAX_DOCUMENT_BYTES,
            seconds=self._seconds,
        )
        # Whoever waits for it may give up; the thread goes on, and so does the bucket's turn.
        reading = asyncio.ensure_future(asyncio.to_thread(read))
        reading.add_done_callback(lambda _: turn.release())
        data = await asyncio.shield(reading)
        if isinstance(data, Rejection) or digest(data) == name.digest:
            return data
        return Rejection(Reason.BAD_DIGEST, f"{digest(data)[:12]}, not {name.digest[:12]}")


def _refusal(addresses: list[str], answers: Sequence[Held | Rejection]) -> Rejection:
    """A bucket that has it, but damaged, tells more than those that do not have it."""
    for address, answer in zip(addresses, answers, strict=True):
        if isinstance(answer, Rejection) and answer.reason is not Reason.ABSENT:
            return Rejection(answer.reason, f"{answer.detail} in {address}".strip())
    return Rejection(Reason.ABSENT, f"in none of {len(addresses)} buckets")
