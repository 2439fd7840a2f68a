"""All attacks that a simulation knows, by name; see `base` for how to add one."""

from __future__ import annotations

from functools import partial

from boltzmann.errors import ConfigError
from boltzmann.simulate.adversaries import (  # noqa: F401 - each registers what it has
    collusion,
    copying,
    council,
    faking,
    identity,
    malformed,
    poisoning,
    stalling,
    timing,
    withholding,
)
from boltzmann.simulate.adversaries.base import REGISTERED, Adversary, rogue_of
from boltzmann.simulate.adversaries.patience import PATTERN, WAYS
from boltzmann.simulate.rogue import Rogue

__all__ = ["REGISTERED", "attack_named", "described", "rogue_named"]


def described() -> dict[str, str]:
    """Name -> one line, of all attacks and of the ways to be patient."""
    found = {name: _line(attack) for name, attack in sorted(REGISTERED.items())}
    ways = {f"{way}{number}-NAME": _line(patient) for way, (patient, number) in WAYS.items()}
    return {**found, **ways}


def attack_named(kind: str) -> type[Adversary]:
    """The attack's class; for a patient one that of what it does. Raises: ConfigError."""
    if kind in REGISTERED:
        return REGISTERED[kind]
    patient = PATTERN.fullmatch(kind)
    if patient and patient[3] in REGISTERED and not REGISTERED[patient[3]].stake:
        return REGISTERED[patient[3]]
    raise ConfigError(
        f"--adversary {kind} is unknown: use one of those that boltzmann simulate --list names"
    )


def rogue_named(kind: str) -> Rogue:
    """How a hostile kind behaves. Raises: ConfigError."""
    attack = attack_named(kind)
    if kind in REGISTERED:
        return rogue_of(attack, attack.stake)
    return rogue_of(partial(_patient, kind))


def _patient(kind: str, name: str) -> Adversary:
    patient = PATTERN.fullmatch(kind)
    if patient is None:
        raise ConfigError(f"--adversary {kind} is unknown")
    way, number = WAYS[patient[1]]
    return way(name, int(patient[2] or number), REGISTERED[patient[3]])


def _line(attack: type[Adversary]) -> str:
    return " ".join((attack.__doc__ or "").partition("\n\n")[0].split())
