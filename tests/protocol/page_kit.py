"""A small delta of several pages with its shares, as a miner makes it and as an audit sees it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from reference import array, sample

from boltzmann.protocol.codec import Codec
from boltzmann.protocol.points import Points, draw
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.scoring import (
    AuditConfig,
    GateConfig,
    judge,
)
from boltzmann.protocol.slices import Layout, Slice, select
from boltzmann.protocol.spot import Bounds, OnPage, Spot, compare_page

Floats = NDArray[np.float32]

PAGES = 8
LAYOUT = Layout.of({"a": (150, 100), "b": (300,), "c": (4101,)}, chunk_size=16, slice_ratio=2)
GATE = GateConfig(gate_min=0.995, tensor_min=0.98, norm_min=0.9, norm_max=1.1)
CONFIG = AuditConfig()
CONTROLS = 64  # so many that the control gradient has little of its own


def noise(label: str, size: int) -> Floats:
    """Nearly orthogonal to every other label's; about 0.6 in size."""
    return array(sample(label, size, scale=32768))


@cache
def whole(label: str) -> Floats:
    """A page's gradient: mostly the direction all pages share, and its own part."""
    total = LAYOUT.total
    return noise("shared", total) * np.float32(2.0) + noise(label, total)


@cache
def control_gradient() -> Floats:
    own = np.mean([noise(f"control {i}", LAYOUT.total) for i in range(CONTROLS)], axis=0)
    control: Floats = noise("shared", LAYOUT.total) * np.float32(2.0) + own.astype(np.float32)
    return control


def cut(flat: Floats) -> list[Floats]:
    """All coordinates as the tensors' 1-D views."""
    return np.split(flat, np.cumsum(LAYOUT.sizes)[:-1])


@dataclass(frozen=True)
class Scene:
    """One window: its points, its slice, and the pages' gradients `[pages, total] float32`."""

    codec: Codec
    gradients: Floats
    control: Floats
    points: Points
    slice: Slice

    @cached_property
    def shares(self) -> Floats:
        """What an honest miner sends beside its slice."""
        part = np.float32(1.0 / len(self.gradients))
        rows = [self.points.gather(cut(gradient * part)) for gradient in self.gradients]
        return np.stack([self.codec.roundtrip(row) for row in rows])

    @cached_property
    def delta(self) -> Floats:
        """The slice that an honest miner sends."""
        return self.codec.roundtrip(self.slice.gather(cut(self.mean)))

    @cached_property
    def mean(self) -> Floats:
        mean: Floats = self.gradients.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def on_page(self, gradient: Floats, pages: int = 1) -> OnPage:
        """As a validator sees a gradient: through the codec, as one of so many pages."""
        part = cut(gradient * np.float32(1.0 / pages))
        return OnPage(
            self.codec.roundtrip(self.points.gather(part)),
            self.codec.roundtrip(self.slice.gather(part)),
        )

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.points.bounds, self.slice.bounds)

    def spot(self, page: int, shares: Floats, delta: Floats | None = None) -> Spot:
        """An audit of one page of what was sent, the honest slice unless another is given."""
        pages = len(self.gradients)
        return compare_page(
            page,
            (shares, self.delta if delta is None else delta),
            self.on_page(self.gradients[page], pages),
            self.on_page(self.control).points,
            self.bounds,
            CONFIG.tensor_floor,
        )

    def verdict(self, page: int, shares: Floats) -> Rejection | None:
        found = self.spot(page, shares)
        return judge(found.share, GATE, LAYOUT.names)

    def off_points(self, other: Floats) -> Floats:
        """The delta with other values wherever no share says what they must add up to."""
        kept = self.points.meet(self.slice)[1]
        mixed = self.codec.roundtrip(other)
        mixed[kept] = self.delta[kept]
        return mixed


def scene(codec: Codec = Codec.BF16, pages: int = PAGES) -> Scene:
    gradients = np.stack([whole(f"page {i}") for i in range(pages)])
    points, chosen = draw(LAYOUT, bytes(range(32)), 600), select(LAYOUT, bytes(range(200, 232)))
    return Scene(codec, gradients, control_gradient(), points, chosen)
