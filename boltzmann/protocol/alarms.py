"""What a validator's audits have found since its last receipt, told before its next one.

Audits of a window go on while the next one's miners train. Whom they fail would enter once more if
the others heard of it by that window's receipts only.
"""

from __future__ import annotations

from dataclasses import dataclass

from boltzmann.protocol.documents import open_document, read_body, seal_document
from boltzmann.protocol.fields import Fields, Malformed, checked, is_digest
from boltzmann.protocol.receipts import VERDICT_WIDTH, Verdict, read_verdicts, verdict_rows
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.wire import Sign, VerifySignature

_KIND = "alarms"


@dataclass(frozen=True)
class Judged:
    """A verdict, and the sha256 of the object it is on: who holds other bytes cannot check it."""

    verdict: Verdict
    sha256: str


@dataclass(frozen=True)
class Alarms:
    """Failed audits of earlier windows, in hotkey order, told in `window`."""

    run: str
    window: int
    failures: tuple[Judged, ...]

    def seal(self, hotkey: str, sign: Sign) -> bytes:
        """The signed document. Raises: ValueError if it is too large for one."""
        verdicts = verdict_rows(failure.verdict for failure in self.failures)
        rows = zip(verdicts, self.failures, strict=True)
        body = {
            "failures": [[*row, failure.sha256] for row, failure in rows],
            "run": self.run,
            "window": self.window,
        }
        return seal_document(_KIND, body, hotkey, sign)


def open_alarms(
    data: bytes, run: str, window: int, validator: str, verify: VerifySignature
) -> Alarms | Rejection:
    """The alarms of `window` signed by `validator`, or why they are refused."""
    body = open_document(data, _KIND, validator, verify)
    return body if isinstance(body, Rejection) else read_body(body, _read, run, window)


def _read(fields: Fields) -> Alarms:
    window = fields.count("window")
    run, rows = fields.name("run"), fields.rows("failures", VERDICT_WIDTH + 1)
    verdicts = read_verdicts((row[:-1] for row in rows), window)
    objects = [checked("sha256", is_digest, row[-1]) for row in rows]
    fields.end()
    if any(verdict.passed or verdict.window == window for verdict in verdicts):
        raise Malformed("an alarm tells of a failed audit of an earlier window")
    return Alarms(run, window, tuple(map(Judged, verdicts, objects)))
