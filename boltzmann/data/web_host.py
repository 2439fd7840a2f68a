"""A plain web server: one Parquet file, a folder with a listing, or a list of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin, urlsplit

from boltzmann.data.files import FileFacts, in_parallel
from boltzmann.data.range_client import RangeClient, Refused
from boltzmann.data.remote_files import look, plain_refusal
from boltzmann.errors import DataError

_MOST_LISTING = 64 << 20  # bytes of one listing
_MOST_FOLDERS = 10_000


class WebHost:
    """Implements `boltzmann.data.remote_files.Host` for `http://` and `https://` addresses.

    The address ends in `.parquet` (one file), in `.txt` (a list: one path a line, below the list's
    own folder), or is a folder whose page links to its files and folders, as web servers make them.

    Raises: DataError for an address with a query or without a host.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if not parts.hostname or parts.query or parts.fragment or parts.username:
            raise DataError(
                f"{address!r} is not the address of a folder, .parquet or .txt file: it must be "
                f"http(s)://HOST/PATH, without account, ? or #"
            )
        last = parts.path.rpartition("/")[2]
        self._single = last if last.endswith((".parquet", ".txt")) else ""
        whole = address if self._single or address.endswith("/") else f"{address}/"
        self._root = whole[: len(whole) - len(self._single)]

    @property
    def place(self) -> str:
        """The address."""
        return self._root + self._single

    def path(self, name: str) -> str:
        """The file's address."""
        return self.url(name)

    def url(self, name: str) -> str:
        """See `Host.url`."""
        return self._root + quote(name)

    def headers(self) -> Mapping[str, str]:
        """None."""
        return {}

    def otherwise(self, refused: Refused) -> bool:
        """No."""
        return False

    def refusal(self, name: str, refused: Refused) -> DataError:
        """See `Host.refusal`."""
        return plain_refusal(self.path(name), refused)

    def entries(self, client: RangeClient) -> tuple[FileFacts, ...]:
        """See `Host.entries`."""
        if self._single.endswith(".parquet"):
            names = [unquote(self._single)]
        elif self._single:
            names = self._listed(client)
        else:
            names = list(self._found(client))
        return tuple(in_parallel(lambda name: look(client, self, name), sorted(set(names))))

    def _listed(self, client: RangeClient) -> list[str]:
        lines = self._document(client, self.place).splitlines()
        return [line.strip() for line in lines if line.strip().endswith(".parquet")]

    def _found(self, client: RangeClient) -> Iterator[str]:
        """Names of all files that the folder's page, and those of folders in it, link to."""
        folders, seen = [self._root], {self._root}
        for folder in folders:
            if len(folders) > _MOST_FOLDERS:
                raise DataError(
                    f"{self.place} links to more than {_MOST_FOLDERS} folders: name one further in"
                )
            for link in _links(self._document(client, folder)):
                target = urljoin(folder, link)
                if not target.startswith(folder) or target in seen:
                    continue  # a parent, another host, or an order to sort by
                seen.add(target)
                if target.endswith("/"):
                    folders.append(target)
                elif target.endswith(".parquet"):
                    yield unquote(target[len(self._root) :])

    def _document(self, client: RangeClient, url: str) -> str:
        try:
            return client.whole(url, _MOST_LISTING, {}).body.decode("utf-8", "replace")
        except Refused as refused:
            raise plain_refusal(url, refused) from refused


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [text for name, text in attrs if tag == "a" and name == "href" and text]


def _links(page: str) -> list[str]:
    parser = _Links()
    parser.feed(page)
    return parser.found
