"""From receipts to the deltas of one update: a pure rule, so that anyone can recheck a proposal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from statistics import median

from boltzmann.protocol.council import voters
from boltzmann.protocol.receipts import Receipt
from boltzmann.protocol.reveal import Pledge
from boltzmann.protocol.wire import VerifySignature


@dataclass(frozen=True)
class Accepted:
    """One delta that enters the aggregate, named by the sha256 of its object."""

    hotkey: str
    sha256: str


@dataclass(frozen=True)
class Terms:
    """What a run's config says of admission.

    `trust_windows`: for how long a pass counts; `norm_max`: no delta's norm counts for more;
    `unverified_max`: the share of an update's deltas whose hotkeys fewer than half have passed;
    `vote_threshold` and `proposer_counts`: whose approval the update will need.
    """

    trust_windows: int
    norm_max: float = float("inf")
    unverified_max: float = 0.0
    vote_threshold: float = 0.5
    proposer_counts: bool = True


@dataclass(frozen=True)
class Admission:
    """Who enters, in hotkey order, and what each delta's norm is scaled down to."""

    accepted: tuple[Accepted, ...]
    norm_limit: float


def admit(
    receipts: Mapping[str, Receipt],
    stakes: Mapping[str, int],
    leader: str,
    place: int,
    terms: Terms,
    verify: VerifySignature,
) -> Admission:
    """What follows from one window's receipts, by witness, if `leader` proposes, whose turn is at
    this place, 0 being the first.

    `stakes` are those of all the window's witnesses, whether their receipts are there or not. A
    delta enters if witnesses with more than half of all the stake received the same bytes, the
    leader among them if it is a witness (it has to aggregate them), if its sender has committed to
    no other bytes, and if more than half of all the stake says that its hotkey passed its audits.
    Where the terms allow it, some enter beside them whom fewer have passed and nobody has failed.
    Of all these only what enough stake to approve the update holds together: deltas that are each
    hidden from other validators would leave nobody who has them all. And nobody enters if the
    leader lacks too many of those whom the receipts let in, two at least: it would choose who makes
    the update. Too many is more than a quarter for the first leader, more than half for the second,
    more than three quarters for the third: miners who know the order must not stop them all.

    The norm limit is the median of the norms that audits of the verified recomputed, never the
    submitters' own median, which colluders could move; infinity if nobody enters.
    """
    counted = {w: receipt for w, receipt in receipts.items() if stakes.get(w, 0) > 0}
    out = equivocators(counted, verify)
    held = _held(receipts, leader) if leader in stakes else None
    seen = {h: sha256 for h, sha256 in _received(counted, stakes).items() if h not in out}
    here = {h: sha256 for h, sha256 in seen.items() if held is None or (h, sha256) in held}
    passed = _passed(counted, stakes, terms.trust_windows)
    total = sum(stakes.values())
    wanted = {hotkey for hotkey in seen if 2 * passed.get(hotkey, _NOBODY).stake > total}
    passing = wanted & here.keys()
    if len(wanted - passing) > max(1, (place + 1) * len(wanted) // 4):
        return Admission((), float("inf"))
    has = {w: {hotkey for hotkey, _ in here.items() & _held(receipts, w)} for w in counted}
    holders = _holders(passing, has, voters(stakes, leader, terms.proposer_counts), leader, terms)
    common = set(here).intersection(*(has[witness] for witness in holders))
    verified = passing & common
    entering = verified | _unverified(counted, passed, common - passing, len(verified), terms)
    norms = [passed[hotkey].norm for hotkey in verified]
    return Admission(
        tuple(Accepted(hotkey, here[hotkey]) for hotkey in sorted(entering)),
        min(median(norms), terms.norm_max) if norms else float("inf"),
    )


def equivocators(receipts: Mapping[str, Receipt], verify: VerifySignature) -> set[str]:
    """Who has shown different commits to different witnesses, proven by its own signatures.

    A witness that makes an object up cannot sign its commit, so it harms nobody.
    """
    shown: dict[str, set[Pledge]] = defaultdict(set)
    for receipt in receipts.values():
        for entry in receipt.entries:
            if entry.sha256:
                shown[entry.hotkey].add(entry.pledge)
    found = set()
    for hotkey, pledges in shown.items():
        if len({pledge.sha256 for pledge in pledges}) < 2:
            continue  # the usual case, and no signature need be looked at
        names = {(receipt.run, receipt.window) for receipt in receipts.values()}
        proven = {
            pledge.sha256
            for pledge in pledges
            for run, window in names
            if pledge.holds(run, window, hotkey, verify)
        }
        if len(proven) > 1:
            found.add(hotkey)
    return found


@dataclass(frozen=True)
class _Passed:
    """How much stake has passed a hotkey, and the norm in the middle of it."""

    stake: int
    norm: float


_NOBODY = _Passed(0, 0.0)


def _holders(
    wanted: set[str],
    has: Mapping[str, set[str]],
    votes: Mapping[str, int],
    leader: str,
    terms: Terms,
) -> list[str]:
    """Witnesses whose votes suffice, chosen so that they hold much of what is wanted together.

    The leader first, then always the one with whom the fewest are lost for its stake (who holds
    dust keeps nothing out), the most stake and the lowest hotkey deciding. Where receipts are
    missing, the share is of the stake whose receipts are there.
    """

    def price(witness: str) -> tuple[bool, Fraction, int, str]:
        lost = Fraction(len(common - left[witness]), votes[witness])
        return (witness != leader, lost, -votes[witness], witness)

    left = {witness: has[witness] for witness in has if votes.get(witness, 0)}
    share, present = Fraction(terms.vote_threshold), sum(votes[witness] for witness in left)
    enough = share * sum(votes.values())
    if present <= enough:
        enough = share * present
    chosen: list[str] = []
    common, reached = set(wanted), 0
    while left and reached <= enough:
        nearest = min(left, key=price)
        common &= left.pop(nearest)
        reached += votes[nearest]
        chosen.append(nearest)
    return chosen


def _unverified(
    receipts: Mapping[str, Receipt],
    passed: Mapping[str, _Passed],
    candidates: set[str],
    verified: int,
    terms: Terms,
) -> set[str]:
    """Whom some have passed and nobody has failed: as many as the terms allow, most stake first."""
    room = int(verified * terms.unverified_max / (1.0 - terms.unverified_max))
    failed = {
        verdict.hotkey
        for receipt in receipts.values()
        for verdict in receipt.verdicts
        if not verdict.passed
    }
    ranked = sorted(
        (hotkey for hotkey in candidates if hotkey in passed and hotkey not in failed),
        key=lambda hotkey: (-passed[hotkey].stake, hotkey),
    )
    return set(ranked[:room])


def _held(receipts: Mapping[str, Receipt], leader: str) -> set[tuple[str, str]]:
    """What the leader has received itself."""
    own = receipts.get(leader)
    return {(e.hotkey, e.sha256) for e in own.entries if e.received} if own else set()


def _received(receipts: Mapping[str, Receipt], stakes: Mapping[str, int]) -> dict[str, str]:
    """hotkey -> the bytes that more than half the stake saw."""
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for witness, receipt in receipts.items():
        for entry in receipt.entries:
            if entry.received:
                seen[entry.hotkey, entry.sha256] += stakes[witness]
    total = sum(stakes.values())
    return {hotkey: sha256 for (hotkey, sha256), stake in seen.items() if 2 * stake > total}


def _passed(
    receipts: Mapping[str, Receipt], stakes: Mapping[str, int], trust_windows: int
) -> dict[str, _Passed]:
    """Of each hotkey with a witness whose last audit it passed: how much stake, and which norm.

    Each witness speaks for its own last audit of a hotkey, none older than `trust_windows`, with
    all its stake. Audits are recomputations, so honest witnesses agree, and whoever holds little
    stake can neither let a cheat in nor shut anybody out. Who has turned is out as soon as half the
    stake has found out; a failure that one witness reports makes the others look at once.
    """
    found: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
    for witness, receipt in receipts.items():
        for verdict in receipt.verdicts:
            if verdict.passed and receipt.window - verdict.window <= trust_windows:
                found[verdict.hotkey].append((verdict.norm, witness, stakes[witness]))
    return {
        hotkey: _Passed(sum(stake for _, _, stake in rows), _middle(rows))
        for hotkey, rows in found.items()
    }


def _middle(rows: list[tuple[float, str, int]]) -> float:
    """The norm at which half the stake of (norm, witness, stake) is reached, from below.

    Witnesses' last audits may be of different windows; who is alone with a norm does not name it.
    """
    ordered = sorted(rows)
    total = sum(stake for _, _, stake in ordered)
    reached = accumulate(stake for _, _, stake in ordered)
    return next(
        norm for (norm, _, _), so_far in zip(ordered, reached, strict=True) if 2 * so_far >= total
    )
