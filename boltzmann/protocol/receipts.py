"""What one witness saw of a window: which deltas arrived, and what its audits said lately."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from boltzmann.protocol.documents import open_document, read_body, seal_document
from boltzmann.protocol.fields import Fields, Malformed, sorted_unique
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.reveal import Pledge
from boltzmann.protocol.wire import Sign, VerifySignature

_KIND = "receipt"
SMALLEST_NORM, LARGEST_NORM = 1e-30, 1e30  # of a delta that passes
VERDICT_WIDTH = 7  # values of a verdict in a document
_REASONS = frozenset(reason.value for reason in Reason)


@dataclass(frozen=True)
class Entry:
    """One member's delta: what it has pledged, and the reason why its delta does not count, if so.

    `signature` is that of its commit to `sha256`, so that a witness cannot make up an object. Both
    are "" if it has pledged nothing. A pledge is shown even when the delta is refused: two pledges
    prove an equivocator, whatever became of its deltas.
    """

    hotkey: str
    sha256: str
    signature: str
    refusal: str = ""

    @property
    def pledge(self) -> Pledge:
        return Pledge(self.sha256, self.signature)

    @property
    def received(self) -> bool:
        """Whether the witness has received the bytes that were pledged."""
        return not self.refusal


@dataclass(frozen=True)
class Verdict:
    """The witness's latest audit of a hotkey: that of its delta of `window`.

    `refusal` is the `Reason` of a failed audit, "" for a pass; `norm` is what was recomputed;
    `page`: the one page of the dataset that a spot audit recomputed, -1 if it was not one.
    """

    hotkey: str
    window: int
    refusal: str
    score: float
    gate: float
    norm: float
    page: int = -1

    @property
    def passed(self) -> bool:
        return not self.refusal


@dataclass(frozen=True)
class Receipt:
    """One witness's view of `window`. Entries and verdicts are in hotkey order."""

    run: str
    window: int
    entries: tuple[Entry, ...]
    verdicts: tuple[Verdict, ...]

    def seal(self, hotkey: str, sign: Sign) -> bytes:
        """The signed document. Raises: ValueError if it is too large for one."""
        body = {
            "entries": [[e.hotkey, e.sha256, e.signature, e.refusal] for e in self.entries],
            "run": self.run,
            "verdicts": verdict_rows(self.verdicts),
            "window": self.window,
        }
        return seal_document(_KIND, body, hotkey, sign)


def open_receipt(
    data: bytes, run: str, window: int, witness: str, verify: VerifySignature
) -> Receipt | Rejection:
    """The receipt of `window` signed by `witness`, or why it is refused."""
    body = open_document(data, _KIND, witness, verify)
    return body if isinstance(body, Rejection) else read_body(body, _read, run, window)


def _read(fields: Fields) -> Receipt:
    entries = tuple(_entry(row) for row in fields.rows("entries", 4))
    window = fields.count("window")
    verdicts = read_verdicts(fields.rows("verdicts", VERDICT_WIDTH), window)
    receipt = Receipt(fields.name("run"), window, entries, verdicts)
    fields.end()
    sorted_unique("entries", [entry.hotkey for entry in entries])
    return receipt


def verdict_rows(verdicts: Iterable[Verdict]) -> list[list[object]]:
    """As they stand in a document."""
    return [
        [v.hotkey, v.window, v.refusal, v.score.hex(), v.gate.hex(), v.norm.hex(), v.page]
        for v in verdicts
    ]


def read_verdicts(rows: Iterable[list[Any]], window: int) -> tuple[Verdict, ...]:
    """The verdicts of a document of `window`, in hotkey order. Raises: Malformed."""
    verdicts = tuple(_verdict(row) for row in rows)
    sorted_unique("verdicts", [verdict.hotkey for verdict in verdicts])
    if any(verdict.window > window for verdict in verdicts):
        raise Malformed("a verdict on a window to come")
    return verdicts


def _entry(row: list[Any]) -> Entry:
    names = ("hotkey", "sha256", "signature", "refusal")
    fields = Fields(dict(zip(names, row, strict=True)))
    entry = Entry(
        fields.name("hotkey"),
        fields.digest_or_none("sha256"),
        fields.signature_or_none("signature"),
        _refusal(fields.take("refusal")),
    )
    if bool(entry.sha256) != bool(entry.signature) or not (entry.sha256 or entry.refusal):
        raise Malformed("an entry has a digest with a signature, or a refusal, or both")
    return entry


def _verdict(row: list[Any]) -> Verdict:
    names = ("hotkey", "window", "refusal", "score", "gate", "norm", "page")
    fields = Fields(dict(zip(names, row, strict=True)))
    verdict = Verdict(
        hotkey=fields.name("hotkey"),
        window=fields.count("window"),
        refusal=_refusal(fields.take("refusal")),
        score=fields.real("score"),
        gate=fields.real("gate"),
        norm=fields.real("norm"),
        page=fields.whole("page", least=-1),
    )
    # A pass of no length, or of one that overflows, would become the limit of everybody's norm.
    if not (0.0 if verdict.refusal else SMALLEST_NORM) <= verdict.norm <= LARGEST_NORM:
        raise Malformed("norm is out of range")
    return verdict


def _refusal(value: object) -> str:
    if not isinstance(value, str) or (value and value not in _REASONS):
        raise Malformed("refusal is no reason")
    return value
