"""One process per node folder: two would overwrite each other's journal and state."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boltzmann.errors import ConfigError


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the folder until the block is left; the system lets go when a process dies.

    Raises: ConfigError if another process holds it.
    """
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process of this hotkey works in {folder}: stop it first, or give this "
                f"one its own hotkey, bucket and --workdir"
            ) from error
        yield
