"""Events as JSON lines in a file."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from boltzmann.errors import ConfigError
from boltzmann.telemetry.values import jsonable


class JsonLines:
    """Appends `{"t": unix seconds, "event": name, ...fields}` and a newline for each event.

    A line is in the file when `event` returns, so a killed process loses none. What cannot be
    written (a full disk) is dropped and counted. Calls may come from several threads.

    Raises: ConfigError if the file cannot be opened for appending.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The handle lives as long as the node, so no `with` can close it.
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise ConfigError(
                f"the log file {path} cannot be written ({error}): name another place for it"
            ) from error
        # A killed writer or a full disk leaves part of a line; the next line must not extend it.
        self._torn = not _ends_with_newline(path)
        self._lock = threading.Lock()
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many events could not be written."""
        return self._dropped

    def event(self, name: str, **fields: object) -> None:
        """Append one line."""
        values = {key: jsonable(value) for key, value in fields.items()}
        line = json.dumps({"t": round(time.time(), 3), "event": name} | values) + "\n"
        with self._lock:
            self._append(line.encode())

    def close(self) -> None:
        """Close the file; later events count as dropped."""
        with self._lock:
            self._file.close()

    def _append(self, line: bytes) -> None:
        if self._file.closed:
            self._dropped += 1
            return
        whole = b"\n" + line if self._torn else line
        try:
            written = self._file.write(whole)
        except OSError:
            self._dropped += 1
            return
        if written == len(whole):
            self._torn = False
        elif written:
            self._torn = True
            self._dropped += 1
        else:
            self._dropped += 1


def _ends_with_newline(path: Path) -> bool:
    """Whether a new line may start at the file's end; True for what is no regular file."""
    if not path.is_file() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"
