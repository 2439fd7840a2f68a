"""A simulation's options from a TOML file, named as on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from boltzmann.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KINDS: dict[str, type] = {
    "peers": int,
    "validators": int,
    "windows": int,
    "seed": int,
    "pages_per_member": int,
    "audit_rate": float,
    "moving_alpha": float,
    "dues": float,
    "trust_windows": int,
    "full_rate": float,
    "age_max": int,
    "unverified_max": float,
}
_ADVERSARIES = "adversaries"


def read_scenario(path: Path) -> dict[str, Any]:
    """The fields of a `SimulationPlan` that a file sets; `[adversaries]` has a count by kind.

    Raises: ConfigError naming the file and the key.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the scenario {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # tomllib's own, no UTF-8
        raise ConfigError(f"the scenario {path} is not valid TOML: {error}") from error
    unknown = sorted(set(table) - set(_KINDS) - {_ADVERSARIES})
    if unknown:
        known = ", ".join((*_KINDS, f"[{_ADVERSARIES}]"))
        raise ConfigError(f"the scenario {path} has the unknown key {unknown[0]}: use {known}")
    hostile = table.pop(_ADVERSARIES, {})
    if type(hostile) is not dict:
        raise ConfigError(f"the scenario {path}: {_ADVERSARIES} must be a table of kind = count")
    chosen: dict[str, Any] = {
        name: _value(path, name, value, _KINDS[name]) for name, value in table.items()
    }
    chosen["hostile"] = {
        kind: _value(path, f"{_ADVERSARIES}.{kind}", count, int) for kind, count in hostile.items()
    }
    return chosen


def _value(path: Path, name: str, value: object, kind: type) -> Any:
    """Raises: ConfigError."""
    if type(value) is int and kind is float:
        return float(value)
    if type(value) is not kind:
        wanted = {int: "a whole number", float: "a number"}[kind]
        raise ConfigError(f"the scenario {path}: {name} must be {wanted}, not {value!r}")
    return value
