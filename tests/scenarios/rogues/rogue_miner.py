"""Miners that break the rules of publishing; the variable ROGUE says which one this is.

Each is the real miner with one step replaced, run as a process of its own.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import urllib.request
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.error import HTTPError

import numpy as np

from boltzmann.app import setup
from boltzmann.app.main import run_node
from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.node import miner
from boltzmann.node.conduct import Honest, Offer, spread
from boltzmann.node.membership import Peer
from boltzmann.node.node import Node
from boltzmann.node.objects import commit_key, delta_key
from boltzmann.node.round import points_of
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.documents import digest
from boltzmann.protocol.reveal import seal_commit
from boltzmann.protocol.slices import Slice
from boltzmann.store.s3 import S3Store
from boltzmann.train.gradients import Delta

KIND = os.environ.get("ROGUE", "")
TURNS_AT = 4  # the window from which a poisoner sends what it gained its trust for
_honest_commit, _honest_reveal = miner.commit, miner.reveal


class Poisoner(Honest):
    """Honest until it is trusted; from then on it sends what makes the model worse."""

    _turned = False

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        honest = await super().offer(node, window, chosen, delta, members)
        base = node.manifests[node.worker.state.position.head].manifest.proposal
        # Its accomplice sees the same manifest, so both turn in the same window.
        all_trusted = len(base.accepted) == len(members)
        self._turned = self._turned or (window >= TURNS_AT and all_trusted)
        if honest is None or not self._turned:
            return honest
        node.telemetry.event("poisoned", window=window)
        # Against the gradient at every coordinate alike: small ones move as far as large ones.
        step = -np.float32(np.linalg.norm(honest.values) / np.sqrt(len(honest.values)))
        points = await points_of(node, window)
        total = np.sign(points.gather(delta.tensors)) * step
        return Offer(np.sign(honest.values) * step, spread(total, len(honest.shares)))


async def reveal_late(node: Node, window: int, work: miner.Work) -> None:
    """The delta can be read one block after everybody has looked for it."""
    await node.blocks.until(node.clock.upload_by(window) + 1)
    node.store.put(delta_key(node.run.run.id, window), work.sealed)
    node.telemetry.event("late", window=window)


async def reveal_and_overwrite(node: Node, window: int, work: miner.Work) -> None:
    """Honest bytes until everybody has read them, then others under the same key."""
    await _honest_reveal(node, window, work)
    await node.blocks.until(node.clock.receipts_by(window))
    key = delta_key(node.run.run.id, window)
    node.store.delete(key)
    node.store.put(key, _other(node, work.sealed))
    node.telemetry.event("overwritten", window=window)


async def commit_to_two(node: Node, window: int, work: miner.Work) -> None:
    """A second commit, to other bytes, beside the first."""
    run = node.run.run.id
    other = seal_commit(run, window, digest(_other(node, work.sealed)), node.hotkey, node.keys.sign)
    node.store.put(f"{commit_key(run, window)}.other", other)
    await _honest_commit(node, window, work)


async def reveal_two(node: Node, window: int, work: miner.Work) -> None:
    node.store.put(f"{delta_key(node.run.run.id, window)}.other", _other(node, work.sealed))
    await _honest_reveal(node, window, work)


def _other(node: Node, sealed: bytes) -> bytes:
    """The same values signed once more: as valid, and of another sha256."""
    end = 8 + int.from_bytes(sealed[6:8], "big")
    signature = node.keys.sign(b"boltzmann object\x00" + sealed[:end])
    return sealed[:end] + signature + sealed[end + len(signature) :]


class TwoFaced(BaseHTTPRequestHandler):
    """A bucket that shows every second reader of an object the other version of it."""

    counts: ClassVar[defaultdict[str, itertools.count[int]]] = defaultdict(itertools.count)
    bucket = ""

    def do_GET(self) -> None:
        path = self.path
        if path.endswith(("/commit", "/delta")) and next(self.counts[path]) % 2:
            path += ".other"
        try:
            with urllib.request.urlopen(self.bucket + path, timeout=10) as answer:
                body, status = answer.read(), answer.status
        except HTTPError as error:
            body, status = b"", error.code
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class ProxiedStore(S3Store):
    """A store whose public address is the two-faced server's."""

    def __init__(self, endpoint: str, bucket: str, *args: Any, **options: Any) -> None:
        TwoFaced.bucket = endpoint
        server = ThreadingHTTPServer(("127.0.0.1", 0), TwoFaced)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{bucket}"
        super().__init__(endpoint, bucket, *args, **{**options, "public_url": url})


async def work(node: Node, settings: NodeConfig) -> None:
    await miner.mine(node, Poisoner() if KIND == "poison" else Honest())


if __name__ == "__main__":
    if KIND == "late":
        vars(miner)["reveal"] = reveal_late
    if KIND == "overwrite":
        vars(miner)["reveal"] = reveal_and_overwrite
    if KIND == "twofaced":
        vars(miner).update(commit=commit_to_two, reveal=reveal_two)
        vars(setup)["S3Store"] = ProxiedStore
    sys.exit(run_node(Role.MINER, "A miner that breaks the rules.", sys.argv[1:], work))
