"""One member's work of a window: the mean gradient over all its pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from boltzmann.ports import TokenBatch
from boltzmann.protocol.points import Points
from boltzmann.protocol.slices import Slice
from boltzmann.train.device import Away, DeviceTensors
from boltzmann.train.how import How
from boltzmann.train.loss import summed_loss

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Delta:
    """θ_before - θ_after of one plain SGD step with rate 1: the gradient.

    It is the mean over pages of each page's mean gradient, so a page's share does not depend on the
    other pages. `tensors`: 1-D float32 in sorted name order; `loss`: mean nats per predicted token;
    `tokens`: predicted tokens; `shares`: `[pages, points] float32`, each page's part of the delta
    on the audit points, no columns where none were asked for.
    """

    tensors: Sequence[Floats]
    loss: float
    tokens: int
    shares: Floats

    def on_slice(self, chosen: Slice) -> Floats:
        """The slice's values `[size] float32`."""
        if isinstance(self.tensors, Away):
            return self.tensors.on_slice(chosen)
        return chosen.gather(self.tensors)

    def on_points(self, points: Points) -> Floats:
        """The audit points' values `[points] float32`."""
        if isinstance(self.tensors, Away):
            return self.tensors.on_points(points)
        return points.gather(self.tensors)


class LossModel(nn.Module):
    """A model whose forward pass gives the summed loss of sequences, in nats, computed as `how`
    says: what wraps modules (torch.compile, FSDP2) so sees all of it, the head too."""

    def __init__(self, llama: LlamaForCausalLM, how: How | None = None) -> None:
        super().__init__()
        self.llama = llama
        self.how = how or How()
        if self.how.checkpointing:
            _checkpoint(llama)
        if self.how.compiled:
            # Fused kernels would leave out roundings to bf16 that other nodes make in between.
            exact = {"emulate_precision_casts": self.how.precision is not None}
            for layer in llama.model.layers:
                layer.compile(options=exact)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Of `tokens [sequences, length] int64`, on the model's device."""
        with self._precision(tokens.device):
            hidden = self.llama.model(input_ids=tokens).last_hidden_state[:, :-1]
            return summed_loss(
                hidden.flatten(0, 1),
                self.llama.lm_head.weight,
                tokens[:, 1:].flatten(),
                self.how.logits,
            )

    def _precision(self, device: torch.device) -> torch.autocast | nullcontext[None]:
        if self.how.precision is None:
            return nullcontext()
        return torch.autocast(device.type, self.how.precision)


def _checkpoint(llama: LlamaForCausalLM) -> None:
    # transformers renames it: the old name warns from 5.21 on, the new one is not in 5.20.
    for name in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
        enable = getattr(llama, name, None)
        if enable is not None:
            enable({"use_reentrant": False})
            return


def gradient(
    model: LossModel, batches: Iterable[TokenBatch], points: Points | None = None
) -> Delta:
    """The mean over batches, one a page, of the gradient of the mean loss over a batch's tokens.

    Gradients accumulate in float32.

    Raises: ValueError if there is no token to predict.
    """
    model.zero_grad(set_to_none=True)
    losses: list[torch.Tensor] = []  # left on the device: reading one would wait for it
    tokens, sums = 0, _PointSums(model, points)
    for batch in batches:
        predicted = predicted_in(batch)
        for loss in _losses(model, batch):
            torch.autograd.backward(loss / predicted)
            losses.append(loss.detach())
        tokens += predicted
        sums.end_page()
    if tokens == 0:
        raise ValueError("no tokens to predict: the batches are empty")
    pages = len(sums.values)
    gradients = {name: p.grad for name, p in model.llama.named_parameters() if p.grad is not None}
    tensors = [gradients[name].div_(pages).reshape(-1) for name in sorted(gradients)]
    model.zero_grad(set_to_none=True)  # `tensors` now hold the only references
    total = float(torch.stack(losses).sum(dtype=torch.float64))
    return Delta(_at_hand(tensors), total / tokens, tokens, sums.shares())


def _at_hand(tensors: Sequence[torch.Tensor]) -> Sequence[Floats]:
    """Views of the host's memory; on another device they stay there."""
    if tensors[0].device.type == "cpu":
        return tuple(tensor.numpy() for tensor in tensors)
    return DeviceTensors(tensors)


class _PointSums:
    """The accumulated gradient on the audit points at the end of each page."""

    def __init__(self, model: LossModel, points: Points | None) -> None:
        device = next(model.parameters()).device
        named = dict(model.llama.named_parameters())
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


def mean_loss(model: LossModel, batches: Iterable[TokenBatch]) -> float:
    """Mean nats per predicted token of all batches. Raises: ValueError as above."""
    loss_sum, tokens = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            loss_sum += sum(float(loss) for loss in _losses(model, batch))
            tokens += predicted_in(batch)
    if tokens == 0:
        raise ValueError("no tokens to predict: the batches are empty")
    return loss_sum / tokens


def predicted_in(batch: TokenBatch) -> int:
    """How many tokens are predicted: all but the first of each sequence."""
    return batch.tokens.size - len(batch.tokens)


def _losses(model: LossModel, batch: TokenBatch) -> Iterator[torch.Tensor]:
    """Summed losses in nats, of a few sequences at a time."""
    device = next(model.parameters()).device
    for sequences in torch.split(torch.from_numpy(batch.tokens), model.how.sequences):
        yield model(sequences.to(device))
