"""A run's config and its tables, for the tests of run.toml."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import tomli_w

from boltzmann.config import DataConfig, ExchangeConfig, Identity, ModelConfig, RunConfig
from boltzmann.errors import ConfigError
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.codec import Codec
from boltzmann.protocol.council import AgreementConfig
from boltzmann.protocol.outer import OuterConfig
from boltzmann.protocol.rewards import RewardConfig
from boltzmann.protocol.scoring import AuditConfig, GateConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG = RunConfig(
    run=Identity("run-1", 220, "ab" * 32),
    windows=WindowClock(4, 8, 1, 2, 1, 3, 1),
    data=DataConfig("bundled", "cd" * 32, 3, 256, 2, 8, 2),
    model=ModelConfig(259, 128, 344, 4, 4, 2),
    exchange=ExchangeConfig(codec=Codec.FP32),
    outer=OuterConfig(((0, 0.0025), (4, 0.01)), 0.9, 0.95, 1e-8, 0.1),
    gate=GateConfig(0.995, 0.98, 0.9, 1.1),
    rewards=RewardConfig(0.1, 0.25, 10),
    agreement=AgreementConfig(3, 0.6, False, 2, 0.05, 0.25),
    audit=AuditConfig(512, 0.25, 8, 0.02),
)
TABLES: dict[str, dict[str, Any]] = tomllib.loads(CONFIG.encode().decode())


def encoded(changes: dict[str, dict[str, Any]] | None = None) -> bytes:
    tables = {name: {**keys, **(changes or {}).get(name, {})} for name, keys in TABLES.items()}
    return tomli_w.dumps(tables).encode()


def refusal(table: str, key: str, value: object) -> str:
    """What is said of this value in an otherwise good file."""
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse(encoded({table: {key: value}}))
    return str(caught.value)
