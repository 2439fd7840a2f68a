"""Who audits whom: the chances, not the draws, which are private to each validator.

Nobody can foresee a validator's audits; together they look at each trusted hotkey's window with the
chance q that the penalty of a failed audit is reckoned by.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from boltzmann.protocol.council import drawn
from boltzmann.protocol.seeds import derive


def chance(rate: float, share: float) -> float:
    """The chance with which a validator of this share of the stake audits a trusted hotkey.

    With each at 1 - (1 - q)^share somebody looks with chance q, however many they are.
    """
    return float(1.0 - (1.0 - rate) ** share)


def renewal(age: int, trust_windows: int) -> float:
    """The chance with which a validator renews its pass of a hotkey, `age` windows old.

    In the second half of a pass's life, each window alike: passes that began together, as those of
    a run's first window do, neither lapse together nor are renewed all in one window.
    """
    left = trust_windows - age
    return 1.0 / (left + 1) if 0 <= left <= age else 0.0


def responsible(decide_hash: bytes, hotkey: str, stakes: Mapping[str, int]) -> str:
    """Which validator must audit a hotkey that is in debt, or that nobody has audited for long; ""
    if there is none.

    Drawn by stake from the window's deciding hash: one validator's neglect lasts until another is
    drawn, and nobody knows its auditor while deltas are read, so as to hide its own from that one.
    Only who was drawn is believed to have looked, so that nobody's word counts for more than its
    stake.
    """
    return next(iter(drawn(derive(decide_hash, "auditor", hotkey), stakes)), "")


def second_chance(close_hash: bytes, hotkeys: Collection[str]) -> tuple[str, ...]:
    """Which one of those on probation is recomputed in full this window; nobody if there is none.

    Drawn from the closing hash, when all work of the window is done, so that the validators look at
    the same one: its delta enters only if more than half the stake has passed it.
    """
    return drawn(derive(close_hash, "second chance"), dict.fromkeys(hotkeys, 1))[:1]
