"""What one window did to the model: the record whose digest the chain orders.

Manifests form a hash chain from the genesis manifest, which names the initial checkpoint, so a node
that knows the newest digest can prove every step back to the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boltzmann.protocol.documents import open_document, seal_document
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.wire import Sign, VerifySignature

_KIND = "manifest"
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Accepted:
    """One delta that entered the aggregate, named by the sha256 of its object."""

    hotkey: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """One window's outcome. Digests and roots are 64 hexadecimal digits.

    `parent` is the digest of the manifest before, whose window is `parent_window`; the genesis
    manifest has parent "". `update` is the sha256 of the update's body, without header and
    signature, so that equal values have equal names and roots; for the genesis manifest it is that
    of the initial checkpoint. `update_bytes` is the length of what it names. `norm_limit` is what
    each delta's norm was scaled down to (infinity where no audit had set one yet).
    """

    run: str
    window: int
    parent: str
    parent_window: int
    accepted: tuple[Accepted, ...]
    norm_limit: float
    update: str
    update_bytes: int
    root: str

    @property
    def is_genesis(self) -> bool:
        return not self.parent

    def seal(self, hotkey: str, sign: Sign) -> bytes:
        """The signed document, by the window's leader."""
        body = {
            "accepted": [[entry.hotkey, entry.sha256] for entry in self.accepted],
            "norm_limit": float(self.norm_limit).hex(),
            "parent": self.parent,
            "parent_window": self.parent_window,
            "root": self.root,
            "run": self.run,
            "update": self.update,
            "update_bytes": self.update_bytes,
            "window": self.window,
        }
        return seal_document(_KIND, body, hotkey, sign)


def open_manifest(
    data: bytes, run: str, window: int, leader: str, verify: VerifySignature
) -> Manifest | Rejection:
    """The manifest of `window` signed by `leader`, or why it is refused."""
    body = open_document(data, _KIND, leader, verify)
    if isinstance(body, Rejection):
        return body
    manifest = _from_body(body)
    if manifest is None:
        return Rejection(Reason.BAD_DOCUMENT, "not a manifest's fields")
    if manifest.run != run:
        return Rejection(Reason.WRONG_RUN, repr(manifest.run[:64]))
    if manifest.window != window:
        return Rejection(Reason.WRONG_WINDOW, f"window {manifest.window}, not {window}")
    return manifest


def _from_body(body: dict[str, Any]) -> Manifest | None:
    try:
        entries, limit = body.pop("accepted"), body.pop("norm_limit")
        # Texts and objects unpack as well: only lists are the one spelling.
        if type(entries) is not list or any(type(entry) is not list for entry in entries):
            return None
        accepted = tuple(Accepted(hotkey, sha256) for hotkey, sha256 in entries)
        manifest = Manifest(accepted=accepted, norm_limit=float.fromhex(limit), **body)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return manifest if _well_formed(manifest) and manifest.norm_limit.hex() == limit else None


def _well_formed(manifest: Manifest) -> bool:
    numbers = (manifest.window, manifest.parent_window, manifest.update_bytes)
    names = (manifest.run, *(entry.hotkey for entry in manifest.accepted))
    digests = (manifest.update, manifest.root, *(entry.sha256 for entry in manifest.accepted))
    hotkeys = [entry.hotkey for entry in manifest.accepted]
    return (
        all(type(n) is int and 0 <= n < 2**63 for n in numbers)
        and all(_is_name(name) for name in names)
        and all(_is_digest(d) for d in digests)
        and (manifest.parent == "" or _is_digest(manifest.parent))
        and manifest.norm_limit > 0
        and hotkeys == sorted(set(hotkeys))
        and (manifest.is_genesis or manifest.parent_window < manifest.window)
    )


def _is_name(text: object) -> bool:
    """Whether a peer's text is safe to show and to sort: printable ASCII, not empty."""
    return isinstance(text, str) and text != "" and text.isascii() and text.isprintable()


def _is_digest(text: object) -> bool:
    return isinstance(text, str) and len(text) == 64 and _HEX.issuperset(text)
