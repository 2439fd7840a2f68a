"""What an audit found in one window, as a line for people and as a value for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from boltzmann.protocol.rejection import Reason, Rejection

_SIGNATURE = re.compile(rb'"signature":"([0-9a-f]{128})"')
_SHOWN = 12  # digits of a digest or a signature in a line; the JSON has all of them
# As good as not there: what anybody may take away, or what the network did not bring.
_GONE = frozenset({Reason.ABSENT, Reason.SLOW, Reason.UNREACHABLE, Reason.UNCOMMITTED})


class Status(str, Enum):
    """What a window came to."""

    MATCH = "match"
    EMPTY = "empty"  # no manifest counts; the model stayed as it was
    MISMATCH = "MISMATCH"
    PARTIAL = "partial"  # nothing contradicts, but something could not be checked


@dataclass(frozen=True)
class Mismatch:
    """One thing that is not what it must be, who answers for it, and where it lies.

    `key` is in that hotkey's bucket; `signature` is the one on the object, where it can be told.
    """

    what: str
    hotkey: str
    detail: str
    key: str = ""
    signature: str = ""

    def __str__(self) -> str:
        proof = [self.key, f"signature {self.signature[:_SHOWN]}…" if self.signature else ""]
        where = ", ".join(part for part in proof if part)
        return f"{self.what} by {self.hotkey}: {self.detail}" + (f" ({where})" if where else "")


@dataclass
class Report:
    """One window. `gaps`: what could not be checked; `notes`: what else the chain says of it."""

    window: int
    leader: str = ""
    place: int | None = None
    manifest: str = ""
    root: str = ""
    accepted: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> Status:
        if self.mismatches:
            return Status.MISMATCH
        if self.gaps:
            return Status.PARTIAL
        return Status.MATCH if self.manifest else Status.EMPTY

    def wrong(
        self, what: str, hotkey: str, detail: str, key: str = "", signature: str = ""
    ) -> None:
        """Note a mismatch."""
        self.mismatches.append(Mismatch(what, hotkey, detail, key, signature))

    def line(self) -> str:
        """All of it in one line; of several mismatches the first."""
        parts = [f"window {self.window}", self.status.value]
        if self.mismatches:
            more = len(self.mismatches) - 1
            parts.append(str(self.mismatches[0]) + (f" and {more} more" if more else ""))
        elif self.manifest:
            parts += [f"accepted {self.accepted}", f"leader {self.leader}"]
            parts.append(f"root {self.root[:_SHOWN]}…")
        elif self.gaps:
            parts.append("no manifest")
        parts += [f"not checked: {'; '.join(self.gaps)}"] if self.gaps else []
        return "  ".join([*parts, *self.notes])

    def document(self) -> str:
        """The same as one line of JSON, with every mismatch."""
        values: dict[str, Any] = {"window": self.window, "status": self.status.value.lower()}
        return json.dumps(values | asdict(self))


def is_gone(refusal: Rejection) -> bool:
    """Whether there is nothing to judge, rather than something wrong."""
    return refusal.reason in _GONE


def signature_of(data: bytes) -> str:
    """The signature on a document, even a damaged one; "" if it cannot be told."""
    found = _SIGNATURE.findall(data)
    return found[-1].decode() if found else ""  # an envelope's comes after its body's


def exit_code(reports: Iterable[Report]) -> int:
    """0: everything matches; 1: something does not; 3: something could not be checked."""
    found = {report.status for report in reports}
    if Status.MISMATCH in found:
        return 1
    return 3 if Status.PARTIAL in found else 0
