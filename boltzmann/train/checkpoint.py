"""A state as files: a node's own copy, the run's genesis and its epochs' checkpoints alike.

A checkpoint is a folder of safetensors shards, each named by its sha256, and `descriptor.json`,
which names them in order. The shards hold `theta.NAME`, `m.NAME`, `v.NAME` (float32) and
`counts.NAME` (int32), flat; of m, v and counts only the tensors that are not all zero. A tensor too
long for one shard comes as `NAME#0`, `NAME#1`, and so on. Which tensor lies where follows from
names, sizes and the shards' bound alone: equal states give equal bytes on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boltzmann.errors import CorruptState, StateError
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, canonical, digest
from boltzmann.protocol.fields import Fields, Malformed, is_count, is_digest
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.root import genesis_root
from boltzmann.train import shards
from boltzmann.train.folders import replaced_folder, write_synced
from boltzmann.train.state import ModelState, Position

SHARD_BYTES = 512 * 10**6  # upper bound of one shard file, header included
DESCRIPTOR = "descriptor.json"
CHECKSUM = "descriptor.sha256"  # as sha256sum writes it
_FORMAT = 1


@dataclass(frozen=True)
class Shard:
    """One file: the sha256 and the bytes of the whole of it."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Descriptor:
    """What a checkpoint holds. Digests and roots are 64 hexadecimal digits.

    `window`, `genesis`, `root` and `head` are those of the state's position; `head` is "" in the
    genesis, whose manifest names this descriptor. `layout` is a digest of the model's names,
    shapes and chunk size.
    """

    run: str
    window: int
    genesis: int
    head: str
    root: str
    layout: str
    shards: tuple[Shard, ...]

    def encode(self) -> bytes:
        """The one spelling. Raises: ValueError beyond MAX_DOCUMENT_BYTES."""
        data = canonical(
            {
                "format": _FORMAT,
                "genesis": self.genesis,
                "head": self.head,
                "layout": self.layout,
                "root": self.root,
                "run": self.run,
                "shards": [[shard.sha256, shard.size] for shard in self.shards],
                "window": self.window,
            }
        )
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ValueError(
                f"a checkpoint of {len(self.shards)} shards needs a descriptor of {len(data)} "
                f"bytes; the limit is {MAX_DOCUMENT_BYTES}: make the shards larger"
            )
        return data

    @property
    def digest(self) -> str:
        """The sha256 of the encoded descriptor: the checkpoint's name."""
        return digest(self.encode())

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)


def open_descriptor(data: bytes, run: str, window: int) -> Descriptor | Rejection:
    """The descriptor of the run's checkpoint of `window`, or why it is refused."""
    opened = _opened(data, run)
    if isinstance(opened, Descriptor) and opened.window != window:
        return Rejection(Reason.WRONG_WINDOW, f"window {opened.window}, not {window}")
    return opened


def layout_digest(state: ModelState) -> str:
    """A digest of what the coordinates mean: names, shapes, chunk size."""
    shapes = sorted((name, list(shape)) for name, shape in state.shapes.items())
    return digest(json.dumps([shapes, state.layout.chunk_size]).encode())


def write(
    state: ModelState, run: str, folder: Path, *, shard_bytes: int = SHARD_BYTES
) -> Descriptor:
    """Replace the checkpoint in `folder` with the present state; after a crash it is one or the
    other, whole.

    Raises: OSError (a full disk): the earlier one is untouched. StateError if the state holds
    nothing yet. ValueError if `shard_bytes` is too small, or above SHARD_BYTES.
    """
    if shard_bytes > SHARD_BYTES:
        raise ValueError(f"shards of {shard_bytes} bytes; readers refuse any above {SHARD_BYTES}")
    at = state.position
    if at.window < 0:
        raise StateError("there is no state to save: it has neither been reset nor loaded yet")
    with replaced_folder(folder) as fresh:
        written = shards.write(state, fresh, shard_bytes)
        descriptor = Descriptor(
            run=run,
            window=at.window,
            genesis=at.genesis,
            head=at.head,
            root=at.root.hex(),
            layout=layout_digest(state),
            shards=tuple(Shard(sha256, size) for sha256, size in written),
        )
        write_synced(fresh / CHECKSUM, f"{descriptor.digest}  {DESCRIPTOR}\n".encode())
        write_synced(fresh / DESCRIPTOR, descriptor.encode())
    return descriptor


def read(state: ModelState, folder: Path, run: str) -> Descriptor | None:
    """Load the node's own copy; None if there is none.

    Raises: CorruptState if a file is damaged, or belongs to another run or model; the state is then
    unusable until `reset` or `load`.
    """
    source = folder if folder.exists() else folder.with_suffix(".old")
    if not source.exists():
        return None
    try:
        descriptor = _read_descriptor(source, run)
        paths = [source / shard_name(shard) for shard in descriptor.shards]
        load(state, descriptor, paths)
    except (OSError, ValueError, CorruptState) as error:
        state.vacate()
        raise CorruptState(
            f"the saved state in {source} cannot be used ({error}): delete it and the node will "
            f"load the run's checkpoint instead"
        ) from error
    return descriptor


def load(state: ModelState, descriptor: Descriptor, shard_paths: Sequence[Path]) -> None:
    """Fill the state from a checkpoint's shards, in the descriptor's order.

    At most a piece of a tensor is in memory twice. Raises: CorruptState naming the shard that is
    not what the descriptor says, or if the values are not a state of the run's model. The state is
    then unusable (its head is "") until `reset` or another `load`.
    """
    state.vacate()
    if descriptor.layout != layout_digest(state):
        raise CorruptState(
            f"the checkpoint of window {descriptor.window} is of a model with other tensors or "
            f"chunks than this run's"
        )
    if len(shard_paths) != len(descriptor.shards):
        raise CorruptState(
            f"the checkpoint of window {descriptor.window} has {len(descriptor.shards)} shards, "
            f"not {len(shard_paths)}"
        )
    filler = shards.Filler(state)
    for shard, path in zip(descriptor.shards, shard_paths, strict=True):
        _require_content(shard, path)
        filler.add(path)
    filler.finish()
    if descriptor.window == descriptor.genesis:
        _require_genesis(state, descriptor, filler.holds_moments)
    root = bytes.fromhex(descriptor.root)
    state.position = Position(descriptor.head, descriptor.window, descriptor.genesis, root)


def shard_name(shard: Shard) -> str:
    """The name of a shard's file in a checkpoint's folder."""
    return f"{shard.sha256}.safetensors"


def file_sha256(path: Path) -> str:
    """A file's sha256 in hexadecimal. Raises: OSError."""
    hasher, block = hashlib.sha256(), bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            hasher.update(memoryview(block)[:count])
    return hasher.hexdigest()


def _opened(data: bytes, run: str) -> Descriptor | Rejection:
    """The descriptor of a checkpoint of the run, or why it is refused."""
    if len(data) > MAX_DOCUMENT_BYTES:
        return Rejection(Reason.WRONG_SIZE, f"a descriptor of {len(data)} bytes")
    try:
        document = json.loads(data)
        if canonical(document) != data:
            return Rejection(Reason.BAD_DOCUMENT, "not in canonical spelling")
        descriptor = _descriptor(Fields(document))
    except Malformed as error:
        return Rejection(Reason.BAD_DOCUMENT, str(error))
    except (ValueError, RecursionError):
        return Rejection(Reason.BAD_DOCUMENT, "not JSON of whole numbers and text")
    if descriptor.run != run:
        return Rejection(Reason.WRONG_RUN, repr(descriptor.run[:64]))
    return descriptor


def _descriptor(fields: Fields) -> Descriptor:
    """The descriptor in a document's fields. Raises: Malformed."""
    if fields.count("format") != _FORMAT:
        raise Malformed(f"this version reads format {_FORMAT} only")
    rows = fields.rows("shards", 2)
    if not rows or not all(is_digest(sha) and is_count(size) for sha, size in rows):
        raise Malformed("shards are not sha256 and size")
    if not all(0 < size <= SHARD_BYTES for _, size in rows):
        raise Malformed(f"a shard has more than {SHARD_BYTES} bytes or none")
    if len({sha for sha, _ in rows}) != len(rows):
        raise Malformed("a shard is named twice")
    descriptor = Descriptor(
        run=fields.name("run"),
        window=fields.count("window"),
        genesis=fields.count("genesis"),
        head=fields.digest_or_none("head"),
        root=fields.digest("root"),
        layout=fields.digest("layout"),
        shards=tuple(Shard(sha, size) for sha, size in rows),
    )
    fields.end()
    if descriptor.genesis > descriptor.window:
        raise Malformed("the genesis comes after the window")
    return descriptor


def _read_descriptor(source: Path, run: str) -> Descriptor:
    """The descriptor in a folder.

    A downloaded checkpoint's digest was compared with its manifest's; a node's own copy has its
    checksum beside it. Raises: OSError or ValueError.
    """
    data = (source / DESCRIPTOR).read_bytes()
    checksum = source / CHECKSUM
    if checksum.exists() and checksum.read_bytes()[:64] != digest(data).encode():
        raise ValueError(f"{DESCRIPTOR} has not the sha256 that {CHECKSUM} names")
    descriptor = _opened(data, run)
    if isinstance(descriptor, Rejection):
        raise ValueError(f"{DESCRIPTOR} is refused: {descriptor}")
    return descriptor


def _require_content(shard: Shard, path: Path) -> None:
    """Raises: CorruptState unless the file has the shard's size and sha256."""
    try:
        size = path.stat().st_size
        same = size == shard.size and file_sha256(path) == shard.sha256
    except OSError as error:
        raise CorruptState(f"the shard {path} cannot be read: {error}") from error
    if not same:
        raise CorruptState(
            f"the shard {path} is damaged: it has not the {shard.size} bytes of sha256 "
            f"{shard.sha256[:12]}"
        )


def _require_genesis(state: ModelState, descriptor: Descriptor, holds_moments: bool) -> None:
    """Raises: CorruptState unless the values are those of the root, and of a state before any step.

    Later roots name a history that the values alone do not tell; the descriptor's digest, which
    validators agreed on, stands for those.
    """
    which = f"the checkpoint of window {descriptor.window} says it is the run's genesis, but"
    if holds_moments:
        raise CorruptState(f"{which} holds moments or counts of steps")
    flats = [state.parameters[name].reshape(-1) for name in state.layout.names]
    root = genesis_root(state.layout.names, flats).hex()
    if root != descriptor.root:
        raise CorruptState(
            f"{which} its values give the root {root[:12]}, its descriptor names "
            f"{descriptor.root[:12]}"
        )
