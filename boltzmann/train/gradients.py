"""One member's work of a window: the clipped gradient over all its pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from boltzmann.ports import TokenBatch

Floats = NDArray[np.float32]

SEQUENCES_PER_STEP = (
    4  # bounds activation memory; the result does not depend on it but for rounding
)


@dataclass(frozen=True)
class Delta:
    """θ_before - θ_after of one plain SGD step with rate 1: the clipped gradient.

    `tensors`: 1-D float32 views in sorted name order; `loss`: mean nats per predicted token;
    `tokens`: predicted tokens; `norm`: the global norm before clipping.
    """

    tensors: tuple[Floats, ...]
    loss: float
    tokens: int
    norm: float


def clipped_gradient(
    model: LlamaForCausalLM, batches: Iterable[TokenBatch], clip_norm: float
) -> Delta:
    """The gradient of the mean loss over all tokens of all batches, clipped by its global norm.

    bf16 autocast on CUDA, float32 elsewhere; gradients accumulate in float32.

    Raises: ValueError if there is no token to predict.
    """
    model.zero_grad(set_to_none=True)
    loss_sum, tokens = 0.0, 0
    for loss, predicted in _losses(model, batches):
        torch.autograd.backward(loss)
        loss_sum += float(loss.detach())
        tokens += predicted
    return _clip(model, _mean(loss_sum, tokens), tokens, clip_norm)


def mean_loss(model: LlamaForCausalLM, batches: Iterable[TokenBatch]) -> float:
    """Mean nats per predicted token of all batches. Raises: ValueError as above."""
    with torch.no_grad():
        parts = [(float(loss), predicted) for loss, predicted in _losses(model, batches)]
    return _mean(sum(loss for loss, _ in parts), sum(predicted for _, predicted in parts))


def _losses(
    model: LlamaForCausalLM, batches: Iterable[TokenBatch]
) -> Iterator[tuple[torch.Tensor, int]]:
    """(summed loss in nats, predicted tokens) of a few sequences at a time."""
    device = next(model.parameters()).device
    for batch in batches:
        for sequences in torch.split(torch.from_numpy(batch.tokens), SEQUENCES_PER_STEP):
            inputs = sequences.to(device)
            with _precision(device):
                logits = model(input_ids=inputs).logits
            loss = functional.cross_entropy(
                logits[:, :-1].flatten(0, 1).float(), inputs[:, 1:].flatten(), reduction="sum"
            )
            yield loss, inputs[:, 1:].numel()


def _mean(loss_sum: float, tokens: int) -> float:
    if tokens == 0:
        raise ValueError("no tokens to predict: the batches are empty")
    return loss_sum / tokens


def _clip(model: LlamaForCausalLM, loss: float, tokens: int, clip_norm: float) -> Delta:
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = [torch.linalg.vector_norm(g) for g in gradients.values()]
    norm = float(torch.linalg.vector_norm(torch.stack(norms))) / tokens
    factor = min(1.0, clip_norm / norm) / tokens if norm > 0.0 else 0.0
    tensors = tuple(
        gradients[name].mul_(factor).reshape(-1).cpu().numpy() for name in sorted(gradients)
    )
    model.zero_grad(set_to_none=True)  # `tensors` now hold the only references
    return Delta(tensors, loss, tokens, norm)


def _precision(device: torch.device) -> torch.autocast | nullcontext[None]:
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()
