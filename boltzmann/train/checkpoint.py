"""The initial checkpoint: θ as safetensors bytes, a format that cannot carry code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load, save

from boltzmann.errors import CorruptState

Floats = NDArray[np.float32]


def encode(parameters: Mapping[str, Floats]) -> bytes:
    """The object's bytes."""
    return save({name: np.ascontiguousarray(array) for name, array in parameters.items()})


def decode(data: bytes) -> dict[str, Floats]:
    """Tensors by name. Raises: CorruptState if the bytes are not safetensors of float32."""
    try:
        tensors = load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CorruptState(f"the checkpoint is not a safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise CorruptState(f"the checkpoint's {name} is {tensor.dtype}, not float32")
    return tensors
