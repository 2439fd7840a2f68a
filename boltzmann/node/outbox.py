"""The journal of what this node publishes: written down before it is sent.

Signatures are randomised, so the same work sealed twice has other bytes. A node that was killed
sends what it wrote down, never a second, different object for the same window.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boltzmann.errors import NoRoom


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it is whole or not there.

    Raises: NoRoom if it cannot be written; what was there before stays.
    """
    temporary = path.with_name(path.name + ".tmp")
    with writing(path):
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def make_folder(folder: Path) -> None:
    """The folder and those above it, unless they are there. Raises: NoRoom."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes `path`: trouble with the disk costs a window, not the node.

    Raises: NoRoom for an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise NoRoom(f"{path} cannot be written ({reason}): make room there") from error


class Outbox:
    """Objects by window and name."""

    def __init__(self, folder: Path) -> None:
        """Raises: NoRoom."""
        make_folder(folder)
        self._folder = folder

    def keep(self, window: int, name: str, data: bytes) -> None:
        """Write an object down. Raises: NoRoom."""
        write_whole(self.path(window, name), data)

    def find(self, window: int, name: str) -> bytes | None:
        """What was written down, if anything."""
        path = self.path(window, name)
        return path.read_bytes() if path.exists() else None

    def has(self, window: int, name: str) -> bool:
        """Whether an object was written down."""
        return self.path(window, name).exists()

    def forget_before(self, window: int) -> None:
        """Drop what belongs to earlier windows: it is in the bucket by now."""
        for path in self._folder.iterdir():
            number = path.name.partition(".")[0]
            # Whatever else a file browser or the user put here stays.
            if number.isdecimal() and int(number) < window:
                path.unlink(missing_ok=True)

    def path(self, window: int, name: str) -> Path:
        """Where an object is, or would be, kept."""
        return self._folder / f"{window}.{name}"
