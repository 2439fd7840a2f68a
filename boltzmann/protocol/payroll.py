"""What a validator pays whom and why: the signed statement beside the weights it sets on chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boltzmann.protocol.documents import open_document, read_body, seal_document
from boltzmann.protocol.fields import Fields, Malformed, sorted_unique
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.rewards import Standing, weights
from boltzmann.protocol.wire import Sign, VerifySignature

_KIND = "payroll"


@dataclass(frozen=True)
class Pay:
    """One hotkey's line: its weight, and the standing that it follows from.

    `audited`: the window of this validator's last audit of it, -1 if there was none.
    """

    hotkey: str
    uid: int
    weight: float
    moving: float
    debt: float
    audited: int


@dataclass(frozen=True)
class Payroll:
    """The weights that a validator sets in `window`; `settled` is the last window they count."""

    run: str
    window: int
    settled: int
    lines: tuple[Pay, ...]

    @property
    def weights(self) -> dict[int, float]:
        """uid -> weight, of those that get any."""
        return {line.uid: line.weight for line in self.lines if line.weight > 0.0}

    def seal(self, hotkey: str, sign: Sign) -> bytes:
        """The signed document. Raises: ValueError if it is too large for one."""
        body = {
            "lines": [
                [p.hotkey, p.uid, p.weight.hex(), p.moving.hex(), p.debt.hex(), p.audited]
                for p in self.lines
            ],
            "run": self.run,
            "settled": self.settled,
            "window": self.window,
        }
        return seal_document(_KIND, body, hotkey, sign)


def payroll(
    run: str,
    window: int,
    settled: int,
    standings: Mapping[str, Standing],
    uids: Mapping[str, int],
    audited: Mapping[str, int],
) -> Payroll:
    """The statement of what follows from these standings; hotkeys without a uid are left out."""
    shares = weights(standings)
    lines = []
    for hotkey, standing in sorted(standings.items()):
        if hotkey in uids:
            weight, last = shares.get(hotkey, 0.0), audited.get(hotkey, -1)
            held = standing.moving, standing.debt
            lines.append(Pay(hotkey, uids[hotkey], weight, *held, last))
    return Payroll(run, window, settled, tuple(lines))


def open_payroll(
    data: bytes, run: str, window: int, validator: str, verify: VerifySignature
) -> Payroll | Rejection:
    """The statement of `window` signed by `validator`, or why it is refused."""
    body = open_document(data, _KIND, validator, verify)
    return body if isinstance(body, Rejection) else read_body(body, _read, run, window)


def _read(fields: Fields) -> Payroll:
    lines = tuple(_line(row) for row in fields.rows("lines", 6))
    found = Payroll(fields.name("run"), fields.count("window"), fields.count("settled"), lines)
    fields.end()
    sorted_unique("lines", [line.hotkey for line in lines])
    return found


def _line(row: list[Any]) -> Pay:
    names = ("hotkey", "uid", "weight", "moving", "debt", "audited")
    fields = Fields(dict(zip(names, row, strict=True)))
    line = Pay(
        hotkey=fields.name("hotkey"),
        uid=fields.count("uid"),
        weight=fields.real("weight"),
        moving=fields.real("moving"),
        debt=fields.real("debt"),
        audited=fields.whole("audited", least=-1),
    )
    if not (0.0 <= line.weight <= 1.0 and line.debt >= 0.0):
        raise Malformed("a weight or a debt is out of range")
    return line
