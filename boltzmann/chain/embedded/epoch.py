"""The end of an epoch: Yuma consensus over the subnet's weights, and its emission paid out.

Source: subtensor's `epoch` (run_epoch.rs) for the masks and what is stored, and its coinbase for
the split. Each block emits one alpha; at the epoch's end the owner's cut (18%) goes to the owner
hotkey's stake and the rest is halved between miners by incentive and validators by dividends (41%
each), credited to each hotkey's stake. As there is no root network, nothing goes to root, and as
there is no delegation, dividends are not divided further.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from boltzmann.chain.embedded import yuma
from boltzmann.chain.embedded.accounts import RAO_PER_TAO
from boltzmann.chain.embedded.storage import View
from boltzmann.chain.embedded.subnet import PALLET, U16_MAX, Subnet, permits

ALPHA_PER_BLOCK_RAO = RAO_PER_TAO


def run(state: View, netuid: int) -> None:
    """Run the epoch that ends with `state.block`."""
    subnet = Subnet(state, netuid)
    stakes = [subnet.stake_rao(hotkey) for hotkey in subnet.hotkeys()]
    threshold = subnet.stake_threshold_rao()
    filtered = [stake if stake >= threshold else 0 for stake in stakes]
    may_validate = permits(stakes, threshold, subnet.number("MaxAllowedValidators"))
    active = _active(subnet)
    voting = np.array(
        [
            stake if is_active and permit else 0
            for stake, is_active, permit in zip(
                filtered, active, subnet.vector("ValidatorPermit"), strict=True
            )
        ],
        dtype=np.int64,
    )
    outcome = yuma.run(
        _counting_weights(subnet),
        voting,
        _previous_bonds(subnet),
        kappa=Fraction(subnet.number("Kappa"), U16_MAX),
        bonds_penalty=subnet.number("BondsPenalty") / U16_MAX,
        bonds_alpha=1.0 - subnet.number("BondsMovingAverage") / 1_000_000,
    )
    subnet.put("Active", active)
    subnet.put("StakeWeight", _u16(_shares(np.array(filtered, dtype=np.int64))))
    subnet.put("Consensus", _u16(outcome.consensus))
    subnet.put("ValidatorTrust", _u16(outcome.validator_trust))
    subnet.put("Incentive", _u16(outcome.incentive))
    subnet.put("Dividends", _u16(outcome.dividends))
    _store_bonds(subnet, outcome.bonds, may_validate)
    subnet.put("ValidatorPermit", may_validate)
    _pay(subnet, outcome, voting if voting.any() else np.array(filtered, dtype=np.int64))
    subnet.put("LastEpochBlock", state.block)
    subnet.put("LastMechansimStepBlock", state.block)  # the runtime's own spelling


def _active(subnet: Subnet) -> list[bool]:
    cutoff = subnet.number("ActivityCutoff")
    return [int(last) + cutoff >= subnet.state.block for last in subnet.vector("LastUpdate")]


def _counting_weights(subnet: Subnet) -> yuma.Floats:
    """[n, n] the weights that count.

    Only those of permitted validators do, none on oneself (but the owner's), and none older than
    the registration of the neuron they are for.
    """
    size = subnet.size()
    permit = subnet.vector("ValidatorPermit")
    last_update = subnet.vector("LastUpdate")
    registered_at = subnet.registered_at()
    owner_uid = subnet.uid_of(subnet.text("SubnetOwnerHotkey"))
    weights = np.zeros((size, size))
    for by, row in subnet.rows("Weights").items():
        for to, value in row:
            own = by == to and by != owner_uid
            if permit[by] and not own and last_update[by] > registered_at[to]:
                weights[by, to] = value
    return weights


def _previous_bonds(subnet: Subnet) -> yuma.Floats:
    """[n, n] the stored bonds, without those in neurons registered since the last epoch."""
    size = subnet.size()
    last_tempo = subnet.state.block - subnet.number("Tempo")
    registered_at = subnet.registered_at()
    bonds = np.zeros((size, size))
    for by, row in subnet.rows("Bonds").items():
        for to, value in row:
            if registered_at[to] < last_tempo:
                bonds[by, to] = value
    return bonds


def _store_bonds(subnet: Subnet, bonds: yuma.Floats, may_validate: list[bool]) -> None:
    """Keep the bonds of those who go on validating, each column scaled to a largest of one."""
    peak = bonds.max(axis=0, initial=0.0, keepdims=True)
    scaled = np.divide(bonds, peak, out=np.zeros_like(bonds), where=peak > 0)
    known = subnet.rows("Bonds")
    for uid, permit in enumerate(may_validate):
        row = [(to, value) for to, value in enumerate(_u16(scaled[uid])) if value > 0]
        if permit:
            subnet.put_row("Bonds", uid, row)
        elif uid in known:
            subnet.put_row("Bonds", uid, [])


def _pay(subnet: Subnet, outcome: yuma.Outcome, voting: yuma.Rao) -> None:
    """Credit the emission of the blocks since the last epoch to stakes, and record it by uid."""
    emitted = (subnet.state.block - subnet.number("LastEpochBlock")) * ALPHA_PER_BLOCK_RAO
    owner_cut = emitted * int(subnet.state.get(PALLET, "SubnetOwnerCut") or 0) // U16_MAX
    rest = emitted - owner_cut
    for_miners = rest // 2 if outcome.incentive.any() else 0
    # With no weights to go by, the validators' stakes decide, and they get the miners' part too.
    dividends = outcome.dividends if outcome.incentive.any() else _shares(voting)
    paid = [
        int(for_miners * incentive) + int((rest - for_miners) * dividend)
        for incentive, dividend in zip(outcome.incentive, dividends, strict=True)
    ]
    for hotkey, rao in zip(subnet.hotkeys(), paid, strict=True):
        if rao > 0:
            subnet.add_stake(hotkey, rao)
    if owner_cut > 0:
        subnet.add_stake(subnet.text("SubnetOwnerHotkey"), owner_cut)
    subnet.put("Emission", paid)


def _shares(stakes: yuma.Rao) -> yuma.Floats:
    total = int(stakes.sum())
    shares: yuma.Floats = stakes / total if total else np.zeros(len(stakes))
    return shares


def _u16(shares: yuma.Floats) -> list[int]:
    return [int(value) for value in np.floor(np.minimum(shares, 1.0) * U16_MAX + 0.5)]
