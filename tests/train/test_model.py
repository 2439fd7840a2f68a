"""The run's model: its parameters are the state's memory, and everybody names them alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from train_kit import BOTH, SEED, TIED, TINY, logits, model_state, token_batch, update

from boltzmann.config import ModelConfig
from boltzmann.train.model import build_model, initial_parameters, parameter_shapes, refresh

CPU = torch.device("cpu")


@BOTH
def test_shapes_are_those_of_the_built_model_and_of_its_checkpoint(config: ModelConfig) -> None:
    shapes = parameter_shapes(config)
    checkpoint = initial_parameters(config, SEED)
    model = build_model(config, checkpoint, CPU)
    assert {name: array.shape for name, array in checkpoint.items()} == shapes
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == shapes
    assert {array.dtype for array in checkpoint.values()} == {np.dtype(np.float32)}
    assert {buffer.device for buffer in model.buffers()} == {CPU}


def test_tied_embeddings_are_one_tensor_of_the_run(tmp_path: Path) -> None:
    assert set(parameter_shapes(TINY)) - set(parameter_shapes(TIED)) == {"lm_head.weight"}
    model = build_model(TIED, model_state(tmp_path, TIED).parameters, CPU)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@BOTH
def test_the_parameters_are_the_states_memory(tmp_path: Path, config: ModelConfig) -> None:
    state = model_state(tmp_path, config)
    model = build_model(config, state.parameters, CPU)
    for name, parameter in model.named_parameters():
        assert parameter.data_ptr() == state.parameters[name].ctypes.data, name
        assert parameter.requires_grad, name


@BOTH
def test_an_applied_update_is_in_the_model_at_once(tmp_path: Path, config: ModelConfig) -> None:
    state = model_state(tmp_path, config)
    model = build_model(config, state.parameters, CPU)
    first, root = logits(model), state.position.root
    update(state.layout, 1).apply_to(state)
    applied = logits(model)
    copies = {name: array.copy() for name, array in state.parameters.items()}
    assert not torch.equal(applied, first)
    assert torch.equal(applied, logits(build_model(config, copies, CPU)))
    with state.parameters_at(root):
        assert torch.equal(logits(model), first)
    state.undo()
    assert torch.equal(logits(model), first)


def test_refreshing_leaves_shared_memory_alone(tmp_path: Path) -> None:
    state = model_state(tmp_path)
    model = build_model(TINY, state.parameters, CPU)
    before = state.theta.copy()
    refresh(model, {name: np.zeros_like(array) for name, array in state.parameters.items()})
    assert np.array_equal(state.theta, before)


def test_initial_parameters_follow_from_the_seed_alone() -> None:
    first = initial_parameters(TINY, SEED)
    torch.rand(7)  # another position in the library's generator
    again = initial_parameters(TINY, SEED)
    other = initial_parameters(TINY, bytes(32))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["lm_head.weight"], other["lm_head.weight"])
    assert all(np.isfinite(array).all() for array in first.values())


def test_the_model_works_on_sequences_of_any_length(tmp_path: Path) -> None:
    model = build_model(TINY, model_state(tmp_path).parameters, CPU)
    tokens = torch.from_numpy(token_batch("long", 1, length=3000).tokens)
    with torch.no_grad():
        found = model(input_ids=tokens).logits
    assert found.shape == (1, 3000, TINY.vocab_size)
    assert bool(torch.isfinite(found).all())
