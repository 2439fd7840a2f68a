"""A node's own copy of its state on disk: written aside, then renamed: whole or not there.

Arrays are bare values: a file format's header would be one more thing that a flipped bit changes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boltzmann.errors import CorruptState
from boltzmann.train.state import ModelState, Position


def save(state: ModelState, folder: Path) -> None:
    """Replace the snapshot in `folder` with the present state. Raises: OSError (a full disk)."""
    fresh, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    arrays = _arrays(state)
    for name, array in arrays.items():
        array.tofile(fresh / name)
    at = state.position
    meta = {
        "head": at.head,
        "window": at.window,
        "genesis": at.genesis,
        "root": at.root.hex(),
        "layout": _layout(state),
        "sha256": {name: _sha256(array) for name, array in arrays.items()},
    }
    whole = {"meta": meta, "sha256": _digest(meta)}
    (fresh / "meta.json").write_text(json.dumps(whole, indent=1))
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(state: ModelState, folder: Path) -> bool:
    """Fill the state from a snapshot; False if there is none.

    Raises: CorruptState if a file is damaged or belongs to another model; the state is then
    unusable until `reset`.
    """
    source = folder if folder.exists() else folder.with_suffix(".old")
    if not source.exists():
        return False
    try:
        meta = _meta(state, source)
        position = Position(
            meta["head"], meta["window"], meta["genesis"], bytes.fromhex(meta["root"])
        )
        for name, own in _arrays(state).items():
            # Mapped, so that no second copy of the state is ever in memory.
            stored = np.memmap(source / name, own.dtype, "r")
            if stored.shape != own.shape or _sha256(stored) != meta["sha256"][name]:
                raise ValueError(f"{name} has not the size and sha256 that meta.json names")
            _fill(state, name, stored)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptState(
            f"the state snapshot in {source} cannot be used ({error}); delete it and the node "
            f"will load the run's checkpoint instead"
        ) from error
    state.position = position
    return True


def _meta(state: ModelState, source: Path) -> dict[str, Any]:
    """What meta.json says. Raises: ValueError if it is damaged or about another model."""
    stored = json.loads((source / "meta.json").read_text())
    meta: dict[str, Any] = stored["meta"]
    if stored["sha256"] != _digest(meta):
        raise ValueError("meta.json has not the sha256 that it names")
    if meta["layout"] != _layout(state):
        raise ValueError("it is of a model with other tensors or chunks")
    return meta


def _layout(state: ModelState) -> str:
    """A digest of what the arrays' coordinates mean: names, shapes, chunk size."""
    shapes = sorted((name, list(shape)) for name, shape in state.shapes.items())
    return _digest([shapes, state.layout.chunk_size])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _arrays(state: ModelState) -> dict[str, NDArray[np.generic]]:
    counts = np.concatenate(state.counts)
    return {"theta": state.theta, "m": state.m, "v": state.v, "counts": counts}


def _fill(state: ModelState, name: str, array: NDArray[np.generic]) -> None:
    if name == "counts":
        ends = np.cumsum([len(counts) for counts in state.counts])
        for counts, part in zip(state.counts, np.split(array, ends[:-1]), strict=True):
            counts[:] = part
    else:
        getattr(state, name)[:] = array


def _sha256(array: NDArray[np.generic]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
