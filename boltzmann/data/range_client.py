"""Byte ranges of files over HTTP, with one deadline over redirects, refusals and dropped lines.

urllib3 does the HTTP: kept connections, TLS, threads. The hub library's own file system was not
taken for these reads: it asks the hub for the file's place before each range, reads ahead what
nobody wants, and bounds neither a read's time nor what a server may send.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader

from boltzmann.data.patience import PATIENCE_SECONDS, Transient, persist
from boltzmann.errors import DataError

SILENCE_SECONDS = 20.0  # without one byte, or without a connection
CONTACT_SECONDS = 30.0  # for a host that has not answered once: more likely a wrong name
_PIECE = 1 << 18
_CONNECTIONS = 32  # kept per host
_PLACES = 4096  # remembered: signed addresses are long, and sets have tens of thousands of files
_REDIRECTS = 5
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_EXPIRED = frozenset({400, 401, 403, 404, 410})  # what storages say of an address past its time
_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-(?P<last>\d{1,18})/(?P<size>\d{1,18})")


class Refused(Exception):
    """The host said no, by an HTTP status, and will say so again."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers


@dataclass(frozen=True)
class Answer:
    """A body, the whole file's size (that of the body, if it was asked for whole), and its tag."""

    body: bytes
    size: int
    tag: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class _Place:
    """Where a file lies at present, and the tag that the host gave with the way there."""

    url: str
    tag: str


class RangeClient:
    """Reads files by URL. Calls may come from several threads.

    `headers` of a call go to the host of its URL only, not to where it redirects to. Where a file
    was found is remembered until that place refuses it: one request per range, not two.
    """

    def __init__(
        self, *, patience: float = PATIENCE_SECONDS, contact: float = CONTACT_SECONDS
    ) -> None:
        """`patience`: seconds for one call in all; `contact`: for one to a host never reached."""
        self._patience = patience
        self._contact = contact
        self._reached = False
        self._pool = urllib3.PoolManager(
            num_pools=8,
            maxsize=_CONNECTIONS,
            ca_certs=_authorities(),
        )
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}

    def part(self, url: str, start: int, length: int, headers: Mapping[str, str]) -> Answer:
        """`length` bytes from `start`, at least 1. Raises: Refused, DataError."""
        wanted = f"bytes={start}-{start + length - 1}"

        def attempt(until: float) -> Answer:
            answer = self._get(url, {**headers, "Range": wanted}, length, until)
            found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if found is None:
                raise DataError(
                    f"{_shown(url)}: its host does not serve parts of files (HTTP Range), so each "
                    f"page would cost a whole file: put the data on a host that does"
                )
            if int(found["last"]) < start + length - 1:  # the file ends before
                raise Refused(416, answer.headers)
            if int(found["first"]) != start or len(answer.body) != length:
                raise Transient(f"{found[0]} came in place of {wanted}")
            return Answer(answer.body, int(found["size"]), answer.tag, answer.headers)

        return persist(_shown(url), self._patience, attempt)

    def whole(self, url: str, most: int, headers: Mapping[str, str]) -> Answer:
        """A document of at most `most` bytes. Raises: Refused, DataError."""
        return persist(
            _shown(url), self._patience, lambda until: self._get(url, headers, most, until)
        )

    def _get(self, url: str, headers: Mapping[str, str], most: int, until: float) -> Answer:
        """One request, redirects followed. Raises: Transient, Refused, DataError."""
        home = urlsplit(url).netloc
        place = self._places.get(url)
        remembered = place is not None
        place = place or _Place(url, "")
        for _ in range(_REDIRECTS + 1):
            sent = dict(headers)
            if urlsplit(place.url).netloc != home:
                sent = {name: text for name, text in sent.items() if name == "Range"}
            try:
                answer = self._send(place, sent, most, until)
            except Refused as refused:
                if not (remembered and refused.status in _EXPIRED):
                    raise
                answer = _Place(url, "")
                remembered = False
            except HTTPError as error:
                with self._lock:
                    self._places.pop(url, None)  # the file may have been moved elsewhere
                within = math.inf if self._reached else self._contact
                raise Transient(f"{type(error).__name__}: {error}", within=within) from error
            if isinstance(answer, Answer):
                if place.url != url:
                    self._remember(url, place)
                return answer
            place = answer
        raise DataError(
            f"{_shown(url)} redirects more than {_REDIRECTS} times: name its last place"
        )

    def _send(
        self, place: _Place, headers: Mapping[str, str], most: int, until: float
    ) -> Answer | _Place:
        """What one address says: a body, or another address. Raises: as `_get`, and HTTPError."""
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise Transient("the time is over")
        response = self._pool.request(
            "GET",
            place.url,
            headers={**headers, "Accept-Encoding": "identity"},
            timeout=urllib3.Timeout(min(seconds, SILENCE_SECONDS)),
            redirect=False,
            retries=False,
            preload_content=False,
        )
        self._reached = True
        try:
            tag = _tag(response.headers, place)
            if response.status in (200, 206):
                # A whole file in place of a part is not read: its headers say what it is.
                ignored = "Range" in headers and response.status == 200
                body = b"" if ignored else _body(response, most, until)
                return Answer(body, len(body), tag[0], response.headers)
            left = response.length_remaining
            if left is not None and left < _PIECE:
                response.drain_conn()  # so that the connection can be used again
            if response.status in _MOVED and "Location" in response.headers:
                return _Place(urljoin(place.url, response.headers["Location"]), tag[1])
            if response.status in _BUSY:
                raise Transient(
                    f"its host answers {response.status}", wait=asked_wait(response.headers)
                )
            raise Refused(response.status, response.headers)
        finally:
            response.close()  # ends the connection, unless it was given back at the body's end

    def _remember(self, url: str, place: _Place) -> None:
        with self._lock:
            self._places[url] = place
            if len(self._places) > _PLACES:
                del self._places[next(iter(self._places))]


def _body(response: urllib3.BaseHTTPResponse, most: int, until: float) -> bytes:
    """The whole body. Raises: Transient, DataError, HTTPError."""
    pieces, received = [], 0
    while piece := response.read1(_PIECE):
        pieces.append(piece)
        received += len(piece)
        if received > most:
            raise DataError(
                f"{_shown(response.url or '')} sends more than the {most} bytes that were asked "
                f"for: its host does not keep to HTTP"
            )
        if time.monotonic() > until:
            raise Transient(f"only {received} bytes came in time")
    return b"".join(pieces)


def _tag(headers: Mapping[str, str], place: _Place) -> tuple[str, str]:
    """The file's tag, and the one that holds beyond a redirect: the hub's, by the file's digest."""
    linked = headers.get("X-Linked-Etag", "") or place.tag
    own = headers.get("ETag", "") or headers.get("Last-Modified", "")
    return (linked or own).removeprefix("W/").strip('"'), linked


def asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that a busy host asks for, by Retry-After; 0 if it does not."""
    try:
        return urllib3.Retry().parse_retry_after(headers.get("Retry-After", "0"))
    except InvalidHeader:
        return 0.0


def _authorities() -> str:
    """The certificates that boto3 trusts, so that one setting (AWS_CA_BUNDLE) is for all hosts."""
    from botocore.httpsession import get_cert_path

    return os.environ.get("AWS_CA_BUNDLE") or str(get_cert_path(True))


def _shown(url: str) -> str:
    """A URL for messages: without a query, which may hold a signature."""
    return urlsplit(url)._replace(query="", fragment="").geturl()
