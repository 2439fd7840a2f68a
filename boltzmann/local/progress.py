"""What the network's nodes report, read from their event files as they grow."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boltzmann.protocol.rejection import ABSENCES


@dataclass
class PeerLine:
    """One miner's figures. `weight` is the share the validator would set now."""

    score: float = 0.0
    gate: float = 0.0
    moving: float = 0.0
    weight: float = 0.0
    bytes_up: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    gates: list[float] = field(default_factory=list)

    @property
    def refused(self) -> int:
        """Refusals of what was sent; absence is none."""
        return sum(n for reason, n in self.rejected.items() if reason not in ABSENCES)


@dataclass
class Progress:
    """Everything reported so far.

    `roots`: window -> node name -> state root after the window; `losses`: window -> mean nats per
    token the validator recomputed; `accepted`: window -> hotkeys in the update; `leaders`:
    window -> who proposed it; `closed_round`: the newest window whose audits are done.
    """

    roots: dict[int, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    losses: dict[int, float] = field(default_factory=dict)
    accepted: dict[int, list[str]] = field(default_factory=dict)
    leaders: dict[int, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peers: dict[str, PeerLine] = field(default_factory=lambda: defaultdict(PeerLine))
    notes: list[str] = field(default_factory=list)
    weights_set: int = 0
    closed_round: int = 0
    first_update_at: float | None = None
    first_weights_at: float | None = None
    first_open_at: float | None = None
    _refused: set[tuple[int, str]] = field(default_factory=set)

    def add(self, node: str, hotkey: str, event: dict[str, Any]) -> None:
        """Take one event of one node."""
        if event["event"] == "window":
            self.peers[hotkey].bytes_up += event["bytes_up"] or 0
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(node, event)

    def _on_applied(self, node: str, event: dict[str, Any]) -> None:
        self.roots[event["window"]][node] = event["root"]
        self.accepted[event["window"]] = event["accepted"]
        self.first_update_at = self.first_update_at or event["t"]

    def _on_window(self, node: str, event: dict[str, Any]) -> None:
        self.first_open_at = self.first_open_at or event["t"]
        if "agree" in event["seconds"]:
            self.seconds = event["seconds"]
        if event.get("obstacle"):
            self.notes.append(f"{node}: no update of window {event['window']}: {event['obstacle']}")

    def _on_proposed(self, node: str, event: dict[str, Any]) -> None:
        self.leaders[event["window"]] = node

    def _on_ballot(self, node: str, event: dict[str, Any]) -> None:
        if event["objection"]:
            self.notes.append(
                f"{node}: voted against the update of window {event['window']}: "
                f"{event['objection']}"
            )

    def _on_round(self, node: str, event: dict[str, Any]) -> None:
        self.closed_round = max(self.closed_round, event["window"])
        if event["loss"] is not None:
            self.losses[event["window"]] = event["loss"]

    def _on_peer(self, node: str, event: dict[str, Any]) -> None:
        line = self.peers[event["hotkey"]]
        line.score, line.gate = event["score"], event["gate"]
        line.moving, line.weight = event["moving"], event["weight"]
        if line.gate:
            line.gates.append(line.gate)

    def _on_rejected(self, node: str, event: dict[str, Any]) -> None:
        # Several validators refuse the same delta: it is one refusal.
        seen = (event["window"], event["hotkey"])
        if seen not in self._refused:
            self._refused.add(seen)
            self.peers[event["hotkey"]].rejected[event["reason"]] += 1

    def _on_weights(self, node: str, event: dict[str, Any]) -> None:
        self.weights_set += 1
        self.first_weights_at = self.first_weights_at or event["t"]

    def _on_error(self, node: str, event: dict[str, Any]) -> None:
        self.notes.append(f"{node}: {event['what']}: {event['detail']}")

    def _on_undone(self, node: str, event: dict[str, Any]) -> None:
        self.notes.append(f"{node}: took back window {event['window']}: not on chain in time")
        self.roots[event["window"]].pop(node, None)

    @property
    def roots_equal(self) -> bool:
        """Whether all nodes had the same root after every window they report."""
        return all(len(set(by_node.values())) == 1 for by_node in self.roots.values() if by_node)

    def nodes_at_end(self) -> int:
        """How many nodes have applied the newest window that any of them has."""
        filled = [window for window, by_node in self.roots.items() if by_node]
        return len(self.roots[max(filled)]) if filled else 0


class Tail:
    """Reads whole new lines of one event file at each call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """The events since the last call; a half-written line waits for its end."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]
