"""What a run's config says of admission: deltas that few have passed, and a bound of norms."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from admission_kit import (
    INF,
    STAKES,
    TRUST,
    WINDOW,
    admitted,
    alike,
    failing,
    passing,
    receipt,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tampering import A, B

from boltzmann.protocol.admission import Accepted, Admission
from boltzmann.protocol.receipts import Receipt, Verdict

KNOWN = ("5K1", "5K2", "5K3")  # whom all witnesses have passed
FEW = ("5N1", "5N2", "5N3", "5N4")  # whom one of them has
ENTRIES = {**dict.fromkeys(KNOWN, A), **dict.fromkeys(FEW, B)}
WEIGHTS = {"5W1": 4, "5W2": 3, "5W3": 3}


def said(**verdicts: list[Verdict]) -> dict[str, Receipt]:
    """All received the same, all passed who is known, and each witness says this besides."""
    known = [passing(hotkey, 19, 2.0) for hotkey in KNOWN]
    return {w: receipt(ENTRIES, *known, *verdicts.get(w, [])) for w in STAKES}


def hotkeys(receipts: dict[str, Receipt], unverified: float) -> list[str]:
    accepted = admitted(receipts, WEIGHTS, unverified=unverified).accepted
    return [entry.hotkey for entry in accepted]


def test_without_such_terms_nobody_enters_whom_few_have_passed() -> None:
    receipts = said(**{"5W1": [passing(hotkey) for hotkey in FEW]})
    assert hotkeys(receipts, 0.0) == list(KNOWN)


@pytest.mark.parametrize(
    ("unverified", "beside"),
    [(0.2, 0), (0.24, 0), (0.25, 1), (0.39, 1), (0.4, 2), (0.5, 3), (0.57, 3), (0.58, 4), (0.9, 4)],
)
def test_the_terms_are_a_share_of_all_that_enter(unverified: float, beside: int) -> None:
    receipts = said(**{"5W1": [passing(hotkey) for hotkey in FEW]})
    assert hotkeys(receipts, unverified) == [*KNOWN, *FEW[:beside]]


def test_whom_more_stake_has_passed_comes_first_and_then_the_hotkey() -> None:
    receipts = said(
        **{
            "5W1": [passing("5N3"), passing("5N4")],
            "5W2": [passing("5N1")],
            "5W3": [passing("5N2")],
        }
    )
    for unverified, expected in ((0.25, FEW[2:3]), (0.4, FEW[2:]), (0.5, ("5N1", "5N3", "5N4"))):
        assert hotkeys(receipts, unverified) == [*KNOWN, *expected]


def test_exactly_half_of_the_stake_is_still_unverified() -> None:
    stakes = {"5W1": 2, "5W2": 1, "5W3": 1}
    receipts = said(**{"5W1": [passing("5N1", 19, 9.0)]})
    found = admitted(receipts, stakes, unverified=0.25)
    assert [entry.hotkey for entry in found.accepted] == [*KNOWN, "5N1"]
    assert found.norm_limit == 2.0
    more = admitted(receipts, {**stakes, "5W1": 3}, unverified=0.0)
    assert [entry.hotkey for entry in more.accepted] == [*KNOWN, "5N1"]


@pytest.mark.parametrize("failed_at", [0, WINDOW - TRUST - 1, 18, 19, 20])
def test_nobody_enters_so_whom_any_witness_with_stake_has_failed(failed_at: int) -> None:
    passed = {"5W1": [passing("5N1", 20), passing("5N2", 20)]}
    accused = said(**passed, **{"5W3": [failing("5N1", failed_at)]})
    stakes = {"5W1": 10**9, "5W2": 10**9, "5W3": 1, "5W4": 10**9}
    found = admitted(accused, stakes, unverified=0.5).accepted
    assert [entry.hotkey for entry in found] == [*KNOWN, "5N2"]
    nobody = admitted(accused, {**stakes, "5W3": 0}, unverified=0.5).accepted
    assert [entry.hotkey for entry in nobody] == [*KNOWN, "5N1", "5N2"]


def test_a_failure_among_most_passes_shuts_nobody_out_whom_most_have_passed() -> None:
    receipts = said(**{"5W1": [passing("5N1")], "5W2": [passing("5N1")], "5W3": [failing("5N1")]})
    for unverified in (0.0, 0.5):
        assert hotkeys(receipts, unverified) == [*KNOWN, "5N1"]


def test_a_pass_too_old_or_of_none_with_stake_is_none() -> None:
    old = said(**{"5W1": [passing("5N1", WINDOW - TRUST - 1)]})
    assert hotkeys(old, 0.5) == list(KNOWN)
    poor = {**said(), "5Poor": receipt(ENTRIES, *(passing(hotkey) for hotkey in FEW))}
    for stakes in (WEIGHTS, {**WEIGHTS, "5Poor": 0}):
        found = admitted(poor, stakes, unverified=0.5).accepted
        assert [entry.hotkey for entry in found] == list(KNOWN)


def test_what_too_few_received_or_was_signed_twice_enters_in_no_way() -> None:
    seen = said(**{"5W1": [passing("5N1"), passing("5N2")]})
    missing = receipt({**ENTRIES, "5N1": ""}, *seen["5W2"].verdicts)
    late = {**seen, "5W2": missing, "5W3": missing}
    assert hotkeys(late, 0.5) == [*KNOWN, "5N2"]
    twice = {**seen, "5W3": receipt({**ENTRIES, "5N1": A}, *seen["5W3"].verdicts)}
    assert hotkeys(twice, 0.5) == [*KNOWN, "5N2"]
    leader = admitted(late, WEIGHTS, leader="5W2", unverified=0.5).accepted
    assert [entry.hotkey for entry in leader] == [*KNOWN, "5N2"]


def test_where_nobody_is_verified_nobody_enters() -> None:
    """Else the first to be passed by one witness would be the whole update."""
    lone = receipt(dict.fromkeys(FEW, B), *(passing(hotkey, 19, 9.0) for hotkey in FEW))
    silent = replace(lone, verdicts=())
    receipts = {"5W1": lone, "5W2": silent, "5W3": silent}
    for unverified in (0.0, 0.5, 0.99):
        assert admitted(receipts, WEIGHTS, unverified=unverified) == Admission((), INF)


@pytest.mark.parametrize("norm", [1e-30, 1e30])
def test_the_norm_limit_is_that_of_the_verified(norm: float) -> None:
    receipts = said(**{"5W1": [passing(hotkey, 20, norm) for hotkey in FEW]})
    found = admitted(receipts, WEIGHTS, unverified=0.5)
    assert len(found.accepted) == 6
    assert found.norm_limit == 2.0


@pytest.mark.parametrize(
    ("norm_max", "limit"), [(INF, 2.0), (2.5, 2.0), (2.0, 2.0), (1.5, 1.5), (1e-6, 1e-6)]
)
def test_no_norm_counts_for_more_than_the_run_says(norm_max: float, limit: float) -> None:
    verdicts = [passing("5Alice", 19, 1.0), passing("5Bob", 19, 3.0)]
    receipts = alike(*verdicts, entries={"5Alice": A, "5Bob": B})
    accepted = (Accepted("5Alice", A), Accepted("5Bob", B))
    assert admitted(receipts, norm_max=norm_max) == Admission(accepted, limit)


def test_where_nobody_enters_no_norm_is_bounded() -> None:
    assert admitted({}, norm_max=1.0) == Admission((), INF)


SHARES = st.one_of(
    st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 0.75]), st.floats(0.0, 0.99, exclude_max=True)
)
OUTCOMES = st.sampled_from([None, passing, passing, failing])


@settings(max_examples=200)
@given(
    outcomes=st.fixed_dictionaries(
        {w: st.fixed_dictionaries(dict.fromkeys((*KNOWN, *FEW), OUTCOMES)) for w in STAKES}
    ),
    stakes=st.fixed_dictionaries(dict.fromkeys(STAKES, st.integers(1, 4))),
    unverified=SHARES,
)
def test_who_is_verified_enters_anyway_and_the_others_within_their_share(
    outcomes: dict[str, dict[str, object]], stakes: dict[str, int], unverified: float
) -> None:
    receipts = {
        w: receipt(ENTRIES, *(make(hotkey) for hotkey, make in said.items() if callable(make)))
        for w, said in outcomes.items()
    }
    strict = admitted(receipts, stakes)
    open_to_all = admitted(receipts, stakes, unverified=unverified)
    assert set(strict.accepted) <= set(open_to_all.accepted)
    assert open_to_all.norm_limit == strict.norm_limit
    beside = len(open_to_all.accepted) - len(strict.accepted)
    room = Fraction(unverified) * len(open_to_all.accepted)
    assert beside <= room + Fraction(1, 10**9), "float64 may round a whole number of them up"
