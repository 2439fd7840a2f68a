"""The checkpoint's bytes: a round trip, and garbage of every kind refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save
from train_kit import SEED, TINY, parameters

from boltzmann.errors import CorruptState
from boltzmann.train import checkpoint
from boltzmann.train.model import initial_parameters

SMALL = checkpoint.encode(parameters({"a": (3,), "b.weight": (2, 5)}))


def header(**tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def test_a_model_comes_back_bit_for_bit() -> None:
    model = initial_parameters(TINY, SEED)
    decoded = checkpoint.decode(checkpoint.encode(model))
    assert set(decoded) == set(model)
    for name, array in model.items():
        assert decoded[name].dtype == np.float32
        assert np.array_equal(decoded[name], array), name


def test_the_bytes_follow_from_the_values_alone() -> None:
    model = initial_parameters(TINY, SEED)
    turned = {name: np.asfortranarray(model[name]) for name in reversed(model)}
    assert checkpoint.encode(turned) == checkpoint.encode(model)


@given(data=st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptState, match="not a safetensors file"):
        checkpoint.decode(data)


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(SMALL) - 1), st.integers(1, 255)), min_size=1, max_size=4
    ),
    cut=st.none() | st.integers(0, len(SMALL) - 1),
)
def test_damage_is_refused_or_seen_in_the_values(
    changes: list[tuple[int, int]], cut: int | None
) -> None:
    damaged = bytearray(SMALL)
    for place, mask in changes:
        damaged[place] ^= mask
    try:
        decoded = checkpoint.decode(bytes(damaged[:cut]))
    except CorruptState:
        return
    assert all(array.dtype == np.float32 for array in decoded.values())


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int32, np.uint8, np.bool_])
def test_values_that_are_not_float32_are_refused(kind: type[np.generic]) -> None:
    tensors: dict[str, NDArray[np.generic]] = {"a": np.zeros(3, kind)}
    with pytest.raises(CorruptState, match=r"checkpoint's a is .*, not float32"):
        checkpoint.decode(save(tensors))


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F999", 3])
def test_kinds_that_numpy_lacks_are_refused(kind: object) -> None:
    entry = {"dtype": kind, "shape": [2], "data_offsets": [0, 4]}
    with pytest.raises(CorruptState, match="not a safetensors file"):
        checkpoint.decode(header(a=entry) + bytes(4))
