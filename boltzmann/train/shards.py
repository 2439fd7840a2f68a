"""A state's tensors in safetensors files of bounded size, and back.

The files are written here and not by the library: their bytes name a checkpoint, so they must not
follow a library's version, and a shard needs no copy in memory this way. Any reader of safetensors
reads them.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from boltzmann.errors import CorruptState
from boltzmann.train.state import ModelState, split

Values = NDArray[np.generic]

_TYPES = {"float32": ("F32", "<f4"), "int32": ("I32", "<i4")}
_WIDTH = 4  # bytes of one value, of either type
# Bytes of a header's entry beside its name: kind, length and places of up to 16 digits each, the
# number of a piece.
_ENTRY = 128
_HEADER = 8 + 2 + 8  # its length, the braces, padding


@dataclass(frozen=True)
class _Piece:
    """A tensor, or a part of one, as it stands in a shard."""

    name: str
    values: Values


def write(state: ModelState, folder: Path, shard_bytes: int) -> list[tuple[str, int]]:
    """Write the state's shards into a folder, synced; each one's sha256 and size, in order.

    Raises: OSError. ValueError if `shard_bytes` leaves no room for a value.
    """
    return [_write_shard(folder, pieces) for pieces in _packed(_present(state), shard_bytes)]


class Filler:
    """Puts shards' values where they belong in a vacated state.

    Raises: CorruptState, from each method, about what is not exactly a state's tensors.
    """

    def __init__(self, state: ModelState) -> None:
        self._targets = dict(_tensors(state))
        self._filled = dict.fromkeys(self._targets, 0)
        self._pieces = dict.fromkeys(self._targets, 0)

    @property
    def holds_moments(self) -> bool:
        """Whether anything but θ was filled in."""
        return any(count for name, count in self._filled.items() if not _is_theta(name))

    def add(self, path: Path) -> None:
        """Take over the tensors of the next shard."""
        try:
            # The library maps the file to check its header; the values are read straight into
            # their place, since pages of a map that were touched count as this process's memory.
            with (
                safetensors.safe_open(path, framework="numpy") as file,
                path.open("rb", buffering=0) as data,
            ):
                data.seek(8 + int.from_bytes(data.read(8), "little"))
                for name in file.offset_keys():  # in the order of the values, which have no gaps
                    self._fill(path, name, file.get_slice(name), data)
        except (OSError, safetensors.SafetensorError) as error:
            raise CorruptState(f"the shard {path} is no safetensors file: {error}") from error

    def finish(self) -> None:
        """See to it that no tensor, and no piece of one, is missing."""
        for name, target in self._targets.items():
            filled = self._filled[name]
            if filled != len(target) and (filled or _is_theta(name)):
                raise CorruptState(
                    f"the checkpoint's shards hold {filled} of the {len(target)} values of {name}"
                )

    def _fill(self, path: Path, name: str, stored: Any, data: FileIO) -> None:
        shape, kind = stored.get_shape(), stored.get_dtype()
        tensor = self._place(name)
        if tensor is None:
            raise CorruptState(f"the shard {path} holds {name}, which has no place there")
        target, start = self._targets[tensor], self._filled[tensor]
        room = len(target) - start
        if kind != _TYPES[target.dtype.name][0] or len(shape) != 1 or not 0 < shape[0] <= room:
            raise CorruptState(
                f"the shard {path} holds {name} as {kind} {shape}, not as up to {room} values of "
                f"{target.dtype}"
            )
        left = target[start : start + shape[0]].data.cast("B")
        while left:
            count = data.readinto(left)
            if not count:
                raise CorruptState(f"the shard {path} ends within {name}")
            left = left[count:]
        if sys.byteorder == "big":
            target[start : start + shape[0]].byteswap(inplace=True)
        self._filled[tensor] += shape[0]

    def _place(self, name: str) -> str | None:
        """The tensor that the next values of `name` belong to; None if they are not wanted."""
        if name in self._targets:
            return name if not self._filled[name] else None
        tensor, _, number = name.rpartition("#")
        if tensor not in self._targets or number != str(self._pieces[tensor]):
            return None
        self._pieces[tensor] += 1
        return tensor


def _tensors(state: ModelState) -> Iterator[tuple[str, Values]]:
    """Everything a state holds by its name in shards: 1-D views, in the order they are written."""
    names = state.layout.names
    for kind, flat in (("theta", state.theta), ("m", state.m), ("v", state.v)):
        for name, view in zip(names, split(flat, state.layout), strict=True):
            yield f"{kind}.{name}", view
    for name, counts in zip(names, state.counts, strict=True):
        yield f"counts.{name}", counts


def _is_theta(name: str) -> bool:
    return name.startswith("theta.")


def _present(state: ModelState) -> Iterator[_Piece]:
    """What is written: all of θ, and the rest where it is not zero.

    Zero in every bit: -0.0 is another state, with another root.
    """
    for name, values in _tensors(state):
        if _is_theta(name) or values.view(np.uint32).any():
            yield _Piece(name, values)


def _packed(whole: Iterator[_Piece], shard_bytes: int) -> Iterator[list[_Piece]]:
    """The pieces of each shard: as many as surely fit, in order."""
    pieces: list[_Piece] = []
    used = _HEADER
    for piece in chain.from_iterable(_cut(tensor, shard_bytes) for tensor in whole):
        size = _bytes(piece)
        if pieces and used + size > shard_bytes:
            yield pieces
            pieces, used = [], _HEADER
        pieces.append(piece)
        used += size
    yield pieces


def _cut(piece: _Piece, shard_bytes: int) -> Iterator[_Piece]:
    """A tensor in pieces that fit a shard each: itself, if it does. Raises: ValueError."""
    if _HEADER + _bytes(piece) <= shard_bytes:
        yield piece
        return
    room = (shard_bytes - _HEADER - _entry_bytes(piece.name)) // _WIDTH
    if room < 1:
        raise ValueError(f"shards of {shard_bytes} bytes have no room for a value of {piece.name}")
    for number, start in enumerate(range(0, len(piece.values), room)):
        yield _Piece(f"{piece.name}#{number}", piece.values[start : start + room])


def _bytes(piece: _Piece) -> int:
    """An upper bound of what a piece takes in a shard."""
    return _entry_bytes(piece.name) + piece.values.nbytes


def _entry_bytes(name: str) -> int:
    return len(json.dumps(name)) + _ENTRY


def _write_shard(folder: Path, pieces: Sequence[_Piece]) -> tuple[str, int]:
    """Write one shard and name it by its content; its sha256 and size."""
    hasher, size = hashlib.sha256(), 0
    parts: list[bytes | memoryview] = [_header(pieces), *map(_data, pieces)]
    unnamed = folder / "shard.part"
    with unnamed.open("wb") as file:
        for data in parts:
            hasher.update(data)
            size += file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unnamed.rename(folder / f"{hasher.hexdigest()}.safetensors")
    return hasher.hexdigest(), size


def _header(pieces: Sequence[_Piece]) -> bytes:
    """A safetensors file's header, padded so that the values are aligned."""
    entries: dict[str, object] = {}
    end = 0
    for piece in pieces:
        start, end = end, end + piece.values.nbytes
        entries[piece.name] = {
            "dtype": _TYPES[piece.values.dtype.name][0],
            "shape": [len(piece.values)],
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _data(piece: _Piece) -> memoryview:
    """The values' little-endian bytes: no copy on a little-endian machine."""
    kind = _TYPES[piece.values.dtype.name][1]
    return np.ascontiguousarray(piece.values, kind).data.cast("B")
