"""The process that `boltzmann.store.server.start_moto` starts: `python -m … HOST PORT`.

It binds, writes its port to standard output, and ends when standard input does, that is when the
process that started it is gone, however that ended.
"""

from __future__ import annotations

import io
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

OPEN_FILES = 10_240  # as many as macOS allows; stored objects, in the main

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class QuietHandler(MotoRequestHandler):  # type: ignore[misc]
    """moto's handler without a log line per request; errors still go to the log."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class OneRequestAtATime:
    """Lets one request into moto at a time; bodies travel side by side.

    moto's `If-None-Match` check and its ETag, computed through a file position that readers share,
    are not safe under concurrency. Measured without the lock: two of three runs of eight writers
    overwrote each other, and 5 of 125 readers polling for an 8 MB upload got other bytes than were
    sent. Throughput is the same within noise at 16 transfers at once.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length:
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        with self._turn:
            return self._application(environ, start)


def main(host: str, port: int) -> None:
    """Serve until standard input ends. Port 0 is any free one."""
    _allow_open_files()
    application = OneRequestAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server(host, port, application, threaded=True, request_handler=QuietHandler)
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads standard output from here on
    threading.Thread(target=_stop_at_end_of_input, args=(server,), daemon=True).start()
    server.serve_forever(poll_interval=0.1)


def _allow_open_files() -> None:
    """Up to OPEN_FILES where the system lets us: moto keeps one open for each larger object."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _stop_at_end_of_input(server: BaseWSGIServer) -> None:
    sys.stdin.buffer.read()
    server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
