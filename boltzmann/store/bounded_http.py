"""One HTTP GET with a deadline around all of it, for servers that other people chose.

boto3 signs and retries well but does not bound what a hostile server does. Measured with an
unsigned client (botocore 1.44): a status 500 with a body of 400 MB took 1.6 GB of memory, headers
sent one byte at a time outlast every read timeout, a malformed `Last-Modified` raises a bare
ValueError. An unsigned S3 read is a plain GET, so peers' buckets are read with the standard
library: each receive waits for at most the time that is left, no error body is read, no redirect
followed, nothing inflated. The look-up of a host name has the resolver's own bounds only. A read
with a private bucket's keys is the same GET with the headers that botocore signs.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.store.address import BucketAddress
from boltzmann.store.reach import Reach
from boltzmann.store.signing import signature

NETWORK_ERRORS = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Deadline:
    """A moment of the monotonic clock, in its seconds."""

    at: float

    @staticmethod
    def after(seconds: float) -> Deadline:
        """The moment `seconds` from now."""
        return Deadline(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds left, above 0. Raises: TimeoutError when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the whole read is over")
        return left


@dataclass(frozen=True)
class Body:
    """An object's body, not read yet, and the length its server declared."""

    length: int
    stream: http.client.HTTPResponse


@dataclass(frozen=True)
class Fetcher:
    """Opens objects of buckets within `reach`. `connect_seconds` bounds the connection by
    itself."""

    tls: ssl.SSLContext
    connect_seconds: float
    reach: Reach

    @contextlib.contextmanager
    def open(
        self, address: BucketAddress, key: str, deadline: Deadline
    ) -> Iterator[Body | Rejection]:
        """The body of `key`, for as long as the context lasts.

        Raises: one of NETWORK_ERRORS, which `refusal` makes a Rejection of.
        """
        with self._connect(address, deadline) as sock:
            connection = http.client.HTTPConnection(address.host, address.port)
            connection.sock = _TimedSocket(sock, deadline)
            headers = {"Host": address.netloc, "Connection": "close", **signature(address, key)}
            connection.request("GET", address.path(key), headers=headers)
            with connection.getresponse() as response:
                length = _declared_length(response)
                yield length if isinstance(length, Rejection) else Body(length, response)

    def _connect(self, address: BucketAddress, deadline: Deadline) -> socket.socket:
        """A connected socket, after the TLS handshake where there is one."""
        until = Deadline(min(deadline.at, Deadline.after(self.connect_seconds).at))
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        failure: OSError = OSError(f"{address.host} has no address")
        for family, kind, protocol, _, endpoint in found:
            sock = socket.socket(family, kind, protocol)
            try:
                # What is connected to is what was looked at: no second look-up comes between.
                self.reach.require(address.host, str(endpoint[0]))
                sock.settimeout(until.left())
                sock.connect(endpoint)
                sock.settimeout(until.left())
                if not address.tls:
                    return sock
                return self.tls.wrap_socket(sock, server_hostname=address.host)
            except OSError as error:
                sock.close()
                failure = error
        deadline.left()
        if isinstance(failure, TimeoutError):
            raise ConnectionError(f"no connection within {self.connect_seconds:g} s") from failure
        raise failure


def refusal(error: OSError | http.client.HTTPException) -> Rejection:
    """What a failed read is called."""
    if isinstance(error, TimeoutError):
        return Rejection(Reason.SLOW, "the read did not end in time")
    return Rejection(Reason.UNREACHABLE, f"{type(error).__name__}: {str(error)[:100]!r}")


def _declared_length(response: http.client.HTTPResponse) -> int | Rejection:
    """The body's length by the answer's headers; a body of unknown length is refused."""
    if response.status == http.HTTPStatus.NOT_FOUND:
        return Rejection(Reason.ABSENT)
    if response.status != http.HTTPStatus.OK:
        return Rejection(Reason.UNREACHABLE, f"the bucket answers with status {response.status}")
    lengths = response.headers.get_all("Content-Length", [])
    if response.headers.get_all("Transfer-Encoding") or len(lengths) != 1:
        return Rejection(Reason.WRONG_SIZE, "the answer does not declare one length")
    if not (lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) <= 18):
        return Rejection(Reason.WRONG_SIZE, "the declared length is not a number")
    return int(lengths[0])


class _TimedSocket:
    """What http.client needs of a socket, with the deadline on every operation."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReads(self._sock, self._deadline))

    def close(self) -> None:
        """Leaves the socket open: http.client closes its side as soon as it has the headers."""


class _TimedReads(io.RawIOBase):
    """The receiving side of a socket; each receive waits no longer than the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._sock.settimeout(self._deadline.left())
        return self._sock.recv_into(buffer)
