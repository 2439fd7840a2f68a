"""Starts the S3 server of the local network: moto, in a process of its own."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from boltzmann.errors import StoreUnavailable
from boltzmann.privacy import public_environment

START_SECONDS = 30.0
STOP_SECONDS = 5.0
LOG_LINES = 5  # of a server that did not start, shown in the error

# moto holds objects above this many bytes in unlinked temporary files instead of its memory, and
# glibc keeps freed blocks for two groups of threads instead of sixteen. Measured after 300 objects
# of 1 MB, written and read by 16 threads: 155 MB resident instead of 458, at no cost in speed.
_MEMORY = {"MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "65536", "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True)
class ServerProcess:
    """A running S3 server. It also ends when the process that started it does."""

    url: str
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def stop(self) -> None:
        """End the server, at the latest after STOP_SECONDS. May be called again."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start_moto(log_path: Path, *, host: str = "127.0.0.1", port: int = 0) -> ServerProcess:
    """An S3 server that accepts any keys and keeps nothing after its end.

    `port` 0 is any free one. The server's own output goes to `log_path`, its temporary files beside
    it. It has a session of its own, so Ctrl-C in the terminal reaches it through its parent only.
    Raises: StoreUnavailable with the log's last lines.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "boltzmann.store.moto_server", host, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(log_path.parent.resolve()),
            start_new_session=True,
        )
    bound = _first_line(process)
    if not bound:
        process.kill()
        process.wait()
        last = log_path.read_text(errors="replace").splitlines()[-LOG_LINES:]
        raise StoreUnavailable(
            f"The S3 server did not start on {host}:{port}; the end of {log_path} says: "
            + " | ".join(last)
        )
    return ServerProcess(f"http://{host}:{bound}", process)


def _environment(temporary: Path) -> dict[str, str]:
    """The child's: this package importable, moto's memory bounded, no secret of the parent's."""
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **public_environment(os.environ),
        **_MEMORY,
        "PYTHONPATH": os.pathsep.join(paths),
        "TMPDIR": str(temporary),
    }


def _first_line(process: subprocess.Popen[bytes]) -> str:
    """What the child writes first, within START_SECONDS; empty if it ends or stays silent."""
    assert process.stdout is not None
    until = time.monotonic() + START_SECONDS
    line = b""
    with selectors.DefaultSelector() as selector, process.stdout as output:
        selector.register(output, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(until - time.monotonic()):
                return ""
            piece = os.read(output.fileno(), 64)
            if not piece:
                return ""
            line += piece
    return line.decode().strip()
