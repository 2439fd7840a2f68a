"""Who audits whom: chances that come to q however the stake is split, and who must look."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.protocol.auditing import (
    chance,
    renewal,
    responsible,
    second_chance,
)

STAKES = {"5Alice": 3, "5Bob": 1, "5Carol": 4}
CLOSE_HASH = bytes(range(200, 232))
GOLDEN = ["5Bob", *["5Carol"] * 3, "5Alice", "5Alice", "5Carol", "5Bob"]
RATES = st.floats(0.0, 1.0, exclude_min=True)
SHARES = st.floats(0.0, 1.0)


@given(rate=RATES, stakes=st.lists(st.integers(0, 10**15), min_size=1, max_size=40).filter(any))
def test_somebody_looks_with_chance_q_however_the_stake_is_split(
    rate: float, stakes: list[int]
) -> None:
    nobody = prod(1.0 - chance(rate, stake / sum(stakes)) for stake in stakes)
    assert 1.0 - nobody == pytest.approx(rate, abs=1e-12)


@given(share=st.floats(0.0, 1.0, exclude_min=True))
def test_a_rate_of_one_leaves_nothing_to_chance(share: float) -> None:
    assert chance(1.0, share) == 1.0


@given(rate=RATES)
def test_all_the_stake_has_the_whole_chance_and_none_has_none(rate: float) -> None:
    assert chance(rate, 1.0) == pytest.approx(rate, abs=1e-15)
    assert chance(rate, 0.0) == 0.0


@given(rates=st.tuples(RATES, RATES), shares=st.tuples(SHARES, SHARES))
def test_more_stake_or_a_higher_rate_never_lowers_a_chance(
    rates: tuple[float, float], shares: tuple[float, float]
) -> None:
    (low, high), (less, more) = sorted(rates), sorted(shares)
    assert 0.0 <= chance(low, less) <= chance(low, more) <= 1.0
    assert chance(low, less) <= chance(high, less)


def test_chances_are_pinned() -> None:
    assert chance(0.75, 0.5) == 0.5
    assert chance(0.36, 0.5) == pytest.approx(0.2)
    assert chance(0.1, 0.25) == pytest.approx(1 - 0.9**0.25)


def test_who_must_look_is_pinned() -> None:
    found = [responsible(CLOSE_HASH, f"5M{number}", STAKES) for number in range(8)]
    assert found == GOLDEN


@given(
    close_hash=st.binary(min_size=32, max_size=32),
    hotkey=st.text(max_size=8),
    stakes=st.dictionaries(st.text(max_size=4), st.integers(0, 2**63), min_size=1, max_size=6),
)
def test_everybody_finds_the_same_one_and_only_one_with_stake(
    close_hash: bytes, hotkey: str, stakes: dict[str, int]
) -> None:
    found = responsible(close_hash, hotkey, stakes)
    assert found == responsible(close_hash, hotkey, dict(reversed(stakes.items())))
    assert stakes[found] > 0 or not any(stakes.values())


def test_each_must_look_by_its_stake_and_another_in_another_window() -> None:
    hashes = [number.to_bytes(32, "big") for number in range(2000)]
    drawn = [responsible(close_hash, "5M", STAKES) for close_hash in hashes]
    counts = Counter(drawn)
    for hotkey, stake in STAKES.items():
        assert counts[hotkey] / len(drawn) == pytest.approx(stake / 8, abs=0.04)
    neglect = [one == two for one, two in pairwise(drawn)]
    assert sum(neglect) / len(neglect) == pytest.approx((9 + 1 + 16) / 64, abs=0.04)


def test_hotkeys_of_one_window_are_shared_out() -> None:
    counts = Counter(responsible(CLOSE_HASH, f"5M{number}", STAKES) for number in range(2000))
    for hotkey, stake in STAKES.items():
        assert counts[hotkey] / 2000 == pytest.approx(stake / 8, abs=0.04)


@given(
    close_hash=st.binary(min_size=32, max_size=32),
    hotkeys=st.lists(st.text(max_size=4), unique=True, max_size=6),
)
def test_one_of_those_on_probation_gets_a_second_chance_the_same_for_all(
    close_hash: bytes, hotkeys: list[str]
) -> None:
    found = second_chance(close_hash, hotkeys)
    assert found == second_chance(close_hash, hotkeys[::-1])
    assert len(found) == min(1, len(hotkeys))
    assert set(found) <= set(hotkeys)


def test_second_chances_are_shared_out_and_pinned() -> None:
    hotkeys = [f"5M{number}" for number in range(4)]
    drawn = [second_chance(n.to_bytes(32, "big"), hotkeys)[0] for n in range(2000)]
    assert [hotkey[-1] for hotkey in drawn[:8]] == list("11311022")
    for count in Counter(drawn).values():
        assert count / 2000 == pytest.approx(1 / 4, abs=0.04)


@given(trust_windows=st.integers(1, 60))
def test_a_pass_is_renewed_once_before_it_lapses_in_any_window_of_its_second_half(
    trust_windows: int,
) -> None:
    left, chances = 1.0, []
    for age in range(1, trust_windows + 1):
        due = renewal(age, trust_windows)
        chances.append(left * due)
        left *= 1.0 - due
    assert left == 0.0
    half = [found for found in chances if found]
    assert chances[: len(chances) - len(half)] == [0.0] * (len(chances) - len(half))
    assert len(half) == pytest.approx(trust_windows / 2, abs=1)
    assert half == pytest.approx([1 / len(half)] * len(half))


def test_there_is_nothing_to_renew_where_no_pass_holds() -> None:
    assert [renewal(age, 3) for age in (4, 5, 100)] == [0.0] * 3
    assert renewal(1, 0) == 0.0
