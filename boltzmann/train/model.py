"""The run's model through transformers, its parameters lying in the consensus state's memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM, LlamaRotaryEmbedding

from boltzmann.config import ModelConfig
from boltzmann.protocol.seeds import derive

Floats = NDArray[np.float32]


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every trained tensor's name and shape; nothing is allocated."""
    with torch.device("meta"):
        model = LlamaForCausalLM(_llama(config))
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def initial_parameters(config: ModelConfig, seed: bytes) -> dict[str, Floats]:
    """Freshly initialised tensors, as transformers initialises the architecture.

    Only the run's first validator calls this and publishes the result, so that no other node
    depends on a generator whose stream differs between builds.
    """
    torch.manual_seed(int.from_bytes(derive(seed, "initial parameters")[:7], "big"))
    model = LlamaForCausalLM(_llama(config))
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


def build_model(
    config: ModelConfig, parameters: Mapping[str, Floats], device: torch.device
) -> LlamaForCausalLM:
    """The model over the given arrays.

    On the CPU the parameters ARE the arrays' memory, so that an applied update is seen at once; on
    another device they are copies that `refresh` brings up to date.
    """
    model = empty_model(config)
    tensors = {name: torch.from_numpy(array).to(device) for name, array in parameters.items()}
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()
    place_rotary(model, device)
    model.requires_grad_(True)
    return model


def empty_model(config: ModelConfig) -> LlamaForCausalLM:
    """The model on the meta device: shapes, and no memory yet."""
    with torch.device("meta"):
        model: LlamaForCausalLM = LlamaForCausalLM(_llama(config))
    model.train()
    return model


def place_rotary(model: LlamaForCausalLM, device: torch.device) -> None:
    """Give the model its rotary table: no parameter, it would stay on the meta device."""
    model.model.rotary_emb = LlamaRotaryEmbedding(model.config).to(device)


def refresh(model: LlamaForCausalLM, parameters: Mapping[str, Floats]) -> None:
    """Copy the arrays into the model's parameters where they are not the same memory."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.device.type != "cpu":
                parameter.copy_(torch.from_numpy(parameters[name]))


def _llama(config: ModelConfig) -> LlamaConfig:
    llama = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        tie_word_embeddings=config.tie_word_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        use_cache=False,
    )
    llama._attn_implementation = "sdpa"
    return llama
