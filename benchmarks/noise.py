"""Deltas of noise, as well formed as honest ones: for benchmarks in which nothing is trained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.scripted import block_hash
from boltzmann.config import RunConfig
from boltzmann.node.conduct import spread
from boltzmann.protocol.points import draw
from boltzmann.protocol.slices import Slice

Floats = NDArray[np.float32]


def noise_delta(
    run: RunConfig, chosen: Slice, window: int, number: int
) -> tuple[Floats, bytearray]:
    """Member `number`'s values `[size] float32` as they travel, and the body with its shares."""
    codec, random = run.exchange.codec, np.random.default_rng([window, number])
    values = random.standard_normal(chosen.size, np.float32) * np.float32(1e-5)
    points = draw(chosen.layout, block_hash(run.windows.open(window)), run.audit.points)
    total = np.zeros(points.size, np.float32)
    on_points, on_slice = points.meet(chosen)
    total[on_points] = values[on_slice]
    body = codec.encode(values)
    sent = codec.decode(bytes(body))
    body += codec.encode(spread(total, run.data.pages_per_member).reshape(-1))
    return sent, body
