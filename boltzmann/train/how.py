"""How a machine computes gradients: none of it changes them by more than rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from boltzmann.train.loss import LOGITS


@dataclass(frozen=True)
class How:
    """`sequences`: how many are computed at a time; `precision`: autocast's, None for float32;
    `checkpointing`: whether activations are computed again in the backward pass instead of kept;
    `compiled`: whether the layers go through torch.compile; `logits`: how many stand at a time.

    float32 products are exact ones: TF32 stays off, whatever the device.
    """

    sequences: int = 4
    precision: torch.dtype | None = None
    checkpointing: bool = False
    compiled: bool = False
    logits: int = LOGITS


def usual(device: torch.device) -> How:
    """bf16 autocast and compiled layers on a GPU, float32 elsewhere."""
    if device.type == "cuda":
        return How(precision=torch.bfloat16, compiled=True)
    return How()
