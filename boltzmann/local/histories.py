"""What the nodes' event files prove: that each holds the one line of agreed updates, no more.

Every update a node applied is checked to stand on what it held just before, through restarts, undos
and checkpoints. So no agreed update was left out, and none was applied twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_COUNTED = ("undone", "abandoned", "dropped", "loaded", "withheld", "vetoed", "restored")


@dataclass
class History:
    """One node's. `line`: window -> (head, root) as it stands now; `faults`: what must not be."""

    head: str = ""
    line: dict[int, tuple[str, str]] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, event: Mapping[str, Any]) -> None:
        """Follow one event."""
        name = event["event"]
        if name in _COUNTED:
            self.counts[name] = self.counts.get(name, 0) + 1
        if name == "applied":
            self._apply(event)
        elif name in ("restored", "loaded", "genesis"):
            self.head = event.get("head", "")
        elif name == "undone":
            self._require(event["head"] == self.head, event, "undid what it did not hold")
            self.line.pop(event["window"], None)
            self.head = self.parents.get(event["head"], "")
        elif name == "abandoned":
            self.head = ""

    def _apply(self, event: Mapping[str, Any]) -> None:
        # Without a head: a validator's own genesis, which it holds without an event of its own.
        known = self.head in ("", event["parent"])
        self._require(known, event, f"applied on {self.head[:12]}, not on {event['parent'][:12]}")
        self.head = event["head"]
        self.parents[self.head] = event["parent"]
        self.line[event["window"]] = (event["head"], event["root"])

    def _require(self, holds: bool, event: Mapping[str, Any], fault: str) -> None:
        if not holds:
            self.faults.append(f"window {event['window']}: {fault}")


def read_history(files: Iterable[Path]) -> History:
    """The history that a node's event files tell. Raises: ValueError for a line that is no JSON."""
    history = History()
    for path in sorted(files):
        for line in path.read_text().splitlines():
            history.add(json.loads(line))
    return history


def disagreements(histories: Mapping[str, History]) -> list[str]:
    """Where nodes hold different updates for one window, or do not stand at the same one."""
    found = []
    windows = sorted({window for history in histories.values() for window in history.line})
    for window in windows:
        held = {
            name: history.line[window]
            for name, history in histories.items()
            if window in history.line
        }
        if len(set(held.values())) > 1:
            found.append(f"window {window}: {sorted(held)} hold different models")
    if len({history.head for history in histories.values()}) > 1:
        ends = {name: history.head[:12] for name, history in histories.items()}
        found.append(f"the nodes stand at different manifests: {ends}")
    return found
