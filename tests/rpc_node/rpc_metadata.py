"""A real subtensor runtime's metadata, from the test fixtures of the SDK's source distribution.

The archive is fetched from the package index once, for the installed version of the SDK, and what
is taken from it lies in the user's cache; nothing of it is part of this repository.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

FETCH_S = 600.0  # pip also builds what it needs to look into the archive
SPEC_NAME = "node-subtensor"
_MAGIC = b"meta"
_SLOT_DURATION = b"\x30SlotDuration\x1c\x20"  # its name, its type (u64) and its length (8 bytes)
# A storage item of newer runtimes, without which the SDK's SetWeights does not get beyond its
# checks, and one of this runtime that nothing here reads: both are maps from a netuid, and this
# one's zero reads as the other's first variant does, "not Null".
NEWER_ITEM, STAND_IN = b"SubnetEpochConsensus", b"PendingRootAlphaDivs"


class NoSdkSource(Exception):
    """The SDK's source distribution could not be had; the message says why."""


@dataclass(frozen=True)
class RuntimeMetadata:
    """`v14` and `v15`: the metadata blobs, from their magic on, as `state_getMetadata` gives it."""

    v14: bytes
    v15: bytes
    spec_version: int
    transaction_version: int

    def with_block_time(self, seconds: float) -> RuntimeMetadata:
        """The same runtime with `Aura.SlotDuration` of `seconds`."""
        millis = round(seconds * 1000).to_bytes(8, "little")
        return replace(
            self,
            v14=_with_slot_duration(self.v14, millis),
            v15=_with_slot_duration(self.v15, millis),
        )

    def with_newer_items(self) -> RuntimeMetadata:
        """As if it were a runtime of today as far as the SDK's SetWeights looks at it."""
        return replace(
            self,
            v14=_renamed(self.v14, STAND_IN, NEWER_ITEM),
            v15=_renamed(self.v15, STAND_IN, NEWER_ITEM),
        )


def _with_slot_duration(blob: bytes, value: bytes) -> bytes:
    head, found, tail = blob.partition(_SLOT_DURATION)
    if not found or _SLOT_DURATION in tail:
        raise ValueError("the metadata has no Aura.SlotDuration where it was looked for")
    return head + found + value + tail[len(value) :]


def _renamed(blob: bytes, old: bytes, new: bytes) -> bytes:
    if len(old) != len(new) or blob.count(old) != 1:
        raise ValueError(f"the metadata has {old!r} {blob.count(old)} times, not once")
    return blob.replace(old, new)


def golden() -> Mapping[str, Any]:
    """What the SDK's authors recorded of a real node: metadata, and vectors of its encodings.

    Raises: NoSdkSource.
    """
    recorded = _recorded()
    if isinstance(recorded, NoSdkSource):
        raise recorded
    return recorded


@cache
def _recorded() -> dict[str, Any] | NoSdkSource:
    """A failure is kept as well: each try without an index takes its time."""
    path = _cache_folder() / f"bittensor-{version('bittensor')}-golden.json"
    if not path.is_file():
        try:
            _keep(path, _fetched())
        except NoSdkSource as error:
            return error
    recorded: dict[str, Any] = json.loads(path.read_bytes())
    return recorded


@cache
def runtime_metadata() -> RuntimeMetadata:
    """Raises: NoSdkSource."""
    network, metadata = golden()["network"], golden()["metadata"]
    return RuntimeMetadata(
        v14=_blob(metadata["v14_hex"]),
        v15=_blob(metadata["v15_hex"]),
        spec_version=int(network["spec_version"]),
        transaction_version=int(network["transaction_version"]),
    )


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "boltzmann-tests"


def _fetched() -> bytes:
    wanted = f"bittensor=={version('bittensor')}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
        command += ["--quiet", "--disable-pip-version-check", "--retries", "2"]
        command += ["--dest", folder, wanted]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_S)
            (archive,) = Path(folder).glob("*.tar.gz")
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", None) or error).strip().splitlines()[-1:]
            raise NoSdkSource(f"pip could not download the source of {wanted}: {said}") from error
        return _fixture(archive)


def _fixture(archive: Path) -> bytes:
    with tarfile.open(archive) as source:
        for member in source:
            if member.name.endswith("/tests/fixtures/golden.json"):
                file = source.extractfile(member)
                if file is not None:
                    return file.read()
    raise NoSdkSource(f"{archive.name} carries no runtime metadata in tests/fixtures/golden.json")


def _keep(path: Path, found: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    unfinished.write_bytes(found)
    unfinished.replace(path)  # another process may have done the same meanwhile


def _blob(text: str) -> bytes:
    """From the magic on: a runtime API's answer has an option byte and a length before it."""
    data = bytes.fromhex(text.removeprefix("0x"))
    return data[data.index(_MAGIC) :]
