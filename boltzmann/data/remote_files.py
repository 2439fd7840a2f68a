"""Parquet files on a host that speaks HTTP: a web server, an S3 service, the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from boltzmann.data.files import FileChanged, FileFacts
from boltzmann.data.range_client import Answer, RangeClient, Refused
from boltzmann.errors import DataError

_LOOK_BYTES = 4  # of a file, to learn its size and tag: HEAD is refused by some hosts


class Host(Protocol):
    """What one kind of host does its own way. `name`: a file's, below the folder."""

    @property
    def place(self) -> str:
        """What messages call the folder."""
        ...

    def path(self, name: str) -> str:
        """What messages call one file."""
        ...

    def entries(self, client: RangeClient) -> tuple[FileFacts, ...]:
        """The files, in the order of their names; none is allowed. Raises: DataError."""
        ...

    def url(self, name: str) -> str:
        """Where one file is read from now."""
        ...

    def headers(self) -> Mapping[str, str]:
        """What goes with every request to `url`."""
        ...

    def otherwise(self, refused: Refused) -> bool:
        """Whether a file that was refused may be asked for once more, now in another way."""
        ...

    def refusal(self, name: str, refused: Refused) -> DataError:
        """What is said when the host does not give a file."""
        ...


class RemoteFiles:
    """Implements `boltzmann.data.files.Files`."""

    def __init__(self, host: Host, client: RangeClient | None = None) -> None:
        self._host = host
        self._client = client or RangeClient()

    @property
    def place(self) -> str:
        """See `Files.place`."""
        return self._host.place

    def path(self, name: str) -> str:
        """See `Files.path`."""
        return self._host.path(name)

    def entries(self) -> tuple[FileFacts, ...]:
        """See `Files.entries`."""
        files = self._host.entries(self._client)
        if not files:
            raise DataError(f"{self.place} holds no *.parquet file: name the folder that does")
        return files

    def look(self, name: str) -> FileFacts:
        """See `Files.look`."""
        return look(self._client, self._host, name)

    def read(self, file: FileFacts, start: int, length: int) -> bytes:
        """See `Files.read`."""
        path = self.path(file.name)
        try:
            answer = _part(self._client, self._host, file.name, start, length)
        except Refused as refused:
            if refused.status == 416:
                raise FileChanged(f"{path} has become shorter") from refused
            raise self._host.refusal(file.name, refused) from refused
        if answer.size != file.size or (file.tag and answer.tag and answer.tag != file.tag):
            raise FileChanged(f"{path} has changed")
        return answer.body


def look(client: RangeClient, host: Host, name: str) -> FileFacts:
    """A file's size and tag, by a read of its first bytes. Raises: DataError."""
    try:
        answer = _part(client, host, name, 0, _LOOK_BYTES)
    except Refused as refused:
        if refused.status == 416:
            raise DataError(
                f"{host.path(name)} is cut short or not a Parquet file: copy it again"
            ) from refused
        raise host.refusal(name, refused) from refused
    return FileFacts(name, answer.size, answer.tag)


def plain_refusal(path: str, refused: Refused) -> DataError:
    """What is said of a file or page that a host without gates of its own does not give."""
    if refused.status in (401, 403):
        return DataError(
            f"{path} is not for everybody (its host answers {refused.status}): make it public, or "
            f"read the run's data from a copy that is"
        )
    if refused.status in (404, 410):
        return DataError(
            f"{path} is not there (its host answers {refused.status}): put the file back, or "
            f"correct the address"
        )
    return DataError(
        f"{path} is not given (its host answers {refused.status}): ask whoever keeps the data"
    )


def _part(client: RangeClient, host: Host, name: str, start: int, length: int) -> Answer:
    """Part of a file. Raises: Refused, DataError."""
    try:
        return client.part(host.url(name), start, length, host.headers())
    except Refused as refused:
        if not host.otherwise(refused):
            raise
    return client.part(host.url(name), start, length, host.headers())
