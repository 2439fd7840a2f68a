"""What the nodes of a simulation report, gathered as it happens."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from boltzmann.protocol.rejection import ABSENCES

_FORGIVEN = {reason.value for reason in ABSENCES}


@dataclass(frozen=True)
class Look:
    """A validator's audit of a miner's window, for which it recomputed so many pages."""

    window: int
    hotkey: str
    validator: str
    pages: int


@dataclass
class Observations:
    """Of all nodes together. What several validators say of one delta is told apart by nobody.

    `sent`: hotkey -> windows in which it sent a delta; `accepted`: window -> hotkeys in its
    update; `roots`: window -> node -> root after it; `audits`: hotkey -> each validator's;
    `refused`: hotkey -> (window, reason); `losses`: window -> what each validator recomputed on
    its members' pages, in nats per token.
    """

    sent: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    accepted: dict[int, tuple[str, ...]] = field(default_factory=dict)
    roots: dict[int, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    audits: dict[str, list[Look]] = field(default_factory=lambda: defaultdict(list))
    refused: dict[str, set[tuple[int, str]]] = field(default_factory=lambda: defaultdict(set))
    losses: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def failed(self, hotkey: str) -> list[int]:
        """The windows in which more than an absence was held against a hotkey, in order."""
        found = {w for w, reason in self.refused.get(hotkey, ()) if reason not in _FORGIVEN}
        return sorted(found)


@dataclass(frozen=True)
class Witnessed:
    """Implements `boltzmann.ports.Telemetry` of one node; nobody believes a rogue's."""

    name: str
    hotkey: str
    is_honest: bool
    seen: Observations

    def event(self, name: str, **fields: object) -> None:
        """Take what the results are made of."""
        handler = getattr(self, f"_on_{name}", None)
        if handler is not None and (self.is_honest or name == "window"):
            handler(fields)

    def close(self) -> None:
        """Nothing is held."""

    def _on_window(self, fields: dict[str, Any]) -> None:
        if fields["accepted"] is None and fields["bytes_up"]:  # a miner's
            self.seen.sent[self.hotkey].add(fields["window"])

    def _on_applied(self, fields: dict[str, Any]) -> None:
        self.seen.accepted[fields["window"]] = tuple(fields["accepted"])
        self.seen.roots[fields["window"]][self.name] = fields["root"]

    def _on_undone(self, fields: dict[str, Any]) -> None:
        self.seen.roots[fields["window"]].pop(self.name, None)
        self._note(f"took back window {fields['window']}")

    def _on_audited(self, fields: dict[str, Any]) -> None:
        hotkey = fields["hotkey"]
        look = Look(fields["window"], hotkey, self.hotkey, fields["pages"])
        self.seen.audits[hotkey].append(look)

    def _on_rejected(self, fields: dict[str, Any]) -> None:
        self.seen.refused[fields["hotkey"]].add((fields["window"], fields["reason"]))

    def _on_round(self, fields: dict[str, Any]) -> None:
        if fields["loss"] is not None:
            self.seen.losses[fields["window"]].append(fields["loss"])

    def _on_ballot(self, fields: dict[str, Any]) -> None:
        if fields["objection"]:
            self._note(f"voted against window {fields['window']}: {fields['objection']}")

    def _on_error(self, fields: dict[str, Any]) -> None:
        self._note(f"{fields['what']}: {fields['detail']}")

    def _note(self, text: str) -> None:
        self.seen.notes.append(f"{self.name}: {text}")
