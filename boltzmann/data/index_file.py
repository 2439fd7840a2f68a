"""An index kept on disk, so that the footers of a set are read once on each machine."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from boltzmann.data.files import FileFacts
from boltzmann.data.index import Index, IndexedFile
from boltzmann.errors import DataError

_FORMAT = 1
_ARRAYS = (
    ("file_groups", "<i8"),
    ("row_starts", "<i8"),
    ("chunk_starts", "<i8"),
    ("chunk_bytes", "<i8"),
    ("codecs", "u1"),
)


def cache_folder() -> Path:
    """Where indexes are kept: `boltzmann/data` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "boltzmann" / "data"


def index_path(folder: Path, source: str, column: str) -> Path:
    """The file of one source's index."""
    name = hashlib.sha256(json.dumps([source, column]).encode()).hexdigest()
    return folder / f"{name[:32]}.index"


def save_index(path: Path, index: Index) -> None:
    """Put the index in place at once or not at all.

    The file is a line with the SHA-256 of the rest, a line of JSON, and the arrays, little-endian.
    Raises: DataError if it cannot be written.
    """
    header = {
        "format": _FORMAT,
        "column": index.column,
        "files": [
            [*vars(file.facts).values(), file.footer_sha256.hex(), file.nullable]
            for file in index.files
        ],
        "lengths": [len(getattr(index, name)) for name, _ in _ARRAYS],
    }
    arrays = [getattr(index, name).astype(kind).tobytes() for name, kind in _ARRAYS]
    body = b"".join([json.dumps(header).encode(), b"\n", *arrays])
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(
            f"the dataset's index cannot be kept at {path} ({error.strerror}): free space there, "
            f"or set XDG_CACHE_HOME to another folder"
        ) from error


def load_index(path: Path) -> Index | None:
    """The index at `path`; None if there is none, or it is damaged or of another version.

    Raises: DataError if it is there but may not be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"the dataset's index {path} cannot be read ({error.strerror}): remove it, or set "
            f"XDG_CACHE_HOME to another folder"
        ) from error
    digest, _, body = content.partition(b"\n")
    if digest.decode("ascii", "replace") != hashlib.sha256(body).hexdigest():
        return None
    line, _, arrays = body.partition(b"\n")
    header = json.loads(line)
    return _index(header, arrays) if header["format"] == _FORMAT else None


def _index(header: dict[str, Any], arrays: bytes) -> Index:
    """What `save_index` wrote: its digest is right, so nothing is checked again."""
    read, offset = {}, 0
    for (name, kind), length in zip(_ARRAYS, header["lengths"], strict=True):
        read[name] = np.frombuffer(arrays, kind, length, offset).astype(kind[-2:])
        offset += read[name].nbytes
    files = tuple(
        IndexedFile(FileFacts(name, size, tag), bytes.fromhex(sha256), nullable)
        for name, size, tag, sha256, nullable in header["files"]
    )
    return Index(header["column"], files, **read)
