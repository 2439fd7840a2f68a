"""Alarms: pinned bytes, round trips, and what they may not tell of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import HashKeys, verify_hash
from tampering import NAMES, NO_COUNT, NO_NAME, changed, refusal, signed, tampered

from boltzmann.protocol.alarms import Alarms, Judged, open_alarms
from boltzmann.protocol.documents import digest
from boltzmann.protocol.receipts import Receipt, Verdict, open_receipt
from boltzmann.protocol.rejection import Reason, Rejection

KEYS = HashKeys("5Val")
ALARMS = Alarms(
    "run-1",
    8,
    (
        Judged(Verdict("5Alice", 7, "gate", -0.5, 0.25, 0.0, page=300), "ab" * 32),
        Judged(Verdict("5Dave", 6, "bad_tokens", 0.5, 1.0, 0.75), "0c" * 32),
    ),
)
ONE = "0x1.0000000000000p+0"
ALICE, DAVE = ("5Alice", 7, "gate"), ("5Dave", 6, "bad_tokens")
BODY: dict[str, Any] = {
    "failures": [
        [*ALICE, "-0x1.0000000000000p-1", "0x1.0000000000000p-2", "0x0.0p+0", 300, "ab" * 32],
        [*DAVE, "0x1.0000000000000p-1", ONE, "0x1.8000000000000p-1", -1, "0c" * 32],
    ],
    "run": "run-1",
    "window": 8,
}


def opened(data: bytes, run: str = "run-1", window: int = 8, who: str = "5Val") -> Any:
    return open_alarms(data, run, window, who, verify_hash)


def test_sealed_alarms_are_pinned() -> None:
    sealed = ALARMS.seal("5Val", KEYS.sign)
    assert sealed == signed("alarms", BODY, "5Val")
    assert opened(sealed) == ALARMS
    assert digest(sealed) == "1e5f9986623362aebc6af0dc22b537a6de7b37853f9079786ea6f74e5f317dea"


VERDICTS = st.builds(
    Verdict,
    NAMES,
    st.integers(0, 6),
    st.sampled_from([reason.value for reason in Reason]),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.floats(0, 1e30),
    st.integers(-1, 10**6),
)


FAILURES = st.builds(Judged, VERDICTS, st.binary(min_size=32, max_size=32).map(bytes.hex))


def hotkey(failure: Judged) -> str:
    return failure.verdict.hotkey


@given(failures=st.lists(FAILURES, unique_by=hotkey, max_size=5))
def test_what_is_sealed_opens(failures: list[Judged]) -> None:
    alarms = Alarms("run-1", 7, tuple(sorted(failures, key=hotkey)))
    assert opened(alarms.seal("5Val", KEYS.sign), window=7) == alarms


def test_they_are_good_for_one_run_window_validator_and_kind() -> None:
    sealed = ALARMS.seal("5Val", KEYS.sign)
    assert refusal(opened(sealed, run="run-2")) is Reason.WRONG_RUN
    assert refusal(opened(sealed, window=9)) is Reason.WRONG_WINDOW
    assert refusal(opened(sealed, who="5Other")) is Reason.WRONG_HOTKEY
    verdicts = tuple(failure.verdict for failure in ALARMS.failures)
    receipt = Receipt("run-1", 8, (), verdicts).seal("5Val", KEYS.sign)
    assert refusal(opened(receipt)) is Reason.BAD_KIND
    crossed = open_receipt(sealed, "run-1", 8, "5Val", verify_hash)
    assert isinstance(crossed, Rejection)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((("run",), value) for value in NO_NAME),
        *((("window",), value) for value in NO_COUNT),
        (("failures", 0, 2), ""),  # a pass is no alarm
        (("failures", 0, 1), 8),  # this window's are told by its receipt
        (("failures", 0, 1), 9),
        (("failures", 1, 0), "5Alice"),
        (("failures", 1, 0), "5Aaron"),
        (("failures", 0), ["5Alice"]),
        (("failures", 0), BODY["failures"][0][:-1]),
        *((("failures", 0, 7), value) for value in ("", "ab", "AB" * 32, 7, None)),
    ],
)
def test_a_malformed_field_is_refused_though_it_is_signed(path: Any, value: Any) -> None:
    body = changed(BODY, path, value)
    assert refusal(opened(signed("alarms", body, "5Val"))) is Reason.BAD_DOCUMENT


def test_fields_are_neither_missing_nor_more() -> None:
    for body in ({**BODY, "more": 1}, *({k: BODY[k] for k in BODY if k != n} for n in BODY)):
        assert refusal(opened(signed("alarms", body, "5Val"))) is Reason.BAD_DOCUMENT


@given(body=tampered(BODY))
def test_a_tampered_body_never_raises(body: dict[str, Any]) -> None:
    found = opened(signed("alarms", body, "5Val"))
    if not isinstance(found, Rejection):
        assert found.seal("5Val", KEYS.sign) == signed("alarms", body, "5Val")
