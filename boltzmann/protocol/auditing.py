"""Who audits whom: the chances, not the draws, which are private to each validator.

Nobody can foresee a validator's audits; together they look at each trusted hotkey's window with the
chance q that the penalty of a failed audit is reckoned by.
"""

from __future__ import annotations

from collections.abc import Mapping

from boltzmann.protocol.council import drawn
from boltzmann.protocol.seeds import derive


def chance(rate: float, share: float) -> float:
    """The chance with which a validator of this share of the stake audits a trusted hotkey.

    With each at 1 - (1 - q)^share somebody looks with chance q, however many they are.
    """
    return float(1.0 - (1.0 - rate) ** share)


def responsible(close_hash: bytes, hotkey: str, stakes: Mapping[str, int]) -> str:
    """Which validator must audit a hotkey that nobody has audited for too long.

    Drawn by stake from the window's closing hash, so that one validator's neglect lasts until the
    next window draws another.
    """
    return drawn(derive(close_hash, "auditor", hotkey), stakes)[0]
