"""Events as lines for people."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TextIO

from boltzmann.telemetry import events
from boltzmann.telemetry.metrics import is_number, tokens_per_second
from boltzmann.telemetry.values import Json, jsonable

Fields = Mapping[str, Json]

_RED, _YELLOW, _RESET = "\x1b[31m", "\x1b[33m", "\x1b[0m"
_COLOURS = {
    events.ERROR: _RED,
    events.VETOED: _RED,
    events.ABANDONED: _RED,
    **dict.fromkeys(
        (
            events.REJECTED,
            events.WAITING,
            events.UNDONE,
            events.DROPPED,
            events.WITHHELD,
            events.REFUSED,
        ),
        _YELLOW,
    ),
}
_BAR = 20  # characters
_WEIGHTS_SHOWN = 12


class Show(Enum):
    """Which events, and how."""

    NOTABLE = "notable"
    ALL = "all"
    JSON = "json"


class Console:
    """One aligned line per window, one per notable event; `name` is the node's, e.g. "M3".

    `show`: other events too, or each as one line of JSON, in which `node` is the name.

    Colours on a terminal, plain text elsewhere. Peers' text is shown without control characters.
    A stream that cannot be written to is given up silently. Calls may come from several threads.
    """

    def __init__(self, stream: TextIO, name: str, show: Show = Show.NOTABLE) -> None:
        self._stream = stream
        self._name = name
        self._show = show
        self._lock = threading.Lock()
        self._lost = False

    def event(self, name: str, **fields: object) -> None:
        """Write one line, if this event is one to show."""
        plain = {key: jsonable(value) for key, value in fields.items()}
        if self._show is Show.JSON:
            self._print(json.dumps({"node": self._name, "event": name, **plain}), "")
            return
        write = _WRITERS.get(name, _all if self._show is Show.ALL else None)
        body = write(plain) if write else ""
        if not body and self._show is Show.NOTABLE:
            return
        line = f"{time.strftime('%H:%M:%S')} {self._name:<4} {name:<8} {body}".rstrip()
        self._print(_printable(line), _COLOURS.get(name, ""))

    def close(self) -> None:
        """The stream is its owner's to close."""

    def _print(self, line: str, colour: str) -> None:
        with self._lock:
            if self._lost:
                return
            try:
                encoding = self._stream.encoding or "utf-8"
                shown = line.encode(encoding, "replace").decode(encoding)
                if colour and self._stream.isatty():
                    shown = f"{colour}{shown}{_RESET}"
                self._stream.write(shown + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # a closed pipe; a closed stream
                self._lost = True


def _window(fields: Fields) -> str:
    accepted = fields.get("accepted")
    parts = [
        f"{_number(fields.get('window'), ',.0f'):>7}",
        f"loss {_number(fields.get('loss'), '.4f'):>8}",
        f"{_number(fields.get('tokens'), ',.0f'):>10} tokens",
        f"{_number(tokens_per_second(fields), ',.0f'):>9} tokens/s",
        f"up {_size(fields.get('bytes_up')):>8}",
        f"down {_size(fields.get('bytes_down')):>8}",
        f"accepted {len(accepted) if isinstance(accepted, list) else '-':>3}",
        f"root {_start(fields.get('root')):<8}",
    ]
    if fields.get("mfu") is not None:
        parts.append(f"MFU {_number(fields['mfu'], '.1%'):>6}")
    if fields.get("memory_bytes") is not None:
        parts.append(f"memory {_size(fields['memory_bytes']):>8}")
    seconds = fields.get("seconds")
    if isinstance(seconds, dict):
        parts += [f"{phase} {_number(spent, '.2f'):>6} s" for phase, spent in seconds.items()]
    if fields.get("obstacle"):
        parts.append(f"no update: {fields['obstacle']}")
    return "  ".join(parts)


def _rejected(fields: Fields) -> str:
    detail = f" ({fields['detail']})" if fields.get("detail") else ""
    return (
        f"{_number(fields.get('window'), ',.0f'):>7}  uid {fields.get('uid')} "
        f"{_start(fields.get('hotkey'))}: {fields.get('reason')}{detail}"
    )


def _weights(fields: Fields) -> str:
    weights = fields.get("weights")
    pairs = list(weights.items()) if isinstance(weights, dict) else []
    pairs.sort(key=lambda pair: -pair[1] if is_number(pair[1]) else 0.0)
    shown = "  ".join(f"uid {uid}: {_number(w, '.3f')}" for uid, w in pairs[:_WEIGHTS_SHOWN])
    more = len(pairs) - _WEIGHTS_SHOWN
    rest = f"  and {more} more" if more > 0 else ""
    return f"set at block {_number(fields.get('block'), ',.0f')}  {shown}{rest}"


def _waiting(fields: Fields) -> str:
    return f"for {fields.get('what')}, {_number(fields.get('seconds'), ',.0f')} s so far"


def _error(fields: Fields) -> str:
    return f"{fields.get('what')}: {fields.get('detail')}"


def _progress(fields: Fields) -> str:
    done, of = fields.get("done"), fields.get("of")
    share = done / of if is_number(done) and is_number(of) and of else 0.0
    bar = "#" * round(share * _BAR)
    return f"{fields.get('what')} [{bar:.<{_BAR}}] {done} of {of}"


def _ballot(fields: Fields) -> str:
    """Only what a person should look at: a vote against."""
    objection = fields.get("objection")
    if not objection:
        return ""
    return (
        f"{_number(fields.get('window'), ',.0f'):>7}  against the proposal of "
        f"{_start(fields.get('leader'))}: {objection}"
    )


def _all(fields: Fields) -> str:
    return "  ".join(f"{key} {value}" for key, value in fields.items())


_WRITERS: Mapping[str, Callable[[Fields], str]] = {
    events.STARTED: _all,
    events.WINDOW: _window,
    events.REJECTED: _rejected,
    events.WEIGHTS: _weights,
    events.WAITING: _waiting,
    events.ERROR: _error,
    events.STOPPED: _all,
    events.PROGRESS: _progress,
    events.BALLOT: _ballot,
    **dict.fromkeys(
        (
            events.VETOED,
            events.WITHHELD,
            events.UNDONE,
            events.DROPPED,
            events.ABANDONED,
            events.LOADED,
            events.REFUSED,
        ),
        _all,
    ),
}


def _number(value: object, pattern: str) -> str:
    """`value` in a format pattern; "-" for None, other things as they are."""
    if is_number(value):
        return format(value, pattern)
    return "-" if value is None else str(value)


def _size(value: object) -> str:
    """Bytes with a decimal unit, e.g. "1.3 MB"."""
    if not is_number(value):
        return _number(value, "")
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _start(value: object) -> str:
    """The first characters of a hotkey or root."""
    return "-" if value is None else str(value)[:8]


def _printable(line: str) -> str:
    # A peer's text must not move the cursor or retitle the operator's terminal.
    return "".join(character if character.isprintable() else "?" for character in line)
