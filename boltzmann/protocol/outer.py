"""The outer step: AdamW on the touched coordinates only, in correctly rounded float32.

θ, m, v and the per-chunk step counts are consensus state. Nothing from libm enters: powers of the
betas come from repeated multiplication, the learning rate is piecewise linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from boltzmann.protocol.setting import meaning

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class OuterConfig:
    """Settings of the outer AdamW (Loshchilov and Hutter 2019, algorithm 2)."""

    schedule: tuple[tuple[int, float], ...] = field(
        metadata=meaning(
            "learning rates by windows since the genesis: [[window, rate], …] with increasing "
            "windows, linear between them and flat outside"
        )
    )
    beta1: float = field(metadata=meaning("decay of the mean of gradients, in [0, 1)"))
    beta2: float = field(metadata=meaning("decay of the mean of their squares, in [0, 1)"))
    eps: float = field(metadata=meaning("what is added to the root of the squares' mean"))
    weight_decay: float = field(
        metadata=meaning("share of itself, times the learning rate, by which a parameter shrinks")
    )

    def __post_init__(self) -> None:
        windows = [window for window, _ in self.schedule]
        if not windows or windows != sorted(set(windows)):
            raise ValueError("outer.schedule needs points with increasing windows")
        if any(not 0.0 <= rate < float("inf") for _, rate in self.schedule):
            raise ValueError("outer.schedule has a learning rate that is negative or not finite")
        if not (0.0 <= self.beta1 < 1.0 and 0.0 <= self.beta2 < 1.0):
            raise ValueError("outer.beta1 and outer.beta2 must be in [0, 1)")
        # A smaller eps may be 0 in float32, and the bits of 0/0 differ between machines.
        if not float(np.finfo(np.float32).tiny) <= self.eps < float("inf"):
            raise ValueError("outer.eps must be finite and at least float32's smallest normal")
        if not 0.0 <= self.weight_decay < float("inf"):
            raise ValueError("outer.weight_decay must be finite and not negative")


def learning_rate(schedule: Sequence[tuple[int, float]], age: int) -> np.float32:
    """The rate `age` windows after genesis: linear between points, flat outside them."""
    if age <= schedule[0][0]:
        return np.float32(schedule[0][1])
    for (left, low), (right, high) in pairwise(schedule):
        if age <= right:
            share = (age - left) / (right - left)
            return np.float32(low + share * (high - low))
    return np.float32(schedule[-1][1])


class Powers:
    """1 - β^t for t = 1, 2, …, each power the one before times β, in float64."""

    def __init__(self, beta: float) -> None:
        self._beta = beta
        self._power = 1.0
        self._corrections = np.zeros(1, np.float32)

    def corrections(self, counts: NDArray[np.int32]) -> Floats:
        """`1 - β^count` as float32 for `[n] int32` counts of at least 1."""
        missing = int(counts.max()) + 1 - len(self._corrections)
        if missing > 0:
            more = []
            for _ in range(missing):
                self._power *= self._beta
                more.append(np.float32(1.0 - self._power))
            self._corrections = np.append(self._corrections, np.array(more, np.float32))
        return self._corrections[counts]


@dataclass(frozen=True)
class Step:
    """One window's outer step: constants that every piece of the slice shares."""

    rate: np.float32
    config: OuterConfig
    powers1: Powers
    powers2: Powers

    def apply(
        self, theta: Floats, m: Floats, v: Floats, gradient: Floats, counts: NDArray[np.int32]
    ) -> None:
        """AdamW in place on `[chunks, length]` copies; `counts` `[chunks]` include this step.

            m ← β₁m + (1-β₁)g        v ← β₂v + (1-β₂)g²
            θ ← θ - η (m̂ / (√v̂ + ε) + λθ),  m̂ = m / (1-β₁ᵗ),  v̂ = v / (1-β₂ᵗ)

        Each line below is one correctly rounded float32 operation; their order is the rule.
        """
        one = np.float32(1.0)
        beta1, beta2 = np.float32(self.config.beta1), np.float32(self.config.beta2)
        m *= beta1
        scratch = gradient * (one - beta1)
        m += scratch
        v *= beta2
        np.multiply(gradient, one - beta2, out=scratch)
        scratch *= gradient
        v += scratch
        np.divide(v, self.powers2.corrections(counts)[:, None], out=scratch)
        np.sqrt(scratch, out=scratch)
        scratch += np.float32(self.config.eps)
        change = m / self.powers1.corrections(counts)[:, None]
        change /= scratch
        np.multiply(theta, np.float32(self.config.weight_decay), out=scratch)
        change += scratch
        change *= self.rate
        theta -= change
