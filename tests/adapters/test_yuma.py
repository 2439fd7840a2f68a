"""Yuma consensus as a pure function: a case worked by hand, and what must hold for every case."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from boltzmann.chain.embedded import yuma

RAO = 10**9
Subnet = tuple[yuma.Floats, yuma.Rao, yuma.Floats]  # weights, stakes, bonds


def stakes(*tokens: int) -> yuma.Rao:
    return np.array([token * RAO for token in tokens], dtype=np.int64)


@st.composite
def subnets(draw: st.DrawFn) -> Subnet:
    """Weights [n, n], stakes [n], bonds [n, n] of up to six uids, zeros among them."""
    size = draw(st.integers(1, 6))
    u16 = st.one_of(st.just(0), st.integers(0, 65535))
    matrix = st.lists(st.lists(u16, min_size=size, max_size=size), min_size=size, max_size=size)
    stake = draw(st.lists(st.integers(0, 10**15), min_size=size, max_size=size))
    return (
        np.array(draw(matrix), dtype=np.float64),
        np.array(stake, dtype=np.int64),
        np.array(draw(matrix), dtype=np.float64),
    )


def test_a_case_worked_by_hand() -> None:
    # Validators 0 (60%), 1 (30%) and 2 (10% of the stake) score miners 3 and 4. Validator 2 gives
    # all to miner 4; nine tenths of the stake give it less, so it is clipped to their median.
    weights = np.zeros((5, 5))
    weights[0, 3:] = 3, 1
    weights[1, 3:] = 2, 2
    weights[2, 3:] = 0, 5
    outcome = yuma.run(weights, stakes(60, 30, 10, 0, 0), np.zeros((5, 5)))

    # Miner 3: 60% give .75, so that is the median; miner 4: 40% give .5 or more, so .25 is.
    assert outcome.consensus[3:] == pytest.approx([0.75, 0.25])
    assert outcome.validator_trust[:3] == pytest.approx([1.0, 0.75, 0.25])
    ranks = np.array([0.6 * 0.75 + 0.3 * 0.5, 0.25])
    assert outcome.incentive[3:] == pytest.approx(ranks / ranks.sum())
    bonds_in_3 = np.array([0.6 * 0.75, 0.3 * 0.5, 0.0])
    bonds_in_4 = np.array([0.6, 0.3, 0.1])
    assert outcome.bonds[:3, 3] == pytest.approx(bonds_in_3 / bonds_in_3.sum())
    assert outcome.bonds[:3, 4] == pytest.approx(bonds_in_4)
    expected = outcome.bonds[:3, 3:] @ outcome.incentive[3:]
    assert outcome.dividends[:3] == pytest.approx(expected)
    assert outcome.dividends[2] < 0.1  # it disagreed, so it earns less than its stake's share


def test_bonds_move_by_alpha_towards_the_instant_bonds() -> None:
    weights = np.zeros((3, 3))
    weights[0, 2] = weights[1, 2] = 1
    before = np.zeros((3, 3))
    before[0, 2] = 1.0
    outcome = yuma.run(weights, stakes(1, 1, 0), before, bonds_alpha=0.1)
    assert outcome.bonds[:2, 2] == pytest.approx([0.95, 0.05])
    assert outcome.dividends[:2] == pytest.approx([0.95, 0.05])


def test_without_penalty_bonds_follow_the_weights_as_given() -> None:
    weights = np.zeros((4, 4))
    weights[0, 2:] = 1, 0
    weights[1, 2:] = 0, 1
    stake = stakes(2, 1, 0, 0)
    punished = yuma.run(weights, stake, np.zeros((4, 4)), bonds_penalty=1.0)
    spared = yuma.run(weights, stake, np.zeros((4, 4)), bonds_penalty=0.0)
    assert punished.bonds[1, 3] == 0.0
    assert spared.bonds[1, 3] == 1.0
    assert spared.dividends[1] == 0.0  # a bond in a miner without incentive earns nothing


def test_exactly_half_of_the_stake_is_a_majority_and_one_rao_less_is_not() -> None:
    weights = np.zeros((3, 3))
    weights[0, 2] = 1
    weights[1, 0] = 1
    half = np.array([10**15, 10**15, 0], dtype=np.int64)
    assert yuma.run(weights, half, np.zeros((3, 3))).consensus[2] == 1.0
    less = np.array([10**15 - 1, 10**15, 0], dtype=np.int64)
    assert yuma.run(weights, less, np.zeros((3, 3))).consensus[2] == 0.0


def test_nobody_with_stake_gives_nothing_to_anybody() -> None:
    outcome = yuma.run(np.ones((3, 3)), stakes(0, 0, 0), np.ones((3, 3)))
    assert not outcome.consensus.any()
    assert not outcome.incentive.any()
    assert not outcome.dividends.any()


@given(subnets())
def test_incentive_and_dividends_are_shares(
    subnet: Subnet,
) -> None:
    outcome = yuma.run(*subnet)
    for shares in (outcome.incentive, outcome.dividends):
        assert ((shares >= 0) & (shares <= 1 + 1e-12)).all()
        assert shares.sum() == pytest.approx(1.0) or not shares.any()
    columns = outcome.bonds.sum(axis=0)
    assert all(total == pytest.approx(1.0) or total == 0.0 for total in columns)
    assert not outcome.incentive[~(subnet[0][subnet[1] > 0] > 0).any(axis=0)].any()


@given(subnets(), st.randoms(use_true_random=False))
def test_renaming_the_uids_renames_the_results(subnet: Subnet, shuffler: random.Random) -> None:
    weights, stake, bonds = subnet
    order = list(range(len(stake)))
    shuffler.shuffle(order)
    plain = yuma.run(weights, stake, bonds)
    renamed = yuma.run(weights[order][:, order], stake[order], bonds[order][:, order])
    np.testing.assert_array_equal(renamed.consensus, plain.consensus[order])
    np.testing.assert_allclose(renamed.incentive, plain.incentive[order], atol=1e-12)
    np.testing.assert_allclose(renamed.dividends, plain.dividends[order], atol=1e-12)
    np.testing.assert_allclose(renamed.bonds, plain.bonds[order][:, order], atol=1e-12)


@given(subnets(), st.data())
def test_less_than_half_of_the_stake_cannot_lift_a_miner_that_the_rest_gives_nothing(
    subnet: Subnet, data: st.DataObject
) -> None:
    weights, stake, bonds = subnet
    friend = data.draw(st.integers(0, len(stake) - 1))
    miner = data.draw(st.integers(0, len(stake) - 1))
    assume(2 * int(stake[friend]) < int(stake.sum()))
    weights[:, miner] = 0.0
    weights[friend, miner] = data.draw(st.integers(1, 65535))
    outcome = yuma.run(weights, stake, bonds)
    assert outcome.consensus[miner] == 0.0
    assert outcome.incentive[miner] == 0.0


@given(subnets(), st.integers(1, 1000), st.integers(1, 1000))
def test_the_scale_of_weights_and_stakes_does_not_matter(
    subnet: Subnet, by_weights: int, by_stake: int
) -> None:
    weights, stake, bonds = subnet
    plain = yuma.run(weights, stake, bonds)
    scaled = yuma.run(weights * by_weights, stake * by_stake, bonds)
    np.testing.assert_allclose(scaled.incentive, plain.incentive, atol=1e-9)
    np.testing.assert_allclose(scaled.dividends, plain.dividends, atol=1e-9)


@given(subnets(), st.fractions(Fraction(1, 100), Fraction(1)))
def test_consensus_is_the_largest_weight_with_the_majority_behind_it(
    subnet: Subnet, kappa: Fraction
) -> None:
    weights, stake, _ = subnet
    assume(stake.any())
    agreed = yuma.consensus(weights, stake, kappa)
    total = int(stake.sum())
    for column in range(len(stake)):
        given_weights = weights[stake > 0, column]
        behind = {
            weight: int(stake[weights[:, column] >= weight].sum()) for weight in given_weights
        }
        supported = [weight for weight, by in behind.items() if by >= kappa * total]
        assert agreed[column] == max(supported)
