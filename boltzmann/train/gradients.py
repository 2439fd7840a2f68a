"""One member's work of a window: the mean gradient over all its pages."""

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
from boltzmann.protocol.points import Points

Floats = NDArray[np.float32]

SEQUENCES_PER_STEP = (
    4  # bounds activation memory; the result does not depend on it but for rounding
)


@dataclass(frozen=True)
class Delta:
    """θ_before - θ_after of one plain SGD step with rate 1: the gradient.

    It is the mean over pages of each page's mean gradient, so a page's share does not depend on the
    other pages. `tensors`: 1-D float32 views in sorted name order; `loss`: mean nats per predicted
    token; `tokens`: predicted tokens; `shares`: `[pages, points] float32`, each page's part of the
    delta on the audit points, no columns where none were asked for.
    """

    tensors: tuple[Floats, ...]
    loss: float
    tokens: int
    shares: Floats


def gradient(
    model: LlamaForCausalLM, batches: Iterable[TokenBatch], points: Points | None = None
) -> Delta:
    """The mean over batches, one a page, of the gradient of the mean loss over a batch's tokens.

    bf16 autocast on CUDA, float32 elsewhere; gradients accumulate in float32.

    Raises: ValueError if there is no token to predict.
    """
    model.zero_grad(set_to_none=True)
    loss_sum, tokens, sums = 0.0, 0, _PointSums(model, points)
    for batch in batches:
        predicted = _predicted(batch)
        for loss in _losses(model, batch):
            torch.autograd.backward(loss / predicted)
            loss_sum += float(loss.detach())
        tokens += predicted
        sums.end_page()
    if tokens == 0:
        raise ValueError("no tokens to predict: the batches are empty")
    pages = len(sums.values)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    tensors = tuple(
        gradients[name].div_(pages).reshape(-1).cpu().numpy() for name in sorted(gradients)
    )
    model.zero_grad(set_to_none=True)  # `tensors` now hold the only references
    return Delta(tensors, loss_sum / tokens, tokens, sums.shares())


class _PointSums:
    """The accumulated gradient on the audit points at the end of each page."""

    def __init__(self, model: LlamaForCausalLM, points: Points | None) -> None:
        device = next(model.parameters()).device
        named = dict(model.named_parameters())
        self.values: list[Floats] = []
        self._places = (
            [
                (named[name], torch.from_numpy(chosen).to(device))
                for name, chosen in zip(points.layout.names, points.chosen, strict=True)
            ]
            if points
            else []
        )

    def end_page(self) -> None:
        found = [
            parameter.grad.reshape(-1)[places]
            for parameter, places in self._places
            if parameter.grad is not None
        ]
        self.values.append(torch.cat(found).cpu().numpy() if found else np.empty(0, np.float32))

    def shares(self) -> Floats:
        """Each page's share of the mean: what it added, over the number of pages."""
        sums = np.stack(self.values)
        return np.diff(sums, axis=0, prepend=np.float32(0.0)) / np.float32(len(sums))


def mean_loss(model: LlamaForCausalLM, batches: Iterable[TokenBatch]) -> float:
    """Mean nats per predicted token of all batches. Raises: ValueError as above."""
    loss_sum, tokens = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            loss_sum += sum(float(loss) for loss in _losses(model, batch))
            tokens += _predicted(batch)
    if tokens == 0:
        raise ValueError("no tokens to predict: the batches are empty")
    return loss_sum / tokens


def _predicted(batch: TokenBatch) -> int:
    return batch.tokens.size - len(batch.tokens)


def _losses(model: LlamaForCausalLM, batch: TokenBatch) -> Iterator[torch.Tensor]:
    """Summed losses in nats, of a few sequences at a time."""
    device = next(model.parameters()).device
    for sequences in torch.split(torch.from_numpy(batch.tokens), SEQUENCES_PER_STEP):
        inputs = sequences.to(device)
        with _precision(device):
            logits = model(input_ids=inputs).logits
        yield functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), inputs[:, 1:].flatten(), reduction="sum"
        )


def _precision(device: torch.device) -> torch.autocast | nullcontext[None]:
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()
