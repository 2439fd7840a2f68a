"""Parquet files on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from boltzmann.data.files import FileChanged, FileFacts
from boltzmann.errors import DataError


class LocalFiles:
    """Implements `boltzmann.data.files.Files`: a folder's `*.parquet`, to any depth, or files.

    Raises: DataError if there is no file.
    """

    def __init__(self, source: Path | Sequence[Path]) -> None:
        if isinstance(source, Path) and source.is_dir():
            root, files = source, [path for path in source.rglob("*.parquet") if path.is_file()]
            if not files:
                raise DataError(f"{source} holds no *.parquet file: name the folder that does")
        else:
            files = [source] if isinstance(source, Path) else list(source)
            if not files:
                raise DataError("no Parquet file was named: name a folder or at least one file")
            root = Path(os.path.commonpath([path.parent for path in files]))
        self._root = root
        self._names = sorted(path.relative_to(root).as_posix() for path in files)

    @property
    def place(self) -> str:
        """The first files' paths."""
        shown = ", ".join(self.path(name) for name in self._names[:3])
        more = len(self._names) - 3
        return f"{shown} and {more} more files" if more > 0 else shown

    def path(self, name: str) -> str:
        """The file's path."""
        return str(self._root / name)

    def entries(self) -> tuple[FileFacts, ...]:
        """See `Files.entries`."""
        return tuple(self.look(name) for name in self._names)

    def look(self, name: str) -> FileFacts:
        """See `Files.look`; the tag is the time of the last change."""
        try:
            found = (self._root / name).stat()
        except OSError as error:
            raise self._unreadable(name, error) from error
        return FileFacts(name, found.st_size, str(found.st_mtime_ns))

    def read(self, file: FileFacts, start: int, length: int) -> bytes:
        """See `Files.read`."""
        if self.look(file.name) != file:
            raise FileChanged(f"{self.path(file.name)} has changed")
        try:
            with (self._root / file.name).open("rb") as opened:
                opened.seek(start)
                data = opened.read(length)
        except OSError as error:
            raise self._unreadable(file.name, error) from error
        if len(data) != length:
            raise FileChanged(f"{self.path(file.name)} has become shorter")
        return data

    def _unreadable(self, name: str, error: OSError) -> DataError:
        return DataError(
            f"{self.path(name)} cannot be read as Parquet ({error.strerror}): copy it again"
        )
