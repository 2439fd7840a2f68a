"""The consensus state: θ, m, v, step counts and root, with an undo log on disk.

The log keeps the touched coordinates' old values, so a window that the chain decided otherwise can
be taken back bit for bit, and an audit of the last window can look at the parameters as they were.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from boltzmann.errors import NoRoom, StateError
from boltzmann.protocol.outer import OuterConfig, Powers, Step, learning_rate
from boltzmann.protocol.root import RootHasher, genesis_root
from boltzmann.protocol.slices import Layout, Slice

Floats = NDArray[np.float32]

_PIECE = 1 << 16  # coordinates handled at a time: their copies stay in the cache


@dataclass(frozen=True)
class Position:
    """Where a state stands in the manifest chain.

    `head`: digest of the last applied manifest; `window`: its window; `genesis`: the window of the
    genesis manifest; `root`: 32 bytes.
    """

    head: str
    window: int
    genesis: int
    root: bytes


@dataclass(frozen=True)
class _Undo:
    """The way back to `before`; `crc32` is of the log's whole content."""

    before: Position
    slice: Slice
    path: Path
    crc32: int


class ModelState:
    """One node's consensus state. Not thread-safe: one thread works on it at a time."""

    def __init__(
        self,
        layout: Layout,
        shapes: Mapping[str, tuple[int, ...]],
        outer: OuterConfig,
        undo_folder: Path,
        history: int,
        pinned: bool = False,
    ) -> None:
        """`pinned`: θ lies where a GPU reads it at full speed, which takes a GPU."""
        self.layout = layout
        self.shapes = shapes
        self.position = Position("", -1, -1, bytes(32))
        self.changes = 0  # of θ so far; who holds a copy sees whether it is up to date
        self.theta = _pinned_zeros(layout.total) if pinned else np.zeros(layout.total, np.float32)
        self.m = np.zeros(layout.total, np.float32)
        self.v = np.zeros(layout.total, np.float32)
        self.counts = [
            np.zeros(layout.chunks(tensor), np.int32) for tensor in range(len(layout.sizes))
        ]
        self._outer = outer
        self._powers = (Powers(outer.beta1), Powers(outer.beta2))
        self._views = {id(flat): split(flat, layout) for flat in (self.theta, self.m, self.v)}
        self._undo: deque[_Undo] = deque()
        self._history = history
        self._folder = undo_folder
        undo_folder.mkdir(parents=True, exist_ok=True)
        for old in undo_folder.glob("*.undo"):  # an earlier process's: nothing leads to them
            old.unlink()

    @property
    def parameters(self) -> dict[str, Floats]:
        """θ by name, in its tensors' shapes: views, not copies."""
        flats = self._tensors(self.theta)
        return {
            name: flat.reshape(self.shapes[name])
            for name, flat in zip(self.layout.names, flats, strict=True)
        }

    def reset(self, parameters: Mapping[str, Floats], head: str, window: int) -> None:
        """Become the genesis state: θ as given, m, v and counts zero.

        Raises: StateError if names or shapes are not the run's.
        """
        shapes = {name: tuple(array.shape) for name, array in parameters.items()}
        if shapes != dict(self.shapes):
            raise StateError("the checkpoint's tensors are not the ones of the run's model")
        self.vacate()
        for name, flat in zip(self.layout.names, self._tensors(self.theta), strict=True):
            flat[:] = parameters[name].reshape(-1)
        root = genesis_root(self.layout.names, self._tensors(self.theta))
        self.position = Position(head, window, window, root)

    def vacate(self) -> None:
        """Become no state at all, to be filled anew: m, v and counts zero, nothing to go back to.

        θ is left for the caller, who overwrites all of it.
        """
        self.changes += 1
        self.position = Position("", -1, -1, bytes(32))
        self._forget(keep=0)
        self.m[:] = 0.0
        self.v[:] = 0.0
        for counts in self.counts:
            counts[:] = 0

    def apply(self, chosen: Slice, values: Floats, update_sha256: str, window: int) -> bytes:
        """Take one outer step with the update's values `[slice size] float32`; the new root.

        The old values go to the undo log first. The new head is set by `confirm` once the
        manifest that names this root is known.

        Raises: StateError if the log cannot be written; the state is unusable until `reset`.
        """
        before = self.position
        # Headless while it changes: a state that was left half-way is neither saved nor followed.
        self.position = replace(before, head="")
        path = self._folder / f"{window}.undo"
        step = Step(
            learning_rate(self._outer.schedule, window - before.genesis), self._outer, *self._powers
        )
        hasher = RootHasher(before.root, update_sha256)
        try:
            with path.open("wb") as log:
                crc32 = self._step(chosen, values, step, hasher, log)
        except OSError as error:
            self._forget(keep=0)  # what it leads back from is no longer there
            raise NoRoom(
                f"the undo log {path} cannot be written ({error}): make room there; the saved "
                f"state is untouched"
            ) from error
        self._undo.append(_Undo(before, chosen, path, crc32))
        self._forget(keep=self._history)
        self.position = Position("", window, before.genesis, hasher.root())
        return self.position.root

    def _step(
        self, chosen: Slice, values: Floats, step: Step, hasher: RootHasher, log: BinaryIO
    ) -> int:
        """Write each piece's old values to the log, then its new ones; the log's CRC-32."""
        crc32 = 0
        for tensor, chunks, start, end in self._pieces(chosen):
            old = [
                chosen.rows(self._tensors(flat)[tensor], tensor, chunks)
                for flat in (self.theta, self.m, self.v)
            ]
            for rows in old:
                log.write(rows.data)
                crc32 = zlib.crc32(rows.data, crc32)
            self.counts[tensor][chunks] += 1
            gradient = values[start:end].reshape(old[0].shape)
            step.apply(old[0], old[1], old[2], gradient, self.counts[tensor][chunks])
            self._write(chosen, tensor, chunks, old)
            hasher.add(old[0], old[1], old[2])
        return crc32

    def confirm(self, head: str) -> None:
        """Name the manifest that the state now stands at."""
        self.position = replace(self.position, head=head)

    @property
    def can_undo(self) -> bool:
        """Whether the log leads back from the last applied window."""
        return bool(self._undo)

    def undo(self) -> None:
        """Take back the last applied window.

        Raises: StateError if the log holds none, is not there or is damaged. The state is as it
        was if damage shows before the first value is written, else unusable until `reset`.
        """
        if not self._undo:
            raise StateError("the undo log is empty: reload the state from a checkpoint")
        entry = self._undo[-1]
        for tensor, chunks, rows in self._logged(entry):
            # Headless while it changes, as in `apply`.
            self.position = replace(self.position, head="")
            self._write(entry.slice, tensor, chunks, rows)
            self.counts[tensor][chunks] -= 1
        self._undo.pop()
        _remove(entry.path)
        self.position = entry.before

    @property
    def heads(self) -> tuple[str, ...]:
        """The digests this state stands at, or can go back to with `undo`; newest first."""
        positions = [self.position, *(entry.before for entry in reversed(self._undo))]
        return tuple(position.head for position in positions if position.head)

    def reaches(self, root: bytes) -> bool:
        """Whether the log leads back to the state of this root."""
        return self._since(root) is not None

    @contextmanager
    def parameters_at(self, root: bytes) -> Iterator[None]:
        """θ as it was in the state of this root, for the time of the block.

        Raises: StateError if that is not among those the log leads back to, or a log is not there
        or is damaged; the state is then as it was.
        """
        entries = self._since(root)
        if entries is None:
            raise StateError(f"the parameters of root {root.hex()[:12]} are not at hand")
        with contextlib.ExitStack() as stack:
            for entry in entries:
                stack.enter_context(self._without(entry))
            yield

    def _since(self, root: bytes) -> list[_Undo] | None:
        """The log's entries after the state of this root, newest first; None if it knows none."""
        entries, at = [], self.position.root
        for entry in reversed(self._undo):
            if at == root:
                break
            entries.append(entry)
            at = entry.before.root
        return entries if at == root else None

    @contextmanager
    def _without(self, entry: _Undo) -> Iterator[None]:
        """θ without what one entry's window has changed, for the time of the block."""
        theta = self._tensors(self.theta)
        present: list[Floats] = []
        try:
            self.changes += 1
            for tensor, chunks, rows in self._logged(entry):
                present.append(entry.slice.rows(theta[tensor], tensor, chunks))
                entry.slice.set_rows(theta[tensor], tensor, chunks, rows[0])
            yield
        finally:
            self.changes += 1
            # A damaged log ends early: only the pieces it reached have to be put back.
            for (tensor, chunks, _, _), back in zip(
                self._pieces(entry.slice), present, strict=False
            ):
                entry.slice.set_rows(theta[tensor], tensor, chunks, back)

    def _logged(self, entry: _Undo) -> Iterator[tuple[int, NDArray[np.int64], list[Floats]]]:
        """(tensor, chunks, old rows of θ, m, v) of each piece.

        Raises: StateError, before the first piece if the log is not there or has another size,
        after the last one if it has another content; the log then leads nowhere any more.
        """
        crc32 = 0
        try:
            with entry.path.open("rb") as log:
                size = os.fstat(log.fileno()).st_size
                if size != 12 * entry.slice.size:
                    raise self._damaged(entry, f"has {size} bytes, not {12 * entry.slice.size}")
                for tensor, chunks, start, end in self._pieces(entry.slice):
                    data = log.read(12 * (end - start))
                    if len(data) != 12 * (end - start):
                        raise self._damaged(entry, "was cut short while it was read")
                    crc32 = zlib.crc32(data, crc32)
                    rows = np.frombuffer(data, np.float32).reshape(3, len(chunks), -1)
                    yield tensor, chunks, list(rows)
        except OSError as error:
            raise self._damaged(entry, f"cannot be read ({error})") from error
        if crc32 != entry.crc32:
            raise self._damaged(entry, "does not hold what was written to it")

    def _damaged(self, entry: _Undo, fact: str) -> StateError:
        self._forget(keep=0)
        return StateError(
            f"the undo log {entry.path} {fact}: start again, and the node loads its saved state or "
            f"the run's checkpoint"
        )

    def _pieces(self, chosen: Slice) -> Iterator[tuple[int, NDArray[np.int64], int, int]]:
        """(tensor, chunks, start, end): each piece and where its values lie in the slice."""
        per_piece = max(1, _PIECE // self.layout.chunk_size)
        for tensor in range(len(self.layout.sizes)):
            start = chosen.bounds[tensor]
            for chunks in chosen.pieces(tensor, per_piece):
                end = min(start + len(chunks) * self.layout.chunk_size, chosen.bounds[tensor + 1])
                yield tensor, chunks, start, end
                start = end

    def _write(
        self, chosen: Slice, tensor: int, chunks: NDArray[np.int64], rows: Sequence[Floats]
    ) -> None:
        self.changes += 1
        for flat, values in zip((self.theta, self.m, self.v), rows, strict=True):
            chosen.set_rows(self._tensors(flat)[tensor], tensor, chunks, values)

    def _tensors(self, flat: Floats) -> list[Floats]:
        return self._views[id(flat)]

    def _forget(self, keep: int) -> None:
        while len(self._undo) > keep:
            _remove(self._undo.popleft().path)


def _remove(log: Path) -> None:
    """Delete a log that nothing leads to any more; one that stays is deleted at the next start."""
    with contextlib.suppress(OSError):
        log.unlink()


def _pinned_zeros(count: int) -> Floats:
    import torch  # takes seconds, and only a GPU's owner needs it here

    zeros: Floats = torch.zeros(count, pin_memory=True).numpy()
    return zeros


def split(flat: Floats, layout: Layout) -> list[Floats]:
    """1-D views of each tensor in a flat vector."""
    ends = np.cumsum(layout.sizes)
    return [flat[end - size : end] for end, size in zip(ends, layout.sizes, strict=True)]
