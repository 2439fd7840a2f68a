"""The runs that benchmarks measure: model sizes, and configs that nobody reads data for."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from boltzmann.config import DataConfig, ExchangeConfig, Identity, ModelConfig, RunConfig
from boltzmann.local.plan import Plan
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.outer import OuterConfig
from boltzmann.protocol.rewards import RewardConfig
from boltzmann.protocol.scoring import GateConfig
from boltzmann.train.model import parameter_shapes
from boltzmann.train.presets import PRESETS

SEED = bytes(32)
LOCAL = "0.86M"
SLICE_RATIO = 100  # of every model but the local network's
_MODELS = {
    "10M": ModelConfig(
        vocab_size=4_096,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=10,
        num_attention_heads=8,
        num_key_value_heads=8,
    ),
    "134M": ModelConfig(
        vocab_size=32_000,
        hidden_size=768,
        intermediate_size=2_048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
    ),
    "1.2B": PRESETS["1B"],
}

MODELS = (LOCAL, *_MODELS)


def model_config(model: str) -> ModelConfig:
    """One of MODELS."""
    return Plan().run_config().model if model == LOCAL else _MODELS[model]


def run_config(name: str, model: str, members: int, epoch_windows: int = 10) -> RunConfig:
    """Protocol defaults (bf16, chunks of 256); the data is never read.

    The slice ratio is SLICE_RATIO, for the local network's model that of the local network.
    """
    ratio = Plan().run_config().exchange.slice_ratio if model == LOCAL else SLICE_RATIO
    return RunConfig(
        run=Identity(name, 1, SEED.hex()),
        windows=WindowClock(train_blocks=1, exchange_blocks=4, receipt_blocks=0),
        data=DataConfig(
            source="none",
            revision="none",
            rows_per_page=1,
            sequence_length=2,
            pages_per_member=1,
            members_max=members,
            control_pages=1,
        ),
        model=model_config(model),
        exchange=replace(ExchangeConfig(), slice_ratio=ratio, epoch_windows=epoch_windows),
        outer=OuterConfig(((0, 0.001),), beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1),
        gate=GateConfig(gate_min=0.99, tensor_min=0.95, norm_min=0.9, norm_max=1.1),
        rewards=RewardConfig(moving_alpha=0.1, audit_rate=1.0, trust_windows=1000),
    )


def parameters(model: str) -> int:
    """How many a model has."""
    return sum(prod(shape) for shape in parameter_shapes(model_config(model)).values())
