"""Yuma consensus: what validators' weights and stakes make of a subnet's incentive and dividends.

The formulas are those of the Bittensor documentation, "Yuma Consensus"
(https://docs.learnbittensor.org/learn/yuma-consensus), in the order of subtensor's `epoch`
(pallets/subtensor/src/epoch/run_epoch.rs), with W the row-normalised weights, S the stake of the
active validators as shares of one, and i, j running over validators and miners:

    consensus        W̄_j  = max { w : Σ_i S_i [W_ij >= w] >= κ }
    clipped weights  W̄_ij = min(W_ij, W̄_j)
    rank             R_j  = Σ_i S_i W̄_ij
    incentive        I_j  = R_j / Σ_k R_k
    bond weights     W̃_ij = (1 - β) W_ij + β W̄_ij
    instant bonds    ΔB_ij = S_i W̃_ij / Σ_k S_k W̃_kj
    bonds            B_ij = α ΔB_ij + (1 - α) B_ij(previous), each column then of sum one
    dividends        D_i  = Σ_j B_ij I_j, normalised
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rao = NDArray[np.int64]
HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Outcome:
    """One epoch's result for n uids; `incentive` and `dividends` each sum to one, or are all zero.

    `consensus`, `validator_trust`, `incentive`, `dividends`: [n]; `bonds`: [n, n], the columns of
    which sum to one or are zero. All are float64 shares in [0, 1].
    """

    consensus: Floats
    validator_trust: Floats
    incentive: Floats
    dividends: Floats
    bonds: Floats


def run(
    weights: Floats,
    stake: Rao,
    bonds: Floats,
    *,
    kappa: Fraction = HALF,
    bonds_penalty: float = 1.0,
    bonds_alpha: float = 0.1,
) -> Outcome:
    """One epoch.

    Args:
        weights: [n, n], row i what validator i gives each uid; any non-negative scale. Rows that do
            not count (no permit, self-weights, outdated) are zero.
        stake: [n] rao; zero for those who do not validate.
        bonds: [n, n], the previous epoch's, on any scale for each column.
        kappa: κ, the majority of stake that must stand behind a weight.
        bonds_penalty: β, how far out-of-consensus weight is kept out of the bonds.
        bonds_alpha: α, the share of the new bonds in their moving average.
    """
    given = _normalised(weights, axis=1)
    agreed = consensus(given, stake, kappa)
    clipped = np.minimum(given, agreed[np.newaxis, :])
    share = _normalised(stake.astype(np.float64), axis=0)
    incentive = _normalised(share @ clipped, axis=0)
    for_bonds = (1.0 - bonds_penalty) * given + bonds_penalty * clipped
    instant = _normalised(share[:, np.newaxis] * for_bonds, axis=0)
    moved = bonds_alpha * instant + (1.0 - bonds_alpha) * _normalised(bonds, axis=0)
    held = _normalised(moved, axis=0)
    return Outcome(
        consensus=agreed,
        validator_trust=clipped.sum(axis=1),
        incentive=incentive,
        dividends=_normalised(held @ incentive, axis=0),
        bonds=held,
    )


def consensus(weights: Floats, stake: Rao, kappa: Fraction = HALF) -> Floats:
    """[n] the largest weight of each column that validators of at least κ of the stake give.

    `weights` [n, n] float64, `stake` [n] rao. Stake is added up in whole rao, so who has the
    majority never hangs on rounding or on the order of the uids.
    """
    agreed = np.zeros(weights.shape[1])
    voters = np.flatnonzero(stake > 0)
    if voters.size == 0:
        return agreed
    total = int(stake[voters].sum())
    may_lie_below = int((1 - kappa) * total)  # stake that may give less than the consensus
    for column in range(weights.shape[1]):
        given = weights[voters, column]
        order = np.argsort(given, kind="stable")
        up_to = np.cumsum(stake[voters][order])
        # The first validator that brings the stake up to its weight over what may lie below.
        agreed[column] = given[order][np.searchsorted(up_to, may_lie_below, side="right")]
    return agreed


def _normalised(values: Floats, axis: int) -> Floats:
    """Scaled to a sum of one along `axis`; what sums to zero stays zero."""
    total = values.sum(axis=axis, keepdims=True)
    scaled: Floats = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    return scaled
