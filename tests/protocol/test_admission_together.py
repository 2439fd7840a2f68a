"""Deltas that are hidden from some validators: what enters, enough of them hold as a whole."""

from __future__ import annotations

from itertools import permutations

import pytest
from admission_kit import STAKES, admitted, entering, passing, receipt
from hypothesis import given
from hypothesis import strategies as st
from tampering import A

from boltzmann.protocol.receipts import Receipt

MINERS = tuple(f"5M{i}" for i in range(8))
SEVEN = {f"5V{i}": 10 for i in range(7)}
PASSED = tuple(passing(hotkey) for hotkey in MINERS)


def receipts_of(missing: dict[str, set[str]], stakes: dict[str, int]) -> dict[str, Receipt]:
    """Everybody passed everybody; `missing`: what did not arrive, by witness."""
    return {
        w: receipt({m: "" if m in missing.get(w, ()) else A for m in MINERS}, *PASSED)
        for w in stakes
    }


def held_by(receipts: dict[str, Receipt], accepted: set[str]) -> list[str]:
    return [
        witness
        for witness, seen in receipts.items()
        if accepted <= {entry.hotkey for entry in seen.entries if entry.received}
    ]


@pytest.mark.parametrize("leader", STAKES)
def test_three_that_hide_from_a_third_each_keep_nobody_from_voting(leader: str) -> None:
    hidden = dict(zip(STAKES, ({MINERS[0]}, {MINERS[1]}, {MINERS[2]}), strict=True))
    receipts = receipts_of(hidden, STAKES)
    accepted = set(entering(receipts, leader=leader))
    assert len(held_by(receipts, accepted)) == 2
    assert set(MINERS[3:]) < accepted


def test_a_witness_that_says_it_got_nothing_keeps_nothing_out() -> None:
    """Neither alone, nor beside miners of whom each hides from another validator."""
    nothing = {"5V6": set(MINERS)}
    assert set(entering(receipts_of(nothing, SEVEN), SEVEN, leader="5V0")) == set(MINERS)
    hidden = {f"5V{i}": {MINERS[i]} for i in range(6)}
    receipts = receipts_of({**hidden, **nothing}, SEVEN)
    accepted = set(entering(receipts, SEVEN, leader="5V0"))
    assert set(MINERS[6:]) < accepted
    assert len(held_by(receipts, accepted)) == 4


def test_who_holds_most_of_it_is_counted_on_first() -> None:
    missing = {"5W2": {MINERS[0], MINERS[1]}, "5W3": {MINERS[2]}}
    accepted = entering(receipts_of(missing, STAKES), leader="5W1")
    assert set(accepted) == set(MINERS) - {MINERS[2]}


def test_a_leader_whose_vote_does_not_count_is_not_counted_on() -> None:
    missing = {"5W2": {MINERS[0]}, "5W3": {MINERS[1]}}
    receipts = receipts_of(missing, STAKES)
    counted = admitted(receipts, leader="5W1")
    assert {a.hotkey for a in counted.accepted} == set(MINERS) - {MINERS[0]}
    others = admitted(receipts, leader="5W1", proposer_counts=False)
    assert {a.hotkey for a in others.accepted} == set(MINERS[2:])


WITNESSES = tuple(f"5V{i}" for i in range(6))
MISSING = st.fixed_dictionaries(
    dict.fromkeys(WITNESSES, st.sets(st.sampled_from(MINERS), max_size=4))
)
WEIGHTS = st.fixed_dictionaries(dict.fromkeys(WITNESSES, st.integers(0, 5)))
THRESHOLDS = st.sampled_from([0.5, 2 / 3, 0.75])


@given(
    missing=MISSING,
    stakes=WEIGHTS,
    leader=st.sampled_from((*WITNESSES, "5Leader")),
    threshold=THRESHOLDS,
)
def test_enough_stake_holds_all_that_enters_and_what_all_hold_enters(
    missing: dict[str, set[str]], stakes: dict[str, int], leader: str, threshold: float
) -> None:
    receipts = receipts_of(missing, stakes)
    found = admitted(receipts, stakes, leader=leader, threshold=threshold)
    accepted = {entry.hotkey for entry in found.accepted}
    holding = sum(stakes[witness] for witness in held_by(receipts, accepted))
    assert holding > threshold * sum(stakes.values()) or not any(stakes.values())
    if any(stakes.values()) and len(missing.get(leader, ())) < 2:  # else it may lack too many
        assert set(MINERS) - set().union(*missing.values()) <= accepted


ODD = WITNESSES[:5]  # whose votes no dust can tip


@given(missing=MISSING, leader=st.sampled_from(ODD), claimed=st.sets(st.sampled_from(MINERS)))
def test_dust_moves_nothing(missing: dict[str, set[str]], leader: str, claimed: set[str]) -> None:
    """What a validator with next to no stake says it got, or did not get, changes no update."""
    stakes = dict.fromkeys(ODD, 1000)
    expected = entering(receipts_of(missing, stakes), stakes, leader=leader)
    dusty = {**stakes, "5Dust": 1}
    found = entering(receipts_of({**missing, "5Dust": claimed}, dusty), dusty, leader=leader)
    assert found == expected


def test_the_order_of_names_decides_only_ties() -> None:
    sets = [{MINERS[0]}, {MINERS[1], MINERS[2]}, set()]
    for turn in permutations(sets):
        missing = dict(zip(STAKES, turn, strict=True))
        receipts = receipts_of(missing, STAKES)
        accepted = set(entering(receipts))
        assert accepted == set(MINERS) - {MINERS[0]}
