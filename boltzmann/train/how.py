"""How a machine computes gradients. But for the precision, which is the run's and the same for all
nodes, none of it changes them by more than rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from boltzmann.config import Precision
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


def usual(device: torch.device, precision: Precision) -> How:
    """In the run's precision; on a GPU with compiled layers."""
    autocast = torch.bfloat16 if precision is Precision.BF16 else None
    return How(precision=autocast, compiled=device.type == "cuda")


def multiplies(device: torch.device, precision: Precision) -> bool:
    """Whether products in a precision are the hardware's own: others take many times as long."""
    if precision is Precision.FP32:
        return True
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)
