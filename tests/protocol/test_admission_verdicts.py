"""Whose audits let a hotkey enter an update, and the norm limit that their verdicts set."""

from __future__ import annotations

from dataclasses import replace

import pytest
from admission_kit import (
    STAKES,
    TRUST,
    WINDOW,
    admitted,
    alike,
    entering,
    failing,
    judged,
    passing,
    receipt,
)
from tampering import A, B, C

from boltzmann.protocol.admission import Accepted, Admission


def test_a_hotkey_without_a_verdict_does_not_enter() -> None:
    assert entering(alike(passing("5Bob"))) == {}
    assert entering(alike(passing("5Alice"), entries={"5Alice": A, "5New": B})) == {"5Alice": A}


@pytest.mark.parametrize("trust", [0, 1, 5])
def test_a_verdict_lasts_for_the_trusted_windows(trust: int) -> None:
    for age in range(8):
        found = entering(alike(passing("5Alice", WINDOW - age)), trust=trust)
        assert found == ({"5Alice": A} if age <= trust else {})


def test_a_pass_too_old_is_none() -> None:
    old, last = passing("5Alice", WINDOW - TRUST - 1), passing("5Alice", WINDOW - TRUST)
    assert judged(("5W1", last), ("5W2", last))
    assert not judged(("5W1", old), ("5W2", last))
    assert judged(("5W1", old), ("5W2", last), ("5W3", last))
    assert not judged(("5W1", old), ("5W2", old), ("5W3", last))
    assert not judged(("5W1", old), ("5W2", old), ("5W3", old))


def test_a_failure_is_no_worse_than_silence() -> None:
    """However old it is, it is a pass that its witness does not give."""
    last = passing("5Alice", WINDOW - TRUST)
    for window in (WINDOW - TRUST - 1, WINDOW - TRUST, WINDOW):
        failed = failing("5Alice", window)
        assert judged(("5W1", failed), ("5W2", last), ("5W3", last))
        assert not judged(("5W1", failed), ("5W2", last))
        assert not judged(("5W1", failed), ("5W2", failed), ("5W3", last))


@pytest.mark.parametrize("passed_at", range(WINDOW - TRUST, WINDOW + 1))
def test_stake_decides_and_not_who_looked_last(passed_at: int) -> None:
    for failed_at in range(WINDOW - TRUST, WINDOW + 1):
        votes = [("5W1", passing("5Alice", passed_at)), ("5W2", failing("5Alice", failed_at))]
        assert judged(*votes, stakes={"5W1": 3, "5W2": 2})
        assert not judged(*votes, stakes={"5W1": 2, "5W2": 3})
        assert not judged(*votes, stakes={"5W1": 2, "5W2": 2}), "a tie is no pass"
        assert judged(*votes, stakes={"5W1": 4, "5W2": 2, "5W3": 1})
        assert not judged(*votes, stakes={"5W1": 3, "5W2": 1, "5W3": 2}), "5W3 has not looked"


def test_who_has_not_looked_has_not_passed_it() -> None:
    one, two, three = (
        ("5W1", passing("5Alice")),
        ("5W2", passing("5Alice")),
        ("5W3", failing("5Alice")),
    )
    assert not judged(one), "a lone pass that nobody contradicts"
    assert judged(one, two)
    assert judged(one, two, three)
    assert not judged(one, three)
    assert not judged(one, two, stakes={"5W1": 1, "5W2": 1, "5W3": 1, "5W4": 1}), "just half"
    assert judged(one, two, stakes={"5W1": 1, "5W2": 2, "5W3": 1, "5W4": 1})
    assert judged(one, stakes={"5W1": 3, "5W2": 1, "5W3": 1})
    assert judged(one, stakes={"5W1": 1})


def test_a_witness_whose_receipt_is_missing_has_not_passed_it() -> None:
    saw, silent = receipt({"5Alice": A}, passing("5Alice")), receipt({"5Alice": A})
    assert entering({"5W1": saw, "5W2": silent}) == {}
    assert entering({"5W1": saw, "5W2": saw}) == {"5Alice": A}
    four = {**STAKES, "5W4": 1}
    assert entering({"5W1": saw, "5W2": saw, "5W3": silent}, four) == {}
    assert entering({"5W1": saw, "5W2": saw, "5W3": saw}, four) == {"5Alice": A}


@pytest.mark.parametrize("unit", [1, 2**53, 2**53 + 1, 2**63])
def test_verdicts_are_weighed_to_the_last_rao(unit: int) -> None:
    votes = [("5W1", passing("5Alice")), ("5W2", failing("5Alice")), ("5W3", failing("5Alice"))]
    assert judged(*votes, stakes={"5W1": 2 * unit + 1, "5W2": unit, "5W3": unit})
    assert not judged(*votes, stakes={"5W1": 2 * unit, "5W2": unit, "5W3": unit})
    assert not judged(*votes, stakes={"5W1": 2 * unit, "5W2": unit + 1, "5W3": unit})


def test_a_turncoat_is_out_once_half_the_stake_has_found_out() -> None:
    """Who worked for all until 16 and then cheats loses one witness after the other."""
    stakes = {"5W1": 4, "5W2": 3, "5W3": 2}
    then = {witness: passing("5Alice", 16) for witness in stakes}
    for turned, stays in (
        *(((), True), (("5W1",), True), (("5W2",), True), (("5W3",), True)),
        *((("5W2", "5W3"), False), (("5W1", "5W3"), False), (("5W1", "5W2"), False)),
        (("5W1", "5W2", "5W3"), False),
    ):
        votes = {**then, **{witness: failing("5Alice", 19) for witness in turned}}
        assert judged(*votes.items(), stakes=stakes) is stays
    half = {**then, "5W1": failing("5Alice", 19)}
    assert not judged(*half.items(), stakes={"5W1": 5, "5W2": 3, "5W3": 2})
    assert judged(*half.items(), stakes={"5W1": 5, "5W2": 3, "5W3": 3})


def test_the_norm_limit_is_the_median_of_the_norms_of_those_who_enter() -> None:
    verdicts = [
        *(passing("5Alice", 19, 1.0), passing("5Bob", 19, 8.0), passing("5Carol", 19, 2.0)),
        *(failing("5Dave", 19, 1000.0), passing("5Old", WINDOW - TRUST - 1, 1000.0)),
        passing("5Eve", 19, 4.0),
    ]
    entries = dict.fromkeys(("5Alice", "5Bob", "5Carol", "5Dave", "5Old"), A)
    assert admitted(alike(*verdicts, entries=entries), STAKES, TRUST).norm_limit == 2.0
    with_eve = {**entries, "5Eve": B}
    assert admitted(alike(*verdicts, entries=with_eve), STAKES, TRUST).norm_limit == 3.0


def test_a_pass_of_one_who_does_not_enter_does_not_move_the_limit() -> None:
    """Because nothing came, too few received it, or it has committed twice."""
    verdicts = [passing("5Alice", 19, 1.0), passing("5Bob", 19, 3.0), passing("5Mallory", 19, 9.0)]
    both = {"5Alice": A, "5Bob": B}
    all_saw = receipt({**both, "5Mallory": C}, *verdicts)
    none_saw = receipt({**both, "5Mallory": ""}, *verdicts)
    other = receipt({**both, "5Mallory": A}, *verdicts)
    accepted = (Accepted("5Alice", A), Accepted("5Bob", B))
    for views in (
        (none_saw, none_saw, none_saw),
        (all_saw, none_saw, none_saw),
        (all_saw, all_saw, other),
    ):
        receipts = dict(zip(STAKES, views, strict=True))
        assert admitted(receipts) == Admission(accepted, 2.0)
    assert admitted(dict.fromkeys(STAKES, all_saw)).norm_limit == 3.0
    outvoted = dict.fromkeys(STAKES, receipt({**both, "5Mallory": C}, *verdicts[:2]))
    for verdict in (failing("5Mallory", 19, 9.0), passing("5Mallory", 19, 9.0)):
        lone = replace(outvoted["5W1"], verdicts=(*verdicts[:2], verdict))
        assert admitted({**outvoted, "5W1": lone}) == Admission(accepted, 2.0)


def test_the_middle_of_the_stake_that_passed_a_hotkey_names_its_norm() -> None:
    receipts = {
        "5W1": receipt({"5Alice": A}, passing("5Alice", 17, 1.0)),
        "5W2": receipt({"5Alice": A}, passing("5Alice", 19, 2.0)),
        "5W3": receipt({"5Alice": A}, failing("5Alice", 19, 9.0)),
    }
    assert admitted(receipts, {"5W1": 3, "5W2": 2, "5W3": 4}, TRUST).norm_limit == 1.0
    assert admitted(receipts, {"5W1": 2, "5W2": 3, "5W3": 4}, TRUST).norm_limit == 2.0
    assert admitted(receipts, {"5W1": 3, "5W2": 3, "5W3": 4}, TRUST).norm_limit == 1.0


def test_a_pass_too_old_names_no_norm() -> None:
    old = receipt({"5Alice": A}, passing("5Alice", WINDOW - TRUST - 1, 9.0))
    receipts = {
        "5W1": old,
        "5W2": receipt({"5Alice": A}, passing("5Alice", WINDOW - TRUST, 1.0)),
        "5W3": receipt({"5Alice": A}, passing("5Alice", 19, 2.0)),
    }
    stakes = {"5W1": 4, "5W2": 3, "5W3": 2}
    assert admitted(receipts, stakes) == Admission((Accepted("5Alice", A),), 1.0)
    assert admitted(receipts, stakes, TRUST + 1) == Admission((Accepted("5Alice", A),), 2.0)
