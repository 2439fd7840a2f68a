"""What a window's training took of the machine: rate, utilisation, memory."""

from __future__ import annotations

import resource
import sys
import time
from functools import cached_property

import torch

from boltzmann.config import RunConfig
from boltzmann.train.presets import flops_per_token

Figures = dict[str, float | None]


class Gauge:
    """The figures of one window after another."""

    def __init__(self, run: RunConfig, device: torch.device, peak: float | None) -> None:
        """`peak`: dense bf16 operations per second of all devices together, None: not known."""
        self._run = run
        self._device = device
        self._peak = peak
        self._read_at: float | None = None

    def read(self, tokens: int, seconds: float) -> Figures:
        """Of a window in which training `tokens` predicted tokens took `seconds`.

        `tokens_per_s`; `mfu`: model FLOPs utilisation, the share of the devices' dense bf16 peak,
        None where that is not known; `utilisation`: the share of the time since the last reading
        that was spent training, None for the first; `memory_bytes`: on a GPU the peak that torch
        held since the last reading, elsewhere the peak of the process so far
        (of a team: of this process alone).
        """
        now, before = time.monotonic(), self._read_at
        self._read_at = now
        rate = tokens / seconds if seconds > 0 else None
        return {
            "tokens_per_s": rate,
            "mfu": rate * self._cost / self._peak if rate is not None and self._peak else None,
            "utilisation": None if before is None else min(1.0, seconds / (now - before)),
            "memory_bytes": peak_memory(self._device),
        }

    @cached_property
    def _cost(self) -> float:
        return flops_per_token(self._run.model, self._run.data.sequence_length)


def peak_memory(device: torch.device) -> int:
    """On a GPU the most bytes torch held since the last call, elsewhere the process so far."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
