"""Gradients that stay on the device until it is known which few of their values are wanted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray

from boltzmann.protocol.points import Points
from boltzmann.protocol.slices import Slice

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class Away(Sequence[Floats]):
    """1-D float32 tensors in sorted name order that lie elsewhere; an item is copied to here."""

    @overload
    def __getitem__(self, index: int) -> Floats: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Floats]: ...
    def __getitem__(self, index: int | slice) -> Floats | Sequence[Floats]:
        if isinstance(index, slice):
            return [self._one(number) for number in range(len(self))[index]]
        return self._one(range(len(self))[index])

    @abstractmethod
    def _one(self, index: int) -> Floats:
        """A copy of one tensor."""

    @abstractmethod
    def on_slice(self, chosen: Slice) -> Floats:
        """The slice's values `[size] float32`."""

    @abstractmethod
    def on_points(self, points: Points) -> Floats:
        """The points' values `[size] float32`."""


class DeviceTensors(Away):
    """Tensors on a GPU.

    A window exchanges one value in a hundred: only those cross to the host.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = tuple(tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _one(self, index: int) -> Floats:
        found: Floats = self._tensors[index].cpu().numpy()
        return found

    def on_slice(self, chosen: Slice) -> Floats:
        return self._take([chosen.places(tensor) for tensor in range(len(self))])

    def on_points(self, points: Points) -> Floats:
        return self._take(points.chosen)

    def _take(self, places: Sequence[Places]) -> Floats:
        found = [
            tensor[torch.from_numpy(at).to(tensor.device)]
            for tensor, at in zip(self._tensors, places, strict=True)
        ]
        values: Floats = torch.cat(found).cpu().numpy()
        return values
