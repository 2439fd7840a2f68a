"""What a validator holds of each hotkey, kept across restarts: its standing and last verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from boltzmann.errors import CorruptState
from boltzmann.node.outbox import write_whole
from boltzmann.node.round import Alarm
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.receipts import Verdict
from boltzmann.protocol.rewards import Standing

_NEVER = 1 << 32


class Book:
    """Standings by hotkey and registration: a hotkey that lost its slot begins anew.

    `waiting`: alarms of other validators that were not believed yet; `unsettled`: whose last
    spot audit did not tell, so that the next one must be full; `later`: validator -> window up to
    which its alarms come last, as one was about work that passes narrowly. None of them is kept.
    """

    def __init__(self, path: Path) -> None:
        """Raises: CorruptState if the file is there but cannot be read."""
        self.waiting: tuple[Alarm, ...] = ()
        self.unsettled: set[str] = set()
        self.later: dict[str, int] = {}
        self._path = path
        self._standings: dict[str, Standing] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._counted: dict[str, dict[str, int]] = {}  # hotkey -> outcome -> newest window
        self._doubts: dict[str, int] = {}  # hotkey -> window of another validator's failed audit
        self._muted: dict[str, int] = {}  # validator -> window until which its alarms are ignored
        self._covered: dict[str, int] = {}  # hotkey -> newest window that anybody has audited
        self._probation: dict[str, Verdict] = {}  # the newest failed recomputation of each hotkey
        if path.exists():
            try:
                stored = json.loads(path.read_text())
                self._standings = {h: Standing(**row) for h, row in stored["standings"].items()}
                self._verdicts = {h: Verdict(**row) for h, row in stored["verdicts"].items()}
                self._counted = {h: dict(row) for h, row in stored["counted"].items()}
                self._doubts = dict(stored["doubts"])
                self._covered = dict(stored["covered"])
                self._muted = dict(stored["muted"])
                self._probation = {h: Verdict(**row) for h, row in stored["probation"].items()}
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise CorruptState(
                    f"the standings in {path} cannot be read ({error}): restore the file, or "
                    f"delete it and every miner begins anew with this validator"
                ) from error

    @property
    def standings(self) -> dict[str, Standing]:
        """A copy of all standings."""
        return dict(self._standings)

    def __getitem__(self, hotkey: str) -> Standing:
        return self._standings[hotkey]

    def __contains__(self, hotkey: str) -> bool:
        return hotkey in self._standings

    def __setitem__(self, hotkey: str, standing: Standing) -> None:
        self._standings[hotkey] = standing

    def judge(self, verdict: Verdict) -> None:
        """Note an audit's outcome; one of an older window than what is noted changes nothing."""
        held = self._verdicts.get(verdict.hotkey)
        self.unsettled.discard(verdict.hotkey)
        if held is None or held.window <= verdict.window:
            self._verdicts[verdict.hotkey] = verdict
            self.cover(verdict)
            if self._doubts.get(verdict.hotkey, verdict.window) <= verdict.window:
                self._doubts.pop(verdict.hotkey, None)

    def convict(self, verdict: Verdict) -> None:
        """An own recomputation found a cheat: it is on probation until it registers anew."""
        known = self._probation.get(verdict.hotkey)
        if known is None or known.window <= verdict.window:
            self._probation[verdict.hotkey] = verdict

    def on_probation(self, hotkey: str) -> bool:
        """Whether a hotkey's work counts only where this validator has recomputed it in full."""
        return hotkey in self._probation

    def counts(self, hotkey: str, window: int, what: str) -> bool:
        """Whether a window's outcome is new for a hotkey; it is noted. A restart sees it twice."""
        known = self._counted.setdefault(hotkey, {})
        if known.get(what, -1) >= window:
            return False
        known[what] = window
        return True

    def doubt(self, verdict: Verdict) -> None:
        """Another validator's audit failed: no longer trust the hotkey before an own, newer one."""
        own = self._verdicts.get(verdict.hotkey)
        if not verdict.passed and own is not None and own.passed and own.window < verdict.window:
            since = self._doubts.get(verdict.hotkey, verdict.window)
            self._doubts[verdict.hotkey] = max(since, verdict.window)

    def reassure(self, hotkey: str, window: int) -> None:
        """An alarm about a window up to this one proved false: what it put in doubt holds again."""
        if self._doubts.get(hotkey, window + 1) <= window:
            del self._doubts[hotkey]

    def mute(self, validator: str, until: int) -> None:
        """Ignore a validator's alarms up to a window: it has raised a false one."""
        self._muted[validator] = max(until, self._muted.get(validator, until))

    def is_muted(self, validator: str, window: int) -> bool:
        return window <= self._muted.get(validator, -1)

    def put_off(self, validator: str, until: int) -> None:
        """Look at a validator's alarms last, up to a window, and doubt nobody for them."""
        self.later[validator] = max(until, self.later.get(validator, until))

    def comes_last(self, validator: str, window: int) -> bool:
        return window <= self.later.get(validator, -1)

    def cover(self, verdict: Verdict) -> None:
        """Some validator, this one or another, has audited a hotkey's window."""
        newest = self._covered.get(verdict.hotkey, verdict.window)
        self._covered[verdict.hotkey] = max(newest, verdict.window)

    def age(self, hotkey: str, window: int) -> int:
        """How many windows ago somebody has audited a hotkey; very many if nobody ever has."""
        return window - self._covered.get(hotkey, -window - _NEVER)

    @property
    def settled(self) -> int:
        """The newest window that was paid for; -1 if none was."""
        return max((row.get("paid", -1) for row in self._counted.values()), default=-1)

    @property
    def audited(self) -> dict[str, int]:
        """The window of the last audit of each hotkey."""
        return {hotkey: verdict.window for hotkey, verdict in self._verdicts.items()}

    def suspects(self, hotkey: str) -> bool:
        """Whether only a full audit will do: it never passed one here, or failed its last one, or
        another validator's."""
        verdict = self._verdicts.get(hotkey)
        return verdict is None or not verdict.passed or hotkey in self._doubts

    def has_failed(self, hotkey: str) -> bool:
        """Whether this validator has nothing to learn of a hotkey: it failed its last audit here,
        or is on probation."""
        verdict = self._verdicts.get(hotkey)
        return hotkey in self._probation or (verdict is not None and not verdict.passed)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The last verdict on each hotkey, in hotkey order."""
        return tuple(verdict for _, verdict in sorted(self._verdicts.items()))

    def told(self, window: int, trust_windows: int) -> tuple[Verdict, ...]:
        """What a receipt of a window tells: a pass for `trust_windows`, a failure until an audit
        passes. Of who is on probation a pass counts for its own window only; in all others the
        failure does, as nobody should let it in on another's word."""
        found = []
        for verdict in self.verdicts:
            failed = self._probation.get(verdict.hotkey)
            if verdict.passed and failed is not None and verdict.window != window:
                found.append(failed)
            elif not verdict.passed or verdict.window >= window - trust_windows:
                found.append(verdict)
        return tuple(found)

    def trusts(self, hotkey: str, since: int) -> bool:
        """Whether the last audit of a hotkey passed, and was of window `since` or later."""
        verdict = self._verdicts.get(hotkey)
        if hotkey in self._doubts or hotkey in self._probation:
            return False
        return verdict is not None and verdict.passed and verdict.window >= since

    def enrol(
        self, neurons: Iterable[Neuron], newcomer: Callable[[int], Standing] = Standing
    ) -> None:
        """Begin a standing for who is new, or registered anew; drop who is gone.

        `newcomer` makes the standing of a hotkey that was registered at a block.
        """
        fresh: dict[str, Standing] = {}
        for neuron in neurons:
            held = self._standings.get(neuron.hotkey)
            same = held is not None and held.registered_at == neuron.registered_at
            fresh[neuron.hotkey] = held if held and same else newcomer(neuron.registered_at)
            if not same:
                self._verdicts.pop(neuron.hotkey, None)
                self._counted.pop(neuron.hotkey, None)
                self._doubts.pop(neuron.hotkey, None)
                self._covered.pop(neuron.hotkey, None)
                self._probation.pop(neuron.hotkey, None)
                self.waiting = tuple(a for a in self.waiting if a.verdict.hotkey != neuron.hotkey)
        self._standings = fresh
        self.unsettled &= fresh.keys()
        self._verdicts = {h: v for h, v in self._verdicts.items() if h in fresh}
        self._counted = {h: row for h, row in self._counted.items() if h in fresh}
        self._doubts = {h: window for h, window in self._doubts.items() if h in fresh}
        self._covered = {h: window for h, window in self._covered.items() if h in fresh}
        self._probation = {h: v for h, v in self._probation.items() if h in fresh}

    def save(self) -> None:
        """Write everything down. Raises: NoRoom."""
        rows = {
            "standings": {hotkey: asdict(standing) for hotkey, standing in self._standings.items()},
            "verdicts": {hotkey: asdict(verdict) for hotkey, verdict in self._verdicts.items()},
            "counted": self._counted,
            "doubts": self._doubts,
            "covered": self._covered,
            "muted": self._muted,
            "probation": {hotkey: asdict(verdict) for hotkey, verdict in self._probation.items()},
        }
        write_whole(self._path, json.dumps(rows, indent=1, sort_keys=True).encode())
