"""Receipts in short for admission's tests, and its rule written down a second time."""

from __future__ import annotations

from fractions import Fraction

from reference import verify_hash
from tampering import A, B, pledged

from boltzmann.protocol.admission import Accepted, Admission, Terms, admit
from boltzmann.protocol.receipts import Entry, Receipt, Verdict

WINDOW, TRUST = 20, 5
INF = float("inf")
STAKES = {"5W1": 1, "5W2": 1, "5W3": 1}


def passing(hotkey: str, window: int = 19, norm: float = 1.0) -> Verdict:
    return Verdict(hotkey, window, "", 0.9, 1.0, norm)


def failing(hotkey: str, window: int = 19, norm: float = 1.0) -> Verdict:
    return Verdict(hotkey, window, "gate", 0.1, 0.1, norm)


def receipt(entries: dict[str, str], *verdicts: Verdict) -> Receipt:
    """Entries are hotkey -> sha256, or "" for a delta that did not arrive."""
    seen = tuple(entry(hotkey, entries[hotkey]) for hotkey in sorted(entries))
    return Receipt("run-1", WINDOW, seen, tuple(sorted(verdicts, key=lambda v: v.hotkey)))


def entry(hotkey: str, sha256: str) -> Entry:
    """What a witness saw that the hotkey had signed, or did not see."""
    if not sha256:
        return Entry(hotkey, "", "", "absent")
    return Entry(hotkey, sha256, pledged(hotkey, sha256, "run-1", WINDOW))


def forged(hotkey: str, sha256: str, signer: str = "5Evil") -> Entry:
    """What a witness made up: the hotkey never signed it."""
    return Entry(hotkey, sha256, pledged(signer, sha256, "run-1", WINDOW))


def admitted(
    receipts: dict[str, Receipt],
    stakes: dict[str, int] = STAKES,
    trust: int = TRUST,
    leader: str = "5Leader",  # who is no witness, unless a test says so
    unverified: float = 0.0,
    norm_max: float = INF,
    threshold: float = 0.5,
    proposer_counts: bool = True,
    place: int = 0,
) -> Admission:
    terms = Terms(trust, norm_max, unverified, threshold, proposer_counts)
    return admit(receipts, stakes, leader, place, terms, verify_hash)


def entering(
    receipts: dict[str, Receipt],
    stakes: dict[str, int] = STAKES,
    trust: int = TRUST,
    leader: str = "5Leader",
) -> dict[str, str]:
    """hotkey -> sha256 of what enters."""
    accepted = admitted(receipts, stakes, trust, leader).accepted
    return {entry.hotkey: entry.sha256 for entry in accepted}


def alike(*verdicts: Verdict, entries: dict[str, str] | None = None) -> dict[str, Receipt]:
    """Three witnesses who say the same."""
    return dict.fromkeys(STAKES, receipt(entries or {"5Alice": A}, *verdicts))


def judged(*verdicts: tuple[str, Verdict], stakes: dict[str, int] = STAKES) -> bool:
    """Whether 5Alice, whose delta all saw, enters on these verdicts of these witnesses."""
    by = {w: [v for witness, v in verdicts if witness == w] for w in stakes}
    receipts = {w: receipt({"5Alice": A}, *found) for w, found in by.items()}
    return "5Alice" in entering(receipts, stakes)


def second_opinion(
    receipts: dict[str, Receipt],
    stakes: dict[str, int],
    trust: int,
    leader: str,
    unverified: float = 0.0,
    threshold: float = 0.5,
    proposer_counts: bool = True,
) -> Admission:
    """The rule once more, hotkey by hotkey, for those that the tests draw."""
    weights = {w: stakes[w] for w in receipts if stakes.get(w)}
    rows = [(w, row) for w in weights for row in receipts[w].entries if row.sha256]
    # Without a receipt the leader holds nothing, and one without stake can show what it holds.
    own = receipts[leader].entries if leader in receipts else ()
    whole = sum(stakes.values())
    entering: list[Accepted] = []
    norms: dict[Accepted, float] = {}
    waiting: list[tuple[int, str, Accepted]] = []  # passed by some, failed by none
    lacking = 0  # of those who would enter if the leader had their deltas
    for hotkey in ("5A", "5B", "5C", "5D"):
        vouched, norm = _vouched(hotkey, receipts, weights, trust)
        mine = [(w, row) for w, row in rows if row.hotkey == hotkey]
        signed = {row.sha256 for _, row in mine if _signature(row) == row.signature}
        mine = [(w, row) for w, row in mine if not row.refusal]
        for sha256 in (A, B):
            weight = sum(weights[w] for w, row in mine if row.sha256 == sha256)
            held = any((row.hotkey, row.sha256, row.refusal) == (hotkey, sha256, "") for row in own)
            if not weight > whole - weight or len(signed) > 1:
                continue
            if leader in stakes and not held:
                lacking += vouched > whole - vouched
                continue
            if vouched > whole - vouched:
                entering.append(Accepted(hotkey, sha256))
                norms[entering[-1]] = norm
            elif vouched and not _accused(hotkey, receipts, weights):
                waiting.append((whole - vouched, hotkey, Accepted(hotkey, sha256)))
    if lacking > 1 and 3 * lacking > len(entering):  # more than one in four of all together
        return Admission((), INF)
    electorate = {w: stakes[w] for w in stakes if proposer_counts or w != leader}
    for witness in _voting(entering, receipts, electorate, leader, threshold):
        seen_by = {(e.hotkey, e.sha256) for e in receipts[witness].entries if not e.refusal}
        entering = [a for a in entering if (a.hotkey, a.sha256) in seen_by]
        waiting = [row for row in waiting if (row[2].hotkey, row[2].sha256) in seen_by]
    sure = len(entering)
    for beside, (_, _, accepted) in enumerate(sorted(waiting, key=lambda row: row[:2]), 1):
        if Fraction(beside, sure + beside) <= Fraction(unverified):
            entering.append(accepted)
    limits = sorted(norms[accepted] for accepted in entering[:sure])
    middle = limits[(sure - 1) // 2 : sure // 2 + 1] if sure else [INF]
    return Admission(
        tuple(sorted(entering, key=lambda accepted: accepted.hotkey)), sum(middle) / len(middle)
    )


def _voting(
    entering: list[Accepted],
    receipts: dict[str, Receipt],
    electorate: dict[str, int],
    leader: str,
    threshold: float,
) -> list[str]:
    """The witnesses that the update counts on, in the order in which they are chosen."""
    there = [w for w in sorted(electorate) if electorate[w] and w in receipts]
    there.sort(key=lambda w: -electorate[w])
    there.sort(key=lambda w: w != leader)
    weight = sum(electorate[w] for w in there)
    aim = Fraction(threshold) * sum(electorate.values())
    aim = aim if weight > aim else Fraction(threshold) * weight
    chosen: list[str] = []
    while there and sum(electorate[w] for w in chosen) <= aim:
        lacking = []
        for witness in there:
            shown = {(e.hotkey, e.sha256) for e in receipts[witness].entries if not e.refusal}
            lacking.append([a for a in entering if (a.hotkey, a.sha256) not in shown])
        counts = [
            Fraction(len(lost), electorate[w]) for lost, w in zip(lacking, there, strict=True)
        ]
        place = 0 if there[0] == leader else counts.index(min(counts))
        entering = [accepted for accepted in entering if accepted not in lacking[place]]
        chosen.append(there.pop(place))
    return chosen


def _accused(hotkey: str, receipts: dict[str, Receipt], weights: dict[str, int]) -> bool:
    """Whether the last audit of any witness with stake failed the hotkey."""
    verdicts = [verdict for witness in weights for verdict in receipts[witness].verdicts]
    return any(verdict.hotkey == hotkey and verdict.refusal for verdict in verdicts)


def _signature(row: Entry) -> str:
    return entry(row.hotkey, row.sha256).signature


def _vouched(
    hotkey: str, receipts: dict[str, Receipt], weights: dict[str, int], trust: int
) -> tuple[int, float]:
    """The stake whose last audits a hotkey passed, and the norm in the middle of that stake."""
    units: list[tuple[float, int]] = []  # a norm and how much stake names it
    for witness, weight in weights.items():
        for window in range(WINDOW - trust, WINDOW + 1):
            for v in receipts[witness].verdicts:
                if (v.hotkey, v.window, v.refusal) == (hotkey, window, ""):
                    units.append((v.norm, weight))
    vouched = sum(weight for _, weight in units)
    middle = [x for x, _ in units if 2 * sum(w for norm, w in units if norm <= x) >= vouched]
    return vouched, min(middle, default=INF)
