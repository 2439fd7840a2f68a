"""The loss of a model's head, without ever holding the logits of many tokens at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

LOGITS = 1 << 26  # how many stand at a time: 256 MB of float32


def summed_loss(hidden: Tensor, weight: Tensor, targets: Tensor, logits: int = LOGITS) -> Tensor:
    """Σ over tokens of -log softmax(hidden · weightᵀ)[target], in nats: a float32 scalar.

    `hidden [tokens, size]` and `weight [vocabulary, size]` are multiplied in the precision of
    autocast, or as they are; the softmax is in float32. At most `logits` of them are held: more
    tokens than that allows are taken in parts, and each part's gradients are computed beside its
    loss, so that nothing is computed twice. (`torch.nn.functional.linear_cross_entropy` does the
    same in torch 2.13, but sums the loss in bf16, which made it wrong by 3%.)
    """
    kind, dtype = hidden.device.type, hidden.dtype
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    hidden, tokens = hidden.to(dtype), max(1, logits // len(weight))
    if len(hidden) <= tokens:
        return _whole(hidden, weight, targets)
    if torch.is_grad_enabled():
        found: Tensor = _Parts.apply(hidden, weight, targets, tokens)  # type: ignore[no-untyped-call]
        return found
    parts = zip(torch.split(hidden, tokens), torch.split(targets, tokens), strict=True)
    return torch.stack([_whole(part, weight, target) for part, target in parts]).sum()


def _whole(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        logits = functional.linear(hidden, weight.to(hidden.dtype)).float()
        return functional.cross_entropy(logits, targets, reduction="sum")


class _Parts(torch.autograd.Function):
    """As `_whole`, a part of the tokens at a time; the gradients are there after the forward."""

    @staticmethod
    def forward(
        context: FunctionCtx, hidden: Tensor, weight: Tensor, targets: Tensor, tokens: int
    ) -> Tensor:
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        to_hidden, to_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        factors = weight.to(hidden.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), tokens):
                part, target = hidden[start : start + tokens], targets[start : start + tokens, None]
                slopes = torch.log_softmax(functional.linear(part, factors).float(), dim=-1)
                loss -= slopes.gather(1, target).sum()
                slopes.exp_()  # in place: two of these are all that is ever held
                slopes.scatter_add_(1, target, slopes.new_full(target.shape, -1.0))
                rounded = slopes.to(hidden.dtype)
                torch.mm(rounded, factors, out=to_hidden[start : start + tokens])
                to_weight += torch.mm(rounded.T, part)
        context.save_for_backward(to_hidden, to_weight)
        return loss

    @staticmethod
    @once_differentiable
    def backward(context: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_hidden, to_weight = context.saved_tensors
        return to_hidden * slopes[0], to_weight * slopes[0], None, None
