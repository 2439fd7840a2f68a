"""What the tests of training share: a tiny model, a state, updates, and pictures of a state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from sysconfig import get_path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from boltzmann.config import ModelConfig
from boltzmann.protocol.outer import OuterConfig
from boltzmann.protocol.slices import Layout, Slice, select
from boltzmann.train.model import initial_parameters, parameter_shapes
from boltzmann.train.state import ModelState, Position

Floats = NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]

SEED = bytes(range(32))
RUN = "run-1"
GENESIS = "9e" * 32  # the head of a state at its genesis
OUTER = OuterConfig(
    schedule=((0, 0.01), (3, 0.05), (9, 0.02)), beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.01
)
TINY = ModelConfig(
    vocab_size=40,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)
TIED = ModelConfig(**{**vars(TINY), "tie_word_embeddings": True})
COMPILES = which("g++") is not None and Path(get_path("include"), "Python.h").exists()
COMPILER = pytest.mark.skipif(
    not COMPILES, reason="torch.compile needs g++ and Python's headers on a CPU"
)
BOTH = pytest.mark.parametrize("config", [TINY, TIED], ids=["untied", "tied"])
SHAPES: Shapes = {"a": (3,), "b.weight": (5, 7), "c": (4, 4)}


def numbers(label: str, count: int) -> Floats:
    """`count` float32 numbers in ±1 with all bits in use, the same on every machine."""
    data = hashlib.shake_256(label.encode()).digest(4 * count)
    return (np.frombuffer(data, "<i4") / 2**31).astype(np.float32)


def parameters(shapes: Shapes, label: str = "theta") -> dict[str, Floats]:
    return {
        name: numbers(f"{label} {name}", int(np.prod(shape))).reshape(shape)
        for name, shape in shapes.items()
    }


def new_state(
    folder: Path, shapes: Shapes, *, chunk_size: int = 8, slice_ratio: int = 2, history: int = 8
) -> ModelState:
    """A state at a genesis of window 0."""
    layout = Layout.of(shapes, chunk_size, slice_ratio)
    state = ModelState(layout, shapes, OUTER, folder / "undo", history)
    state.reset(parameters(shapes), GENESIS, 0)
    return state


def model_state(folder: Path, config: ModelConfig = TINY) -> ModelState:
    """A state that holds a freshly initialised model."""
    shapes = parameter_shapes(config)
    state = ModelState(Layout.of(shapes, 16, 2), shapes, OUTER, folder / "undo", 4)
    state.reset(initial_parameters(config, SEED), GENESIS, 0)
    return state


@dataclass(frozen=True)
class Update:
    """One window's aggregate, as a node takes it."""

    window: int
    chosen: Slice
    values: Floats

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.values.astype("<f4").tobytes()).hexdigest()

    def apply_to(self, state: ModelState) -> bytes:
        root = state.apply(self.chosen, self.values.copy(), self.sha256, self.window)
        state.confirm(hashlib.sha256(f"head {self.window} {self.sha256}".encode()).hexdigest())
        return root


def update(layout: Layout, window: int, label: str = "") -> Update:
    chosen = select(layout, hashlib.sha256(f"close {window} {label}".encode()).digest())
    return Update(window, chosen, numbers(f"update {window} {label}", chosen.size))


def state_after(folder: Path, windows: int, shapes: Shapes = SHAPES) -> ModelState:
    state = new_state(folder, shapes)
    for window in range(1, windows + 1):
        update(state.layout, window).apply_to(state)
    return state


def another(folder: Path, shapes: Shapes = SHAPES) -> ModelState:
    """A state that has seen another update, so that nothing of it is right by chance."""
    state = new_state(folder / "another", shapes)
    update(state.layout, 9, "elsewhere").apply_to(state)
    return state


@dataclass(frozen=True)
class Picture:
    """Every bit of a state."""

    theta: bytes
    m: bytes
    v: bytes
    counts: tuple[bytes, ...]
    position: Position


def picture(state: ModelState) -> Picture:
    return Picture(
        state.theta.tobytes(),
        state.m.tobytes(),
        state.v.tobytes(),
        tuple(counts.tobytes() for counts in state.counts),
        state.position,
    )


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of one page."""

    tokens: NDArray[np.int64]


def token_batch(label: str, sequences: int, length: int = 12) -> Tokens:
    data = hashlib.shake_256(label.encode()).digest(sequences * length)
    ids = np.frombuffer(data, np.uint8).astype(np.int64) % TINY.vocab_size
    return Tokens(ids.reshape(sequences, length))


def logits(model: torch.nn.Module) -> torch.Tensor:
    """What the model says of one batch that is always the same."""
    with torch.no_grad():
        found = model(input_ids=torch.from_numpy(token_batch("probe", 2).tokens)).logits
    assert isinstance(found, torch.Tensor)
    return found


def positions_of(chosen: Slice) -> NDArray[np.int64]:
    """Where in the flat θ each of the slice's values belongs, `[size] int64`."""
    layout, start = chosen.layout, 0
    flats: list[Floats] = []
    for size in layout.sizes:
        flats.append(np.arange(start, start + size, dtype=np.float32))
        start += size
    assert start < 2**24  # exact in float32
    return chosen.gather(flats).astype(np.int64)


def chunk_numbers(layout: Layout) -> NDArray[np.int64]:
    """The number, over all tensors, of the chunk that each coordinate lies in, `[total] int64`."""
    parts: Sequence[NDArray[np.int64]] = [
        np.arange(size, dtype=np.int64) // layout.chunk_size for size in layout.sizes
    ]
    firsts = np.cumsum([0, *(layout.chunks(i) for i in range(len(layout.sizes)))])
    return np.concatenate([part + first for part, first in zip(parts, firsts[:-1], strict=True)])
