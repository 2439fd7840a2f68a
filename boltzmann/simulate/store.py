"""Buckets in memory, create-only like the real ones, and hooks for those that lie or dawdle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from boltzmann.errors import StoreConflict, StoreError
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.simulate.clock import spend
from boltzmann.store.address import checked_key, parse_address

ENDPOINT = "http://buckets.sim"


@dataclass(frozen=True)
class Late:
    """An answer that takes so many virtual seconds to arrive as a whole."""

    seconds: float
    answer: bytes | None


# (reader's hotkey, key, what is stored) -> what the reader gets; None: nothing is there.
Serve = Callable[[str, str, bytes | None], bytes | Rejection | Late | None]


class Buckets:
    """All buckets of a simulation. `serve` has, by address, who answers in a bucket's place."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, bytes]] = {}
        self.serve: dict[str, Serve] = {}

    def make(self, name: str) -> str:
        """Make a bucket, unless it is there; its public address. Raises: ValueError."""
        address = str(parse_address(f"{ENDPOINT}/{name}"))
        self._objects.setdefault(address, {})
        return address

    def of(self, address: str) -> dict[str, bytes] | None:
        """The objects of one bucket, for who may change them; None if it is not there."""
        return self._objects.get(address)

    def drop(self, key: str) -> None:
        """Remove an object from every bucket that has it: memory is finite."""
        for objects in self._objects.values():
            objects.pop(key, None)

    def read(self, reader: str, address: str, key: str, seconds: float) -> bytes | Rejection:
        """What `reader` gets of a bucket within `seconds`."""
        checked_key(key)
        objects = self._objects.get(address)
        if objects is None:
            return _no_bucket(address)
        found: bytes | Rejection | Late | None = objects.get(key)
        serve = self.serve.get(address)
        if serve is not None:
            found = serve(reader, key, objects.get(key))
        if isinstance(found, Late):
            spend(min(found.seconds, seconds))
            if found.seconds > seconds:
                return Rejection(Reason.SLOW, f"not whole after {seconds:g} s")
            found = found.answer
        return Rejection(Reason.ABSENT) if found is None else found


class MemoryStore:
    """Implements `boltzmann.ports.Store` for one hotkey, whose own bucket lies at `address`.

    `buckets`: all of them, for who does with its own what no port allows.
    """

    def __init__(self, buckets: Buckets, hotkey: str, address: str) -> None:
        self.buckets = buckets
        self._hotkey = hotkey
        self._address = address

    @property
    def address(self) -> str:
        """The public address of this node's own bucket."""
        return self._address

    def put(self, key: str, body: bytes) -> None:
        """See `Store.put`. Raises: ValueError for a malformed key, StoreConflict, StoreError."""
        objects = self._own(checked_key(key))
        if objects.setdefault(key, bytes(body)) != body:
            raise StoreConflict(
                f"{key} in the bucket {self._address} already holds other bytes, which stay"
            )

    def put_file(self, key: str, path: Path) -> None:
        """See `Store.put_file`. Raises: as `put`."""
        checked_key(key)
        self.put(key, path.read_bytes())

    def delete(self, key: str) -> None:
        """See `Store.delete`. Raises: ValueError for a malformed key, StoreError."""
        self._own(checked_key(key)).pop(key, None)

    def get(self, address: str, key: str, *, max_bytes: int, seconds: float) -> bytes | Rejection:
        """See `Reader.get`. Raises: ValueError for a malformed key."""
        found = self.buckets.read(self._hotkey, address, key, seconds)
        if not isinstance(found, Rejection) and len(found) > max_bytes:
            return Rejection(
                Reason.WRONG_SIZE, f"{len(found)} bytes, at most {max_bytes} are taken"
            )
        return found

    def download(
        self, address: str, key: str, path: Path, *, exact_bytes: int, seconds: float
    ) -> Rejection | None:
        """See `Reader.download`. Raises: ValueError, and StoreError if `path` cannot be written."""
        found = self.buckets.read(self._hotkey, address, key, seconds)
        if isinstance(found, Rejection):
            return found
        if len(found) != exact_bytes:
            return Rejection(Reason.WRONG_SIZE, f"{len(found)} bytes, not {exact_bytes}")
        try:
            path.write_bytes(found)
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror})") from error
        return None

    def _own(self, key: str) -> dict[str, bytes]:
        objects = self.buckets.of(self._address)
        if objects is None:
            raise StoreError(f"there is no bucket {self._address} to keep {key} in: make it first")
        return objects


def _no_bucket(address: str) -> Rejection:
    try:
        parse_address(address)
    except ValueError as error:
        return Rejection(Reason.UNREACHABLE, str(error))
    return Rejection(Reason.ABSENT, f"no bucket {address}")
