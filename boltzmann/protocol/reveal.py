"""Commit, then reveal: a delta's sha256 is public, signed, before anybody can read the delta.

A copier would have to commit to bytes it has not seen yet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from boltzmann.protocol.documents import open_document, read_body, seal_document, with_signature
from boltzmann.protocol.fields import Fields
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.wire import Sign, VerifySignature

MAX_COMMIT_BYTES = 1024
_KIND = "commit"


def seal_commit(run: str, window: int, sha256: str, hotkey: str, sign: Sign) -> bytes:
    """The `commit` object of a delta whose whole object has this sha256."""
    return seal_document(_KIND, {"run": run, "sha256": sha256, "window": window}, hotkey, sign)


@dataclass(frozen=True)
class Pledge:
    """What a hotkey has committed to in a window: a delta's sha256, and the commit's signature.

    Two pledges of one hotkey for one window prove that it shows different bytes to different
    readers, whoever presents them.
    """

    sha256: str
    signature: str

    def holds(self, run: str, window: int, hotkey: str, verify: VerifySignature) -> bool:
        """Whether it was really `hotkey` that signed."""
        body = {"run": run, "sha256": self.sha256, "window": window}
        document = with_signature(_KIND, body, hotkey, self.signature)
        return not isinstance(open_document(document, _KIND, hotkey, verify), Rejection)


def open_commit(
    data: bytes, run: str, window: int, hotkey: str, verify: VerifySignature
) -> Pledge | Rejection:
    """What `hotkey` committed to for `window`, or why the object is refused."""
    body = open_document(data, _KIND, hotkey, verify)
    commit = body if isinstance(body, Rejection) else read_body(body, _read, run, window)
    if isinstance(commit, Rejection):
        return commit
    return Pledge(commit.sha256, json.loads(data)["signature"])


@dataclass(frozen=True)
class _Commit:
    run: str
    window: int
    sha256: str


def _read(fields: Fields) -> _Commit:
    commit = _Commit(fields.name("run"), fields.count("window"), fields.digest("sha256"))
    fields.end()
    return commit
