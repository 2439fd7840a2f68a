"""The clipped gradient against torch's own, whatever way the tokens are handed over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from train_kit import BOTH, TINY, Tokens, model_state, token_batch
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from boltzmann.config import ModelConfig
from boltzmann.errors import DataError
from boltzmann.train import gradients
from boltzmann.train.gradients import Delta, clipped_gradient
from boltzmann.train.model import build_model

Floats = NDArray[np.float32]
NO_CLIP = 1e9
BATCHES = (token_batch("one", 5), token_batch("two", 1), token_batch("three", 2))


@pytest.fixture
def model(tmp_path: Path) -> LlamaForCausalLM:
    return build_model(TINY, model_state(tmp_path).parameters, torch.device("cpu"))


def flat(delta: Delta) -> Floats:
    return np.concatenate(delta.tensors)


def autograd(model: LlamaForCausalLM, batches: Sequence[Tokens]) -> tuple[Floats, float]:
    """The gradient of transformers' own loss on one concatenated batch, and that loss."""
    tokens = torch.from_numpy(np.concatenate([batch.tokens for batch in batches]))
    loss = model(input_ids=tokens, labels=tokens).loss
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()))
    by_name = dict(zip(named, found, strict=True))
    gradient = np.concatenate([by_name[name].reshape(-1).numpy() for name in sorted(named)])
    return gradient, float(loss.detach())


@BOTH
def test_it_is_the_gradient_of_the_mean_loss_over_all_tokens(
    tmp_path: Path, config: ModelConfig
) -> None:
    state = model_state(tmp_path, config)
    model = build_model(config, state.parameters, torch.device("cpu"))
    delta = clipped_gradient(model, BATCHES, NO_CLIP)
    reference, loss = autograd(model, BATCHES)
    np.testing.assert_allclose(flat(delta), reference, rtol=1e-4, atol=1e-7)
    assert delta.loss == pytest.approx(loss, rel=1e-5)
    assert delta.tokens == 8 * 11
    assert delta.norm == pytest.approx(float(np.linalg.norm(reference)), rel=1e-5)
    assert tuple(len(tensor) for tensor in delta.tensors) == state.layout.sizes


def test_a_long_gradient_is_scaled_to_the_clip_norm(model: LlamaForCausalLM) -> None:
    whole = clipped_gradient(model, BATCHES, NO_CLIP)
    half = clipped_gradient(model, BATCHES, whole.norm / 2)
    assert half.norm == whole.norm
    assert np.linalg.norm(flat(half)) == pytest.approx(whole.norm / 2, rel=1e-5)
    np.testing.assert_allclose(2 * flat(half), flat(whole), rtol=1e-5)


def test_a_short_gradient_is_left_as_it_is(model: LlamaForCausalLM) -> None:
    whole = clipped_gradient(model, BATCHES, NO_CLIP)
    assert np.array_equal(flat(clipped_gradient(model, BATCHES, whole.norm * 1.001)), flat(whole))


@pytest.mark.parametrize("per_step", [1, 2, 3, 100])
def test_the_split_into_steps_changes_rounding_only(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, per_step: int
) -> None:
    usual = clipped_gradient(model, BATCHES, NO_CLIP)
    monkeypatch.setattr(gradients, "SEQUENCES_PER_STEP", per_step)
    other = clipped_gradient(model, BATCHES, NO_CLIP)
    np.testing.assert_allclose(flat(other), flat(usual), rtol=1e-4, atol=1e-7)
    assert other.tokens == usual.tokens
    assert other.loss == pytest.approx(usual.loss, rel=1e-6)


def test_the_split_into_pages_changes_rounding_only(model: LlamaForCausalLM) -> None:
    pages = clipped_gradient(model, BATCHES, NO_CLIP)
    joined = Tokens(np.concatenate([batch.tokens for batch in BATCHES]))
    together = clipped_gradient(model, [joined], NO_CLIP)
    np.testing.assert_allclose(flat(together), flat(pages), rtol=1e-4, atol=1e-7)


def test_two_runs_give_the_same_bits(model: LlamaForCausalLM) -> None:
    first = clipped_gradient(model, BATCHES, 1.0)
    kept = flat(first).copy()
    clipped_gradient(model, BATCHES[1:], 1.0)
    again = clipped_gradient(model, BATCHES, 1.0)
    assert np.array_equal(flat(again), kept)
    assert np.array_equal(flat(first), kept)  # later work does not reach into an earlier result
    assert (again.loss, again.norm) == (first.loss, first.norm)


def test_other_pages_give_another_gradient(model: LlamaForCausalLM) -> None:
    one, two = (flat(clipped_gradient(model, [batch], 1.0)) for batch in BATCHES[:2])
    cosine = float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two)))
    assert abs(cosine) < 0.98


def test_nothing_to_predict_is_an_error(model: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match="no tokens to predict"):
        clipped_gradient(model, [], 1.0)


def test_a_page_that_fails_leaves_nothing_behind(model: LlamaForCausalLM) -> None:
    def failing() -> Iterator[Tokens]:
        yield BATCHES[1]
        raise DataError("the next page is gone")

    whole = flat(clipped_gradient(model, BATCHES, 1.0)).copy()
    with pytest.raises(DataError):
        clipped_gradient(model, failing(), 1.0)
    assert np.array_equal(flat(clipped_gradient(model, BATCHES, 1.0)), whole)


def test_the_model_is_left_without_gradients(model: LlamaForCausalLM) -> None:
    clipped_gradient(model, BATCHES, 1.0)
    assert all(parameter.grad is None for parameter in model.parameters())
