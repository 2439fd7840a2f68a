"""Admission against a witness with little stake, who says whatever it likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import nextafter

import pytest
from admission_kit import (
    INF,
    TRUST,
    WINDOW,
    admitted,
    alike,
    entering,
    entry,
    failing,
    forged,
    judged,
    passing,
    receipt,
)
from hypothesis import given
from hypothesis import strategies as st
from reference import HashKeys, verify_hash
from tampering import A, B, C

from boltzmann.protocol.admission import Accepted, Admission
from boltzmann.protocol.receipts import Entry, Receipt, open_receipt
from boltzmann.protocol.rejection import Rejection

SLIVER = {"5W1": 10**9, "5W2": 10**9, "5W3": 10**9, "5Evil": 1}
HONEST = alike(
    passing("5Alice", 19, 1.0), passing("5Bob", 19, 1.5), entries={"5Alice": A, "5Bob": B}
)
NEW = [f"5New{number}" for number in range(3)]  # whom all received, and nobody has audited
SEEN = {"5Alice": A, "5Bob": B, **dict.fromkeys(NEW, C)}
WELCOMED = alike(passing("5Alice", 19, 1.0), passing("5Bob", 19, 1.5), entries=SEEN)
KNOWN = Admission((Accepted("5Alice", A), Accepted("5Bob", B)), 1.25)
TRUSTED = range(WINDOW - TRUST, WINDOW + 1)


@pytest.mark.parametrize("norm", [1e-30, 1e30])
@pytest.mark.parametrize("make", [entry, forged])
def test_a_sliver_of_stake_cannot_move_the_norm_limit_with_invented_hotkeys(
    norm: float, make: Callable[[str, str], Entry]
) -> None:
    """One rao must not scale everyone's delta to nothing, nor lift the clip."""
    hotkeys = [f"5X{number:04d}" for number in range(1000)]
    invented = receipt({}, *(passing(hotkey, 20, norm) for hotkey in hotkeys))
    claimed = replace(invented, entries=tuple(make(hotkey, C) for hotkey in hotkeys))
    for lie in (invented, claimed):
        assert admitted({**HONEST, "5Evil": lie}, SLIVER) == admitted(HONEST)


@pytest.mark.parametrize("norm", [1e-30, 1e30])
def test_a_sliver_of_stake_cannot_name_the_norm_of_those_whom_others_passed(norm: float) -> None:
    lie = receipt({}, passing("5Alice", 20, norm), passing("5Bob", 20, norm))
    assert admitted({**HONEST, "5Evil": lie}, SLIVER) == admitted(HONEST)


def test_a_sliver_of_stake_cannot_shut_out_what_all_others_passed() -> None:
    """It says of everyone: failed, in a window that the others have not audited yet."""
    slander = receipt({}, failing("5Alice", 20), failing("5Bob", 20))
    assert entering({**HONEST, "5Evil": slander}, SLIVER) == {"5Alice": A, "5Bob": B}


def test_a_sliver_of_stake_cannot_let_in_what_all_others_failed() -> None:
    accused = alike(failing("5Mallory", 19), entries={"5Mallory": C})
    pardon = receipt({"5Mallory": C}, passing("5Mallory", 20))
    assert entering({**accused, "5Evil": pardon}, SLIVER) == {}


@pytest.mark.parametrize("norm", [1e-30, 1e30])
@pytest.mark.parametrize("liars", [1, 100])
def test_dust_cannot_let_newcomers_in(norm: float, liars: int) -> None:
    """Nobody has found them out yet, and they outnumber those who work: the limit is the prize."""
    verdicts = [passing(hotkey, 20, norm) for hotkey in NEW]
    dust = {f"5Evil{number}": receipt(SEEN, *verdicts) for number in range(liars)}
    stakes = {**SLIVER, **dict.fromkeys(dust, 1)}
    assert admitted(WELCOMED, stakes) == KNOWN
    assert admitted({**WELCOMED, **dust}, stakes) == KNOWN
    vouched = replace(WELCOMED["5W1"], verdicts=(*WELCOMED["5W1"].verdicts, *verdicts))
    one = {**WELCOMED, **dust, "5W1": vouched}
    assert admitted(one, stakes) == KNOWN, "nor with one honest witness of three"
    entered = tuple(Accepted(hotkey, C) for hotkey in NEW)
    most = {**one, "5W2": vouched}
    assert admitted(most, stakes) == Admission((*KNOWN.accepted, *entered), norm)


@pytest.mark.parametrize("honest_at", TRUSTED)
@pytest.mark.parametrize("looked", [0, 1, 2, 3])
def test_dust_tips_no_scale(looked: int, honest_at: int) -> None:
    """Whatever it says of whichever window, whoever of the others has looked yet."""
    for honest, enters in ((passing, looked > 1), (failing, False)):
        votes = [(f"5W{1 + n}", honest("5Alice", honest_at)) for n in range(looked)]
        assert judged(*votes, stakes=SLIVER) is enters
        for lie in (passing, failing):
            for lied_at in TRUSTED:
                said = ("5Evil", lie("5Alice", lied_at))
                assert judged(*votes, said, stakes=SLIVER) is enters


HOTKEYS = st.sampled_from(["5Alice", "5Bob", *NEW, "5X"])
LIES = st.builds(
    lambda entries, verdicts: replace(
        receipt({}, *(verdicts[hotkey](hotkey) for hotkey in verdicts)),
        entries=tuple(entries[hotkey](hotkey) for hotkey in sorted(entries)),
    ),
    # Of those who are there, a liar can forge what it likes, or say that nothing came.
    st.dictionaries(
        HOTKEYS,
        st.sampled_from(
            [
                lambda h: entry(h, ""),
                lambda h: entry(h, SEEN.get(h, A)),
                lambda h: forged(h, A),
                lambda h: forged(h, C),
            ]
        ),
    ),
    st.dictionaries(
        HOTKEYS,
        st.builds(
            lambda make, window, norm: lambda hotkey: make(hotkey, window, norm),
            st.sampled_from([passing, failing]),
            st.integers(WINDOW - TRUST - 1, WINDOW),
            st.floats(1e-30, 1e30),
        ),
    ),
)


@given(lie=LIES, stake=st.integers(1, 10**9 - 1))
def test_who_has_less_stake_than_any_other_changes_nothing(lie: Receipt, stake: int) -> None:
    """Neither for those whom all others audited, nor for those whom nobody else has."""
    assert admitted({**WELCOMED, "5Evil": lie}, {**SLIVER, "5Evil": stake}) == KNOWN


BOUNDS = [1e-30, 1.0, 1e30]
BEYOND = [0.0, -0.0, 5e-324, nextafter(1e-30, 0.0), nextafter(1e30, INF), 1e308, INF]


@pytest.mark.parametrize("norm", [*BOUNDS, *BEYOND])
def test_whatever_receipts_open_the_limit_is_one_that_a_proposal_can_carry(norm: float) -> None:
    """`open_proposal` refuses a limit of 0: no window could be closed while the verdict lasts.

    Infinity would lift the clip though there are audits.
    """
    entries = (entry("5Alice", A), entry("5Bob", B))
    verdicts = (passing("5Alice", 19, norm), passing("5Bob", 19, norm))
    sealed = Receipt("run-1", WINDOW, entries, verdicts).seal("5W1", HashKeys("5W1").sign)
    opened = open_receipt(sealed, "run-1", WINDOW, "5W1", verify_hash)
    if norm in BEYOND:
        assert isinstance(opened, Rejection)
        return
    assert isinstance(opened, Receipt)
    accepted = (Accepted("5Alice", A), Accepted("5Bob", B))
    assert admitted({"5W1": opened}, {"5W1": 1}) == Admission(accepted, norm)
