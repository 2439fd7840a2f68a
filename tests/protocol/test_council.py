"""Draws by stake and majorities of stake: the same everywhere, and exact to the last rao."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import blake_key

from boltzmann.protocol.council import (
    AgreementConfig,
    Outcome,
    drawn,
    leaders,
    more_than_half,
    tally,
    voters,
    witnesses,
)
from boltzmann.protocol.seeds import derive

HASH = bytes(range(32))
STAKES = {"5Alice": 5_000, "5Bob": 3_000, "5Carol": 1_500, "5Dave": 500, "5Eve": 0, "5Frank": 0}
HOTKEYS = st.sampled_from([f"5{letter}" for letter in "abcdefghij"])
AMOUNTS = st.integers(0, 5) | st.integers(0, 2**63)
COUNCILS = st.dictionaries(HOTKEYS, AMOUNTS, max_size=8)
SOME = st.dictionaries(HOTKEYS, AMOUNTS, min_size=1, max_size=8)
SEEDS = st.binary(min_size=32, max_size=32)
THRESHOLDS = st.sampled_from([0.5, 0.6, 2 / 3, 0.75, 0.999])


def reference_draw(key: bytes, stakes: dict[str, int]) -> list[str]:
    """The rule once more: walk down the tickets of who is left, sorted, subtracting stakes."""
    left, order = sorted(stakes), list[str]()
    while left:
        total = sum(stakes[hotkey] for hotkey in left)
        word = blake_key(key, b"ticket", len(order).to_bytes(8, "big"))
        ticket = int.from_bytes(word, "big") % (total or len(left))
        place = 0
        while ticket >= (stakes[left[place]] if total else 1):
            ticket -= stakes[left[place]] if total else 1
            place += 1
        order.append(left.pop(place))
    return order


def test_leaders_and_witnesses_are_pinned() -> None:
    eight = {f"5{letter}": 1 for letter in "abcdefgh"}
    assert " ".join(leaders(HASH, eight, ())) == "5f 5g 5e 5h 5c 5d 5a 5b"
    assert " ".join(leaders(HASH, eight, ["5a", "5e"])) == "5f 5g 5h 5c 5d 5b 5e 5a"
    assert witnesses(HASH, eight, 3) == {"5a": 1, "5e": 1, "5h": 1}
    expected = ("5Bob", "5Carol", "5Alice", "5Dave", "5Frank", "5Eve")
    assert leaders(bytes(range(60, 92)), STAKES, ()) == expected
    huge = {"5a": 2**63, "5b": 2**63 - 1, "5c": 2**62, "5d": 1}
    assert leaders(HASH, huge, ()) == ("5b", "5a", "5c", "5d")
    assert witnesses(HASH, huge, 2) == {"5a": huge["5a"], "5b": huge["5b"]}


@given(key=SEEDS, stakes=COUNCILS)
def test_a_draw_is_the_reference_s_and_a_permutation(key: bytes, stakes: dict[str, int]) -> None:
    order = drawn(key, stakes)
    assert sorted(order) == sorted(stakes)
    assert list(order) == reference_draw(key, stakes)


@given(key=SEEDS, items=st.lists(st.tuples(HOTKEYS, AMOUNTS), unique_by=lambda item: item[0]))
def test_a_draw_does_not_depend_on_the_order_of_a_dict(
    key: bytes, items: list[tuple[str, int]]
) -> None:
    one, other = dict(items), dict(reversed(items))
    assert drawn(key, one) == drawn(key, other)
    assert leaders(key, one, set(one)) == leaders(key, other, set(other))
    assert list(witnesses(key, one, 2).items()) == list(witnesses(key, other, 2).items())
    assert one == dict(items)  # and is not changed


@given(key=SEEDS, stakes=COUNCILS)
def test_who_has_no_stake_comes_last(key: bytes, stakes: dict[str, int]) -> None:
    having = [stakes[hotkey] > 0 for hotkey in drawn(key, stakes)]
    assert having == sorted(having, reverse=True)


def test_nobody_is_drawn_from_nobody_and_one_from_one() -> None:
    assert drawn(HASH, {}) == leaders(HASH, {}, ["5Alice"]) == ()
    assert witnesses(HASH, {}, 0) == witnesses(HASH, {}, 3) == {}
    for stake in (0, 1, 2**63):
        assert drawn(HASH, {"5Alice": stake}) == ("5Alice",)
        assert witnesses(HASH, {"5Alice": stake}, 1) == {"5Alice": stake}


def firsts(stakes: dict[str, int], draws: int) -> Counter[str]:
    """How often each is drawn first, over the same fixed seeds every time."""
    return Counter(drawn(derive(HASH, "draw", n), stakes)[0] for n in range(draws))


def test_the_chance_to_lead_is_by_stake() -> None:
    """4,000 draws: the standard deviation of a share is below .008, the bounds are five of them."""
    counts = firsts(STAKES, 4000)
    for hotkey, stake in STAKES.items():
        assert abs(counts[hotkey] / 4000 - stake / 10_000) <= 0.04
    assert counts["5Eve"] == counts["5Frank"] == 0


def test_the_second_place_is_drawn_by_stake_among_the_rest() -> None:
    orders = [drawn(derive(HASH, "draw", n), STAKES) for n in range(4000)]
    after_alice = Counter(order[1] for order in orders if order[0] == "5Alice")
    number = sum(after_alice.values())
    for hotkey, share in (("5Bob", 0.6), ("5Carol", 0.3), ("5Dave", 0.1)):
        assert abs(after_alice[hotkey] / number - share) <= 0.06


def test_without_any_stake_everybody_counts_alike() -> None:
    counts = firsts(dict.fromkeys("abcd", 0), 2000)
    assert all(abs(counts[name] / 2000 - 0.25) <= 0.05 for name in "abcd")


def test_huge_stakes_are_drawn_in_proportion() -> None:
    """Where a float64 would have lost the small ones' last digits."""
    counts = firsts({"a": 2**63, "b": 2**62, "c": 2**62, "d": 1}, 2000)
    assert all(abs(counts[n] / 2000 - p) <= 0.06 for n, p in (("a", 0.5), ("b", 0.25), ("c", 0.25)))
    assert counts["d"] == 0


def test_leading_and_witnessing_are_drawn_apart() -> None:
    stakes = dict.fromkeys("abcdefgh", 1)
    hashes = [derive(HASH, "window", n) for n in range(200)]
    same = sum(leaders(h, stakes, ())[0] in witnesses(h, stakes, 1) for h in hashes)
    assert 5 <= same <= 60  # one in eight if they are independent, 200 if they are one draw


@given(seed=SEEDS, stakes=COUNCILS, exhausted=st.sets(HOTKEYS))
def test_the_exhausted_come_last_in_an_order_otherwise_kept(
    seed: bytes, stakes: dict[str, int], exhausted: set[str]
) -> None:
    usual, order = leaders(seed, stakes, ()), leaders(seed, stakes, exhausted)
    assert usual == leaders(seed, stakes, set(stakes)) == leaders(seed, stakes, ["nobody"])
    able = [hotkey for hotkey in usual if hotkey not in exhausted]
    assert list(order[: len(able)]) == able
    assert list(order[len(able) :]) == [hotkey for hotkey in usual if hotkey in exhausted]


@given(seed=SEEDS, stakes=COUNCILS, count=st.integers(1, 12))
def test_witnesses_are_the_first_of_a_draw_with_their_stakes(
    seed: bytes, stakes: dict[str, int], count: int
) -> None:
    chosen = witnesses(seed, stakes, count)
    assert len(chosen) == min(count, len(stakes))
    assert chosen.items() <= stakes.items()
    assert list(chosen) == sorted(chosen)
    assert chosen.items() <= witnesses(seed, stakes, count + 1).items()
    assert witnesses(seed, stakes, 0) == stakes


@pytest.mark.parametrize("unit", [1, 7, 2**53, 2**63])
def test_exactly_half_is_no_majority_and_one_rao_more_is(unit: int) -> None:
    stakes = {"a": unit, "b": unit}
    assert not more_than_half(["a"], stakes)
    assert not more_than_half(["a", "a", "a", "stranger"], stakes)
    assert more_than_half(["a", "b"], stakes)
    assert more_than_half(["a"], {"a": unit + 1, "b": unit})
    assert not more_than_half(["b"], {"a": unit + 1, "b": unit})
    assert tally(["a"], [], stakes, 0.5) is Outcome.OPEN
    assert tally(["a"], ["b"], stakes, 0.5) is Outcome.REJECTED
    assert tally(["a"], ["b"], {"a": unit + 1, "b": unit}, 0.5) is Outcome.APPROVED
    assert tally([], ["b"], stakes, 0.5) is Outcome.REJECTED  # half can never be more than half


def test_nobody_and_nothing_are_no_majority() -> None:
    assert not more_than_half([], {})
    assert not more_than_half(["a"], {})
    assert not more_than_half(["a", "b"], {"a": 0, "b": 0})
    assert not more_than_half([], {"a": 1})
    assert more_than_half(iter(["a"]), {"a": 1, "b": 0})


@given(stakes=COUNCILS, data=st.data())
def test_two_disjoint_sets_never_both_hold_more_than_half(
    stakes: dict[str, int], data: st.DataObject
) -> None:
    one = data.draw(st.sets(HOTKEYS))
    assert not (more_than_half(one, stakes) and more_than_half(set(stakes) - one, stakes))


Votes = dict[str, bool]
VOTES = st.dictionaries(HOTKEYS, st.booleans(), max_size=10)


def outcome(votes: Votes, stakes: dict[str, int], threshold: float) -> Outcome:
    yes = [hotkey for hotkey, approves in votes.items() if approves]
    return tally(yes, [h for h in votes if h not in yes], stakes, threshold)


@given(stakes=SOME, votes=VOTES, threshold=THRESHOLDS)
def test_outcomes_are_what_the_stakes_can_still_come_to(
    stakes: dict[str, int], votes: Votes, threshold: float
) -> None:
    """Approved: whoever else votes no. Rejected: whoever else votes yes. Open: either."""
    needed = Fraction(threshold) * sum(stakes.values())
    sure = sum(stake for hotkey, stake in stakes.items() if votes.get(hotkey, False))
    possible = sum(stake for hotkey, stake in stakes.items() if votes.get(hotkey, True))
    expected = Outcome.APPROVED if sure > needed else Outcome.OPEN
    expected = Outcome.REJECTED if possible <= needed else expected
    assert outcome(votes, stakes, threshold) is expected


@given(stakes=SOME, votes=VOTES, more=VOTES, threshold=THRESHOLDS)
def test_what_is_decided_stays_decided(
    stakes: dict[str, int], votes: Votes, more: Votes, threshold: float
) -> None:
    """Ballots that arrive later do not take back an approval or a rejection."""
    before = outcome(votes, stakes, threshold)
    after = outcome({**more, **votes}, stakes, threshold)
    assert before in (Outcome.OPEN, after)


@given(stakes=SOME, yes=st.sets(HOTKEYS), no=st.sets(HOTKEYS), more=st.sets(HOTKEYS))
def test_more_approvals_never_unapprove(
    stakes: dict[str, int], yes: set[str], no: set[str], more: set[str]
) -> None:
    """Even if hotkeys are named on both sides: who approves does not also reject."""
    if tally(yes, no, stakes, 0.5) is Outcome.APPROVED:
        assert tally(yes | more, no, stakes, 0.5) is Outcome.APPROVED
        assert tally(yes, no | more, stakes, 0.5) is Outcome.APPROVED
    both = tally(yes, no | yes, stakes, 0.5)
    assert both is tally(yes, no - yes, stakes, 0.5)


@given(stakes=SOME, votes=VOTES)
def test_doubled_and_strange_ballots_weigh_nothing(stakes: dict[str, int], votes: Votes) -> None:
    yes = [hotkey for hotkey, approves in votes.items() if approves]
    no = [hotkey for hotkey in votes if hotkey not in yes]
    plain = tally(yes, no, stakes, 0.5)
    assert tally([*yes, *yes, "5X", "5Y"], [*no, *no, "5Z"], stakes, 0.5) is plain


@given(stakes=SOME, votes=VOTES, low=THRESHOLDS, high=THRESHOLDS)
def test_a_higher_threshold_approves_no_more(
    stakes: dict[str, int], votes: Votes, low: float, high: float
) -> None:
    assume(low <= high)
    if outcome(votes, stakes, high) is Outcome.APPROVED:
        assert outcome(votes, stakes, low) is Outcome.APPROVED
    if outcome(votes, stakes, low) is Outcome.REJECTED:
        assert outcome(votes, stakes, high) is Outcome.REJECTED


def test_two_thirds_is_the_float_a_little_below() -> None:
    """The threshold is the float in the config, exactly: 2/3 there is less than two of three."""
    assert Fraction(2 / 3) < Fraction(2, 3)
    three = dict.fromkeys("abc", 2**63)
    assert tally("ab", "c", three, 2 / 3) is Outcome.APPROVED
    assert tally("a", "c", three, 2 / 3) is Outcome.OPEN
    assert tally("a", "bc", three, 2 / 3) is Outcome.REJECTED
    assert tally("ab", "c", three, 0.67) is Outcome.REJECTED


def test_a_proposer_counts_or_does_not() -> None:
    stakes = {"5Leader": 6, "5Bob": 3, "5Carol": 1}
    assert voters(stakes, "5Leader", True) == stakes
    assert voters(stakes, "5Leader", False) == {"5Bob": 3, "5Carol": 1}
    assert voters(stakes, "5Nobody", False) == stakes
    alone = tally(["5Leader"], [], voters(stakes, "5Leader", True), 0.5)
    assert alone is Outcome.APPROVED
    without = voters(stakes, "5Leader", False)
    assert tally(["5Leader"], [], without, 0.5) is Outcome.OPEN
    assert tally(["5Leader", "5Carol"], ["5Bob"], without, 0.5) is Outcome.REJECTED
    assert tally(["5Bob"], ["5Leader", "5Carol"], without, 0.5) is Outcome.APPROVED


def test_a_single_validator_agrees_with_itself_only_where_a_proposer_counts() -> None:
    """Without its own vote it has no voters: the run must set `proposer_counts`, or stand still."""
    only = {"5Leader": 100}
    assert tally(["5Leader"], [], voters(only, "5Leader", True), 0.5) is Outcome.APPROVED
    assert tally([], [], voters(only, "5Leader", True), 0.5) is Outcome.OPEN
    assert tally([], ["5Leader"], voters(only, "5Leader", True), 0.5) is Outcome.REJECTED
    for approving in ([], ["5Leader"]):
        assert tally(approving, [], voters(only, "5Leader", False), 0.5) is Outcome.REJECTED


def test_stakes_of_nothing_approve_nothing() -> None:
    nothing = {"5Alice": 0, "5Bob": 0}
    assert tally(["5Alice", "5Bob"], [], nothing, 0.5) is Outcome.REJECTED
    assert tally(["5Alice"], [], {}, 0.5) is Outcome.REJECTED


@given(st.floats(0.0, 20.0), st.integers(1, 10_000), st.floats(0.0, 10.0), st.floats(0.001, 1.0))
def test_an_update_may_raise_the_loss_by_more_the_longer_there_was_none(
    before: float, windows: int, rise: float, most: float
) -> None:
    config = AgreementConfig(loss_rise_max=most)
    assert config.loss_limit(before, windows) < config.loss_limit(before, windows + 1)
    passes_at = math.ceil(rise / most) + 1  # whatever it is, some window lets it pass
    assert before + rise <= config.loss_limit(before, passes_at)


def test_the_loss_limit_in_numbers() -> None:
    config = AgreementConfig(loss_rise_max=0.25)
    assert [config.loss_limit(2.5, windows) for windows in (1, 2, 8)] == [2.75, 3.0, 4.5]
    strict = AgreementConfig(loss_rise_max=0.0)
    assert strict.loss_limit(2.5, 8) == 2.5
