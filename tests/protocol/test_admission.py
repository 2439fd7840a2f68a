"""Who enters an update: a pure rule over receipts, tried from the side of those who lie in them.

Here: what was received, by whom, and the whole rule against a second one. What the audits' verdicts
do to it has a file of its own.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from admission_kit import (
    INF,
    STAKES,
    TRUST,
    WINDOW,
    admitted,
    alike,
    entering,
    entry,
    failing,
    forged,
    passing,
    receipt,
    second_opinion,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import verify_hash
from tampering import A, B, C, pledged

from boltzmann.protocol.admission import Accepted, Admission, equivocators
from boltzmann.protocol.receipts import Entry, Receipt, Verdict


def test_what_all_saw_and_passed_enters_in_hotkey_order() -> None:
    entries = {"5Carol": C, "5Alice": A, "5Bob": B}
    verdicts = [passing("5Carol", 19, 3.0), passing("5Alice", 18, 1.0), passing("5Bob", 15, 2.0)]
    accepted = (Accepted("5Alice", A), Accepted("5Bob", B), Accepted("5Carol", C))
    assert admitted(alike(*verdicts, entries=entries), STAKES, TRUST) == Admission(accepted, 2.0)


def test_nothing_admits_nothing_and_limits_nothing() -> None:
    nothing = Admission((), INF)
    assert admitted({}, {}, TRUST) == admitted({}, STAKES, TRUST) == nothing
    assert admitted(alike(entries={}), STAKES, TRUST) == nothing
    assert admitted(alike(passing("5Alice")), dict.fromkeys(STAKES, 0), TRUST) == nothing


def test_an_upload_that_some_see_differently_hurts_its_sender_only() -> None:
    verdicts = [passing("5Alice"), passing("5Mallory")]
    seen = {
        digest: receipt({"5Alice": A, "5Mallory": digest}, *verdicts) for digest in (A, B, C, "")
    }
    for views in ((A, B, C), (A, B, B), (B, A, B), (B, B, A), (A, A, B)):
        split = dict(zip(STAKES, (seen[view] for view in views), strict=True))
        assert entering(split) == {"5Alice": A}
        assert equivocators(split, verify_hash) == {"5Mallory"}
    for views in ((A, A, ""), (A, "", A), ("", A, A), (A, A, A)):
        partly = dict(zip(STAKES, (seen[view] for view in views), strict=True))
        assert entering(partly) == {"5Alice": A, "5Mallory": A}
    for views in ((A, "", ""), ("", "", "")):
        hidden = dict(zip(STAKES, (seen[view] for view in views), strict=True))
        assert entering(hidden) == {"5Alice": A}
        assert equivocators(hidden, verify_hash) == set()


def test_even_a_witness_of_one_rao_can_prove_an_equivocation() -> None:
    seen = alike(passing("5Alice"), passing("5Bob"), entries={"5Alice": A, "5Bob": B})
    proof = replace(receipt({}), entries=(entry("5Alice", C),))
    assert entering({**seen, "5Tiny": proof}, {**STAKES, "5Tiny": 1}) == {"5Bob": B}
    assert entering({**seen, "5None": proof}, STAKES) == {"5Alice": A, "5Bob": B}


def test_a_pledge_whose_delta_was_refused_counts_for_nothing_but_proves_an_equivocation() -> None:
    refused = replace(entry("5Alice", A), refusal="bad_commit")
    seen = alike(passing("5Alice"))
    without = replace(seen["5W1"], entries=(refused,))
    assert entering({**seen, "5W3": without}) == {"5Alice": A}
    assert entering({"5W1": seen["5W1"], "5W2": without, "5W3": without}) == {}
    assert entering({**seen, "5W3": without}, leader="5W3") == {}
    other = replace(without, entries=(replace(entry("5Alice", C), refusal="absent"),))
    assert entering({**seen, "5W3": other}) == {}


@pytest.mark.parametrize("signer", ["5Evil", "5W1", "5Bob"])
def test_a_witness_cannot_make_up_an_equivocation(signer: str) -> None:
    seen = alike(passing("5Alice"), passing("5Bob"), entries={"5Alice": A, "5Bob": B})
    lies = tuple(forged(hotkey, C, signer) for hotkey in ("5Alice", "5Carol"))
    made_up = replace(receipt({}), entries=lies)
    assert equivocators({**seen, "5Evil": made_up}, verify_hash) == set()
    stakes = {**STAKES, "5Evil": 2}
    assert entering({**seen, "5Evil": made_up}, stakes) == {"5Alice": A, "5Bob": B}


def test_a_commit_of_another_window_or_run_proves_nothing() -> None:
    seen = alike(passing("5Alice"))
    for run, window in (("run-1", WINDOW - 1), ("run-2", WINDOW)):
        old = Entry("5Alice", C, pledged("5Alice", C, run, window))
        assert entering({**seen, "5W3": replace(receipt({}), entries=(old,))}) == {"5Alice": A}


def test_two_signatures_of_one_digest_are_no_equivocation() -> None:
    """Signatures are randomised, and one of these may be made up."""
    seen = alike(passing("5Alice"))
    again = replace(receipt({}), entries=(forged("5Alice", A),))
    assert equivocators({**seen, "5W3": again}, verify_hash) == set()
    assert entering({**seen, "5W3": again}) == {"5Alice": A}


def test_a_leader_that_witnesses_enters_only_what_it_received_itself() -> None:
    verdicts = [passing("5Alice", 19, 1.0), passing("5Bob", 19, 3.0)]
    full = receipt({"5Alice": A, "5Bob": B}, *verdicts)
    receipts = {"5W1": full, "5W2": receipt({"5Alice": A, "5Bob": ""}, *verdicts), "5W3": full}
    both = {"5Alice": A, "5Bob": B}
    assert entering(receipts, leader="5W1") == entering(receipts, leader="5W3") == both
    assert entering(receipts, leader="5W2") == {"5Alice": A}
    assert entering(receipts, leader="5Leader") == both
    without = {"5W1": full, "5W2": full}
    assert entering(without, leader="5W3") == {}, "a witness without a receipt holds nothing"
    assert entering(without, leader="5Leader") == both
    limits = [admitted(receipts, leader=leader).norm_limit for leader in (*STAKES, "5Leader")]
    assert limits == [2.0, 1.0, 2.0, 2.0], "the limit is of those who enter"


def all_and_some(lacks: int, of: int) -> tuple[Receipt, Receipt]:
    """Receipts of a witness that has the deltas of so many trusted miners, and of one that lacks
    some of them."""
    hotkeys = [f"5M{number:02d}" for number in range(of)]
    verdicts = [passing(hotkey) for hotkey in hotkeys]
    full = receipt(dict.fromkeys(hotkeys, A), *verdicts)
    few = receipt({h: "" if h in hotkeys[:lacks] else A for h in hotkeys}, *verdicts)
    return full, few


@pytest.mark.parametrize(
    ("lacks", "of", "enters"),
    [(1, 2, 1), (1, 3, 2), (2, 3, 0), (2, 7, 0), (2, 8, 6), (3, 11, 0), (3, 12, 9), (12, 12, 0)],
)
def test_a_leader_that_lacks_too_many_deltas_makes_no_update(
    lacks: int, of: int, enters: int
) -> None:
    """Or it would choose whose update it is: its friend's alone, say."""
    full, few = all_and_some(lacks, of)
    receipts = {"5W1": full, "5W2": full, "5W3": few}
    assert len(entering(receipts, leader="5W3")) == enters
    assert len(entering(receipts, leader="5W1")) == of, "another one may"
    assert len(entering({**receipts, "5W2": few}, leader="5W3")) == of - lacks, "nor do the others"


@pytest.mark.parametrize(
    ("place", "lacks", "enters"),
    [(0, 3, 9), (0, 4, 0), (1, 6, 6), (1, 7, 0), (2, 9, 3), (2, 10, 0), (3, 11, 1), (5, 11, 1)],
)
def test_later_leaders_may_lack_more_or_miners_would_stop_them_all(
    place: int, lacks: int, enters: int
) -> None:
    full, few = all_and_some(lacks, 12)
    receipts = {"5W1": full, "5W2": full, "5W3": few}
    assert len(admitted(receipts, leader="5W3", place=place).accepted) == enters


def test_a_leader_without_stake_proposes_what_its_own_receipt_holds() -> None:
    """When all that have stake are exhausted, it is the one that is left to lead."""
    entries, stakes = {"5Alice": A, "5Bob": B}, {**STAKES, "5Poor": 0}
    seen = alike(passing("5Alice"), passing("5Bob"), entries=entries)
    for own in ({}, {"5Alice": A}, {"5Bob": B}, entries):
        held = {**seen, "5Poor": receipt(own)}
        assert entering(held, stakes, leader="5Poor") == own
        assert entering(held, stakes) == entries, "only of a leader is it asked"
    for missed in ("", C):
        held = {**seen, "5Poor": receipt({"5Alice": A, "5Bob": missed})}
        assert entering(held, stakes, leader="5Poor") == {"5Alice": A}
    assert entering(seen, stakes, leader="5Poor") == {}, "without a receipt it holds nothing"


def test_a_leader_without_stake_says_nothing_of_others() -> None:
    seen, stakes = alike(passing("5Alice", 19, 2.0)), {**STAKES, "5Poor": 0}
    for verdict in (failing("5Alice", 20), passing("5Alice", 20, 9.0), passing("5Bob", 20, 9.0)):
        poor = {"5Poor": receipt({"5Alice": A, "5Bob": B}, verdict)}
        expected = Admission((Accepted("5Alice", A),), 2.0)
        assert admitted({**seen, **poor}, stakes, leader="5Poor") == expected


def test_the_same_bytes_of_two_senders_are_two_deltas() -> None:
    verdicts = [passing("5Alice"), passing("5Copy")]
    assert entering(alike(*verdicts, entries={"5Alice": A, "5Copy": A})) == {
        "5Alice": A,
        "5Copy": A,
    }
    divided = {
        "5W1": receipt({"5Alice": A}, *verdicts),
        "5W2": receipt({"5Copy": A}, *verdicts),
    }
    assert entering(divided) == {}


@pytest.mark.parametrize("unit", [1, 2**53, 2**53 + 1, 2**63])
def test_exactly_half_of_the_stake_is_not_enough(unit: int) -> None:
    saw, blind = receipt({"5Alice": A}, passing("5Alice")), receipt({"5Alice": ""})
    receipts = {"5W1": saw, "5W2": blind}
    assert entering(receipts, {"5W1": unit, "5W2": unit}) == {}
    assert entering(receipts, {"5W1": unit + 1, "5W2": unit}) == {"5Alice": A}
    assert entering(receipts, {"5W1": unit, "5W2": unit + 1}) == {}


def test_absent_witnesses_count_in_the_whole() -> None:
    saw = receipt({"5Alice": A}, passing("5Alice"))
    assert entering({"5W1": saw}) == {}
    assert entering({"5W1": saw, "5W2": saw}) == {"5Alice": A}
    assert entering({"5W1": saw}, {"5W1": 1}) == {"5Alice": A}
    assert entering({"5W1": saw, "5W2": saw}, {**STAKES, "5W4": 1}) == {}


def test_a_receipt_of_no_witness_changes_nothing() -> None:
    """Bob is received by too few, and Carol passed by too few: none of it may be made up for."""
    alice, bob = passing("5Alice", 18, 2.0), passing("5Bob", 18, 4.0)
    honest = {
        "5W1": receipt({"5Alice": A, "5Bob": B, "5Carol": C}, alice, bob),
        "5W2": receipt({"5Alice": A, "5Carol": C}, alice, bob, passing("5Carol", 18, 8.0)),
    }
    expected = admitted(honest, STAKES, TRUST)
    assert expected == Admission((Accepted("5Alice", A),), 2.0)
    others = [passing(hotkey, 20, 99.0) for hotkey in ("5Bob", "5Carol", "5X")]
    entries = {"5Alice": B, "5Bob": B, "5Carol": C, "5X": C}
    for verdict in (failing("5Alice", 20), passing("5Alice", 20, 99.0)):
        strange = receipt(entries, verdict, *others)
        for name in ("5Stranger", "5Z"):  # a tie of stake would go to the larger name
            assert admitted({**honest, name: strange}, STAKES, TRUST) == expected
            assert admitted({**honest, name: strange}, {**STAKES, name: 0}, TRUST) == expected


HOTKEYS = ("5A", "5B", "5C", "5D")
WITNESSES = st.sampled_from(["5W1", "5W2", "5W3", "5W4"])
VERDICTS = st.builds(
    lambda window, bad, norm: Verdict("", window, "gate" if bad else "", 0.5, 1.0, norm),
    st.integers(13, WINDOW),
    st.sampled_from([False, False, True]),
    st.sampled_from([0.5, 1.0, 2.0, 3.0, 100.0]),
)
MOSTLY = st.integers(0, 3).map(bool)
VIEWS = st.tuples(st.sampled_from([A, A, A, B, ""]), MOSTLY, MOSTLY)


def seen_as(hotkey: str, sha256: str, signed: bool, arrived: bool) -> Entry:
    if not sha256:
        return entry(hotkey, "")
    found = entry(hotkey, sha256) if signed else forged(hotkey, sha256)
    return found if arrived else replace(found, refusal="absent")


RECEIPTS = st.builds(
    lambda entries, verdicts: replace(
        receipt({}, *(replace(verdict, hotkey=hotkey) for hotkey, verdict in verdicts.items())),
        entries=tuple(
            seen_as(hotkey, sha256, signed, arrived)
            for hotkey, (sha256, signed, arrived) in sorted(entries.items())
        ),
    ),
    # Most see and judge most: what is drawn thinly never comes near half of the stake.
    st.fixed_dictionaries(dict.fromkeys(HOTKEYS, VIEWS)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(HOTKEYS, VERDICTS)),
)
SEEN = st.dictionaries(WITNESSES, RECEIPTS)
WEIGHTS = st.dictionaries(WITNESSES, st.integers(0, 4) | st.just(2**63), min_size=1)


LEADERS = WITNESSES | st.just("5Leader")
UNVERIFIED = st.sampled_from([0.0, 0.25, 0.5])
THRESHOLDS = st.sampled_from([0.5, 0.5, 2 / 3, 0.75])


@settings(max_examples=300)
@given(
    receipts=SEEN,
    stakes=WEIGHTS,
    trust=st.integers(0, 7),
    leader=LEADERS,
    unverified=UNVERIFIED,
    threshold=THRESHOLDS,
    counts=st.booleans(),
)
def test_a_second_implementation_agrees(
    receipts: dict[str, Receipt],
    stakes: dict[str, int],
    trust: int,
    leader: str,
    unverified: float,
    threshold: float,
    counts: bool,
) -> None:
    expected = second_opinion(receipts, stakes, trust, leader, unverified, threshold, counts)
    found = admitted(receipts, stakes, trust, leader, unverified, INF, threshold, counts)
    assert found == expected


@given(receipts=SEEN, stakes=WEIGHTS, unverified=UNVERIFIED)
def test_the_order_of_receipts_and_stakes_is_nothing(
    receipts: dict[str, Receipt], stakes: dict[str, int], unverified: float
) -> None:
    turned = dict(reversed(receipts.items())), dict(reversed(stakes.items()))
    expected = admitted(receipts, stakes, unverified=unverified)
    assert admitted(*turned, unverified=unverified) == expected


@given(receipts=SEEN, stakes=WEIGHTS, unverified=UNVERIFIED)
def test_what_enters_is_sorted_and_once_per_hotkey(
    receipts: dict[str, Receipt], stakes: dict[str, int], unverified: float
) -> None:
    found = admitted(receipts, stakes, TRUST, unverified=unverified)
    hotkeys = [entry.hotkey for entry in found.accepted]
    assert hotkeys == sorted(set(hotkeys))
