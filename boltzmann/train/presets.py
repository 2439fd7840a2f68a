"""Models of usual sizes, and what computing them takes."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType

from boltzmann.config import ModelConfig, Precision
from boltzmann.train.model import parameter_shapes

PRESETS: Mapping[str, ModelConfig] = MappingProxyType(
    {
        # The size of the smallest GPT-2, with its vocabulary rounded up to a multiple of 64.
        "124M": ModelConfig(
            vocab_size=50_304,
            hidden_size=768,
            intermediate_size=2_048,
            num_hidden_layers=12,
            num_attention_heads=12,
            num_key_value_heads=12,
            tie_word_embeddings=True,
            precision=Precision.BF16,
        ),
        # The shapes of Llama-3.2-1B.
        "1B": ModelConfig(
            vocab_size=128_256,
            hidden_size=2_048,
            intermediate_size=8_192,
            num_hidden_layers=16,
            num_attention_heads=32,
            num_key_value_heads=8,
            tie_word_embeddings=True,
            rope_theta=500_000.0,
            precision=Precision.BF16,
        ),
        # The shapes of Llama-3.1-8B.
        "8B": ModelConfig(
            vocab_size=128_256,
            hidden_size=4_096,
            intermediate_size=14_336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            rope_theta=500_000.0,
            precision=Precision.BF16,
        ),
    }
)

# Dense bf16 operations per second by the makers' data sheets, by a part of the device's name.
_PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}


def flops_per_token(config: ModelConfig, length: int) -> float:
    """Floating-point operations of one token's forward and backward pass in sequences of `length`.

    6 N + 12 L d T, after appendix B of the PaLM paper (Chowdhery et al., 2022): N parameters that
    are multiplied (a head that is tied to the embedding counts, the embedding does not), L layers
    of width d, T tokens of context. What activation checkpointing computes again does not count.
    """
    multiplied = sum(
        prod(shape)
        for name, shape in parameter_shapes(config).items()
        if name != "model.embed_tokens.weight"
    )
    if config.tie_word_embeddings:
        multiplied += config.vocab_size * config.hidden_size
    return 6.0 * multiplied + 12.0 * config.num_hidden_layers * config.hidden_size * length


def peak_flops(device: str) -> float | None:
    """A device's dense bf16 peak by its name, in operations per second; None if it is not known."""
    return next((peak for name, peak in _PEAKS.items() if name in device), None)
