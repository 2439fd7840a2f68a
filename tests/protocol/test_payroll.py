"""Payrolls: what follows from standings, there and back, and every malformed line refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import HashKeys, verify_hash
from tampering import changed, refusal, signed

from boltzmann.protocol.payroll import Payroll, open_payroll, payroll
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.rewards import Standing, weights

KEYS = HashKeys("5Val")
STANDINGS = {
    "5Anna": Standing(1, moving=0.6),
    "5Bert": Standing(1, moving=0.2),
    "5Carl": Standing(1, moving=0.9, debt=7.0),
    "5Gone": Standing(1, moving=0.5),
}
UIDS = {"5Anna": 3, "5Bert": 4, "5Carl": 5}
ROLL = payroll("run-1", 9, 8, STANDINGS, UIDS, {"5Anna": 8})
BODY = {
    "lines": [
        ["5Anna", 3, (0.5).hex(), (0.6).hex(), (0.0).hex(), 8],
        ["5Bert", 4, (0.25).hex(), (0.2).hex(), (0.0).hex(), -1],
    ],
    "run": "run-1",
    "settled": 8,
    "window": 9,
}


def opened(body: object) -> Payroll | Rejection:
    return open_payroll(signed("payroll", body, "5Val"), "run-1", 9, "5Val", verify_hash)


def test_it_says_what_follows_from_the_standings() -> None:
    shares = weights(STANDINGS)
    assert [line.hotkey for line in ROLL.lines] == ["5Anna", "5Bert", "5Carl"]
    assert [line.weight for line in ROLL.lines] == [shares["5Anna"], shares["5Bert"], 0.0]
    assert [line.debt for line in ROLL.lines] == [0.0, 0.0, 7.0]
    assert [line.audited for line in ROLL.lines] == [8, -1, -1]
    assert ROLL.weights == {3: shares["5Anna"], 4: shares["5Bert"]}


@given(
    moving=st.dictionaries(st.sampled_from(sorted(UIDS)), st.floats(-1.0, 1.0)),
    debt=st.floats(0.0, 1e6),
)
def test_what_is_sealed_opens_again(moving: dict[str, float], debt: float) -> None:
    standings = {h: Standing(1, moving=value, debt=debt) for h, value in moving.items()}
    roll = payroll("run-1", 9, 8, standings, UIDS, {})
    sealed = roll.seal("5Val", KEYS.sign)
    assert open_payroll(sealed, "run-1", 9, "5Val", verify_hash) == roll


def test_it_is_good_for_one_run_window_and_validator() -> None:
    sealed = ROLL.seal("5Val", KEYS.sign)
    results = [
        open_payroll(sealed, "run-2", 9, "5Val", verify_hash),
        open_payroll(sealed, "run-1", 8, "5Val", verify_hash),
        open_payroll(sealed[:-2], "run-1", 9, "5Val", verify_hash),
    ]
    reasons = [refusal(result) for result in results]
    assert reasons == [Reason.WRONG_RUN, Reason.WRONG_WINDOW, Reason.BAD_DOCUMENT]
    assert isinstance(open_payroll(sealed, "run-1", 9, "5Other", verify_hash), Rejection)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("lines", 0, 0), "5Zoe"),  # not in order
        (("lines", 1, 0), "5Anna"),  # twice
        (("lines", 0, 1), -1),
        (("lines", 0, 2), (1.5).hex()),
        (("lines", 0, 2), (-0.1).hex()),
        (("lines", 0, 3), math.nan.hex()),
        (("lines", 0, 4), (-1.0).hex()),
        (("lines", 0, 5), -2),
        (("lines", 0, 5), True),
        (("lines", 0), ["5Anna"]),
        (("lines",), {}),
        (("settled",), -1),
        (("window",), "9"),
    ],
)
def test_what_is_malformed_is_refused_though_it_is_signed(
    path: tuple[str | int, ...], wrong: object
) -> None:
    assert refusal(opened(BODY)) is None
    assert refusal(opened({**BODY, "more": 1})) is Reason.BAD_DOCUMENT
    assert refusal(opened(changed(BODY, path, wrong))) is Reason.BAD_DOCUMENT
