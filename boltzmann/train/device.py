"""Gradients that stay on the device until it is known which few of their values are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray

from boltzmann.protocol.points import Points
from boltzmann.protocol.slices import Slice

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class DeviceTensors(Sequence[Floats]):
    """1-D float32 tensors on a device, in sorted name order; an item is copied to the host.

    A window exchanges one value in a hundred: only those cross to the host.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = tuple(tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @overload
    def __getitem__(self, index: int) -> Floats: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Floats]: ...
    def __getitem__(self, index: int | slice) -> Floats | Sequence[Floats]:
        if isinstance(index, slice):
            return [tensor.cpu().numpy() for tensor in self._tensors[index]]
        found: Floats = self._tensors[index].cpu().numpy()
        return found

    def on_slice(self, chosen: Slice) -> Floats:
        """The slice's values `[size] float32`."""
        return self._take([chosen.places(tensor) for tensor in range(len(self))])

    def on_points(self, points: Points) -> Floats:
        """The points' values `[size] float32`."""
        return self._take(points.chosen)

    def _take(self, places: Sequence[Places]) -> Floats:
        found = [
            tensor[torch.from_numpy(at).to(tensor.device)]
            for tensor, at in zip(self._tensors, places, strict=True)
        ]
        values: Floats = torch.cat(found).cpu().numpy()
        return values
