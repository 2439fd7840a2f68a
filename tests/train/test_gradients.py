"""The gradient against torch's own, whatever way the tokens are handed over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from train_kit import BOTH, COMPILER, TINY, Tokens, model_state, token_batch

from boltzmann.config import ModelConfig, Precision
from boltzmann.errors import DataError
from boltzmann.protocol.points import draw
from boltzmann.protocol.slices import select
from boltzmann.train.device import DeviceTensors
from boltzmann.train.gradients import Delta, LossModel, gradient, mean_loss
from boltzmann.train.how import How, usual
from boltzmann.train.model import build_model

Floats = NDArray[np.float32]
BATCHES = (token_batch("one", 5), token_batch("two", 1), token_batch("three", 2))


@pytest.fixture
def model(tmp_path: Path) -> LossModel:
    return loss_model(tmp_path)


def loss_model(folder: Path, config: ModelConfig = TINY, how: How | None = None) -> LossModel:
    state = model_state(folder, config)
    return LossModel(build_model(config, state.parameters, torch.device("cpu")), how)


def flat(delta: Delta) -> Floats:
    return np.concatenate(delta.tensors)


def autograd(model: LossModel, batches: Sequence[Tokens]) -> tuple[Floats, float]:
    """The gradient of the mean of transformers' own losses on each batch, and all tokens' loss."""
    pages = [torch.from_numpy(batch.tokens) for batch in batches]
    llama = model.llama
    losses = [llama(input_ids=tokens, labels=tokens).loss for tokens in pages]
    loss = sum(losses) / len(losses)
    named = dict(llama.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()))
    by_name = dict(zip(named, found, strict=True))
    joined = np.concatenate([by_name[name].reshape(-1).numpy() for name in sorted(named)])
    tokens = sum(page.numel() - len(page) for page in pages)
    summed = sum(
        float(one.detach()) * (page.numel() - len(page))
        for one, page in zip(losses, pages, strict=True)
    )
    return joined, summed / tokens


@BOTH
def test_it_is_the_mean_of_the_gradients_of_each_pages_mean_loss(
    tmp_path: Path, config: ModelConfig
) -> None:
    model = loss_model(tmp_path, config)
    delta = gradient(model, BATCHES)
    reference, loss = autograd(model, BATCHES)
    np.testing.assert_allclose(flat(delta), reference, rtol=1e-4, atol=1e-7)
    assert delta.loss == pytest.approx(loss, rel=1e-5)
    assert delta.tokens == 8 * 11
    assert (
        tuple(len(tensor) for tensor in delta.tensors)
        == model_state(tmp_path / "again", config).layout.sizes
    )


@pytest.mark.parametrize(
    "how",
    [
        *(How(sequences=n) for n in (1, 2, 3, 100)),
        How(checkpointing=True),
        *(How(logits=TINY.vocab_size * tokens) for tokens in (1, 7, 30)),
        How(checkpointing=True, sequences=3, logits=TINY.vocab_size * 10),
        pytest.param(How(compiled=True), marks=COMPILER),
    ],
    ids=str,
)
@BOTH
def test_how_it_is_computed_changes_rounding_only(
    tmp_path: Path, config: ModelConfig, how: How
) -> None:
    plain = gradient(loss_model(tmp_path, config), BATCHES)
    other = gradient(loss_model(tmp_path / "other", config, how), BATCHES)
    np.testing.assert_allclose(flat(other), flat(plain), rtol=1e-4, atol=1e-7)
    assert other.tokens == plain.tokens
    assert other.loss == pytest.approx(plain.loss, rel=1e-6)


@pytest.mark.parametrize(
    ("how", "part"),
    [
        (How(sequences=1), 0.5),
        (How(sequences=3, checkpointing=True), 0.3),
        pytest.param(How(compiled=True), 0.01, marks=COMPILER),
        pytest.param(How(compiled=True, checkpointing=True), 0.01, marks=COMPILER),
    ],
    ids=str,
)
def test_in_bf16_machines_differ_far_less_than_from_float32(
    tmp_path: Path, how: How, part: float
) -> None:
    def found(name: str, how: How) -> Floats:
        values = flat(gradient(loss_model(tmp_path / name, how=how), BATCHES))
        return values / np.linalg.norm(values)

    bf16 = usual(torch.device("cpu"), Precision.BF16)
    assert bf16.precision is torch.bfloat16
    assert usual(torch.device("cpu"), Precision.FP32) == How()
    one, exact = found("one", bf16), found("exact", How())
    other = found("other", replace(how, precision=torch.bfloat16))
    apart, from_exact = np.linalg.norm(other - one), np.linalg.norm(exact - one)
    assert apart < from_exact * part
    assert from_exact > 1e-3


@pytest.mark.parametrize("logits", [TINY.vocab_size * 7, 1 << 20])
def test_autocast_to_bf16_stays_within_an_audits_gate(tmp_path: Path, logits: int) -> None:
    exact = flat(gradient(loss_model(tmp_path), BATCHES))
    how = How(precision=torch.bfloat16, logits=logits)
    other = gradient(loss_model(tmp_path / "other", how=how), BATCHES)
    found = flat(other)
    cosine = float(found @ exact / (np.linalg.norm(found) * np.linalg.norm(exact)))
    assert 0.999 < cosine < 1.0
    assert {tensor.dtype for tensor in other.tensors} == {np.dtype(np.float32)}


def test_the_loss_is_the_same_without_gradients(tmp_path: Path) -> None:
    model = loss_model(tmp_path, how=How(logits=TINY.vocab_size * 7))
    assert mean_loss(model, BATCHES) == pytest.approx(gradient(model, BATCHES).loss, rel=1e-6)


def test_what_stays_on_a_device_gives_the_same_values(model: LossModel, tmp_path: Path) -> None:
    layout = model_state(tmp_path / "again").layout
    chosen, points = select(layout, bytes(32)), draw(layout, bytes(32), 200)
    delta = gradient(model, BATCHES)
    there = DeviceTensors([torch.from_numpy(tensor) for tensor in delta.tensors])
    away = replace(delta, tensors=there)
    assert np.array_equal(away.on_slice(chosen), delta.on_slice(chosen))
    assert np.array_equal(away.on_points(points), delta.on_points(points))
    assert np.array_equal(flat(away), flat(delta))
    assert [tensor.tolist() for tensor in there[1:3]] == [t.tolist() for t in delta.tensors[1:3]]


def test_pages_of_one_length_may_be_joined(model: LossModel) -> None:
    pages = [token_batch(name, 3) for name in ("four", "five")]
    joined = Tokens(np.concatenate([batch.tokens for batch in pages]))
    together = gradient(model, [joined])
    np.testing.assert_allclose(flat(together), flat(gradient(model, pages)), rtol=1e-4, atol=1e-7)


def test_the_shares_are_the_pages_own_gradients_on_the_points(
    model: LossModel, tmp_path: Path
) -> None:
    layout = model_state(tmp_path / "again").layout
    points = draw(layout, bytes(32), 200)
    delta = gradient(model, BATCHES, points)
    assert delta.shares.shape == (len(BATCHES), points.size)
    assert delta.shares.dtype == np.float32
    np.testing.assert_allclose(
        delta.shares.sum(axis=0), points.gather(delta.tensors), rtol=1e-4, atol=1e-7
    )
    for batch, share in zip(BATCHES, delta.shares, strict=True):
        alone = points.gather(gradient(model, [batch]).tensors) / len(BATCHES)
        np.testing.assert_allclose(share, alone, rtol=1e-3, atol=1e-7)


def test_two_runs_give_the_same_bits(model: LossModel) -> None:
    first = gradient(model, BATCHES)
    kept = flat(first).copy()
    gradient(model, BATCHES[1:])
    again = gradient(model, BATCHES)
    assert np.array_equal(flat(again), kept)
    assert np.array_equal(flat(first), kept)  # later work does not reach into an earlier result
    assert again.loss == first.loss


def test_other_pages_give_another_gradient(model: LossModel) -> None:
    one, two = (flat(gradient(model, [batch])) for batch in BATCHES[:2])
    cosine = float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two)))
    assert abs(cosine) < 0.98


def test_nothing_to_predict_is_an_error(model: LossModel) -> None:
    with pytest.raises(ValueError, match="no tokens to predict"):
        gradient(model, [])


def test_a_page_that_fails_leaves_nothing_behind(model: LossModel) -> None:
    def failing() -> Iterator[Tokens]:
        yield BATCHES[1]
        raise DataError("the next page is gone")

    whole = flat(gradient(model, BATCHES)).copy()
    with pytest.raises(DataError):
        gradient(model, failing())
    assert np.array_equal(flat(gradient(model, BATCHES)), whole)


def test_the_model_is_left_without_gradients(model: LossModel) -> None:
    gradient(model, BATCHES)
    assert all(parameter.grad is None for parameter in model.parameters())
