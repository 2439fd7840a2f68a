"""The presets have the sizes they are named by, and their cost is the textbook's."""

from __future__ import annotations

from math import prod

import pytest

from boltzmann.train.model import parameter_shapes
from boltzmann.train.presets import PRESETS, flops_per_token, peak_flops


@pytest.mark.parametrize(
    ("name", "parameters"), [("124M", 123_587_328), ("1B", 1_235_814_400), ("8B", 8_030_261_248)]
)
def test_a_preset_has_the_size_it_is_named_by(name: str, parameters: int) -> None:
    shapes = parameter_shapes(PRESETS[name])
    assert sum(prod(shape) for shape in shapes.values()) == parameters


@pytest.mark.parametrize(
    ("name", "parameters"), [("124M", 123_587_328), ("1B", 1_235_814_400), ("8B", 7_504_924_672)]
)
def test_a_tokens_cost_is_six_operations_a_parameter_and_attention(
    name: str, parameters: int
) -> None:
    """The embedding is looked up, not multiplied: in 8B, where the head is another tensor."""
    config = PRESETS[name]
    attention = 12 * config.num_hidden_layers * config.hidden_size * 2048
    assert flops_per_token(config, 2048) == 6 * parameters + attention


def test_a_peak_is_found_by_a_part_of_the_devices_name() -> None:
    assert peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("a calculator") is None
