"""A node's own copy of its state on disk: written aside, then renamed: whole or not there."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boltzmann.errors import CorruptState
from boltzmann.train.state import ModelState, Position

_ARRAYS = ("theta", "m", "v", "counts")


def save(state: ModelState, folder: Path) -> None:
    """Replace the snapshot in `folder` with the present state. Raises: OSError (a full disk)."""
    fresh, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    arrays = _arrays(state)
    for name, array in arrays.items():
        np.save(fresh / f"{name}.npy", array, allow_pickle=False)
    at = state.position
    meta = {
        "head": at.head,
        "window": at.window,
        "genesis": at.genesis,
        "root": at.root.hex(),
        "sha256": {name: _sha256(array) for name, array in arrays.items()},
    }
    (fresh / "meta.json").write_text(json.dumps(meta, indent=1))
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
        meta = json.loads((source / "meta.json").read_text())
        position = Position(
            meta["head"], meta["window"], meta["genesis"], bytes.fromhex(meta["root"])
        )
        for name in _ARRAYS:
            _fill(state, name, np.load(source / f"{name}.npy", allow_pickle=False), meta["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptState(
            f"the state snapshot in {source} cannot be used ({error}); delete it and the node "
            f"will load the run's checkpoint instead"
        ) from error
    state.position = position
    return True


def _arrays(state: ModelState) -> dict[str, NDArray[np.generic]]:
    counts = np.concatenate(state.counts)
    return {"theta": state.theta, "m": state.m, "v": state.v, "counts": counts}


def _fill(
    state: ModelState, name: str, array: NDArray[np.generic], digests: dict[str, str]
) -> None:
    if _sha256(array) != digests[name]:
        raise ValueError(f"{name}.npy has not the sha256 that meta.json names")
    if name == "counts":
        ends = np.cumsum([len(counts) for counts in state.counts])
        for counts, part in zip(state.counts, np.split(array, ends[:-1]), strict=True):
            counts[:] = part
    else:
        getattr(state, name)[:] = array


def _sha256(array: NDArray[np.generic]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
