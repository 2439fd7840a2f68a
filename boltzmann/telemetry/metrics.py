"""Events as the numbers a plotting service keeps, one row a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

from boltzmann.telemetry.events import PEER, REJECTED, WEIGHTS, WINDOW

_WINDOW_NUMBERS = (
    "loss",
    "tokens",
    "sample_rate",
    "mfu",
    "utilisation",
    "memory_bytes",
    "bytes_up",
    "bytes_down",
)
_PEER_NUMBERS = ("score", "gate", "moving", "weight")

Row = dict[str, float]


class Rows:
    """Joins events of the same window into one row, keyed `window` and the metrics' names.

    loss, tokens, tokens_per_s, sample_rate, mfu, utilisation, memory_bytes, bytes_up, bytes_down,
    accepted (a count), time/<phase> in seconds, {score,gate,moving,weight}/<hotkey>,
    rejects/<reason> (how many), weights_block (where weights were set). Values that are not known
    leave no entry.
    """

    def __init__(self) -> None:
        self._row: Row = {}

    def add(self, name: str, fields: Mapping[str, object]) -> Row | None:
        """The row before, once this event is of another window."""
        numbers = _numbers(name, fields)
        if not numbers:
            return None
        window = fields.get("window")
        done = None
        if is_number(window) and window != self._row.get("window", window):
            done = self.rest()
        if is_number(window):
            self._row["window"] = window
        for key, number in numbers.items():
            counted = self._row.get(key, 0) if key.startswith("rejects/") else 0
            self._row[key] = counted + number
        return done

    def rest(self) -> Row | None:
        """The row begun, if there is one; the next begins empty."""
        row, self._row = self._row, {}
        return row or None


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a number to compute with."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def tokens_per_second(fields: Mapping[str, object]) -> float | None:
    """A window event's throughput: as given, or its tokens over the seconds of its train phase."""
    given, tokens, seconds = (fields.get(k) for k in ("tokens_per_s", "tokens", "seconds"))
    if is_number(given):
        return float(given)
    train = seconds.get("train") if isinstance(seconds, Mapping) else None
    if is_number(tokens) and is_number(train) and train > 0:
        return tokens / train
    return None


def _numbers(name: str, fields: Mapping[str, object]) -> Row:
    if name == WINDOW:
        return _window(fields)
    if name == PEER:
        hotkey = fields.get("hotkey")
        return _only_numbers({f"{key}/{hotkey}": fields.get(key) for key in _PEER_NUMBERS})
    if name == REJECTED:
        return {f"rejects/{fields.get('reason')}": 1}
    if name == WEIGHTS:
        return _only_numbers({"weights_block": fields.get("block")})
    return {}


def _window(fields: Mapping[str, object]) -> Row:
    values: dict[str, object] = {key: fields.get(key) for key in _WINDOW_NUMBERS}
    values["tokens_per_s"] = tokens_per_second(fields)
    accepted, seconds = fields.get("accepted"), fields.get("seconds")
    if isinstance(accepted, list):
        values["accepted"] = len(accepted)
    if isinstance(seconds, Mapping):
        values |= {f"time/{phase}": spent for phase, spent in seconds.items()}
    return _only_numbers(values)


def _only_numbers(values: Mapping[str, object]) -> Row:
    # JSON holds these three as strings; a loss that became one of them must not look unknown.
    known = {
        key: float(value) if value in ("nan", "inf", "-inf") else value
        for key, value in values.items()
        if isinstance(value, (str, int, float))
    }
    return {key: value for key, value in known.items() if is_number(value)}
