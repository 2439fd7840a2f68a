"""Reads of everybody's buckets, bounded in time and size: a peer's misdeed is a Rejection."""

from __future__ import annotations

import secrets
import ssl
from pathlib import Path
from typing import BinaryIO

from boltzmann.errors import ConfigError, StoreError
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.store.address import BucketAddress, checked_key, parse_address
from boltzmann.store.bounded_http import NETWORK_ERRORS, Body, Deadline, Fetcher, refusal
from boltzmann.store.reach import Reach

CONNECT_SECONDS = 5.0  # for the connection alone, TLS and all
PIECE = 1 << 18  # bytes per read of a download, of which many run at once


class PublicReader:
    """Implements `boltzmann.ports.Reader`: whole reads, each on its own connection, signed where
    the address has read keys.

    A window reads one to three objects from each of many hosts, minutes apart, so kept connections
    would be closed by the time they could be used again.
    """

    def __init__(
        self,
        home: str = "",
        *,
        connect_seconds: float = CONNECT_SECONDS,
        ca_bundle: Path | None = None,
    ) -> None:
        """`home`: see `Reach`; `ca_bundle`: a PEM file of the only authorities to trust, in place
        of the usual ones.

        Raises: ConfigError for a bundle that is none.
        """
        self._fetcher = Fetcher(_tls(ca_bundle), connect_seconds, Reach(home))

    def get(self, address: str, key: str, *, max_bytes: int, seconds: float) -> bytes | Rejection:
        """See `boltzmann.ports.Reader.get`. Raises: ValueError for a malformed key."""
        deadline = Deadline.after(seconds)
        bucket = _bucket(address)
        if isinstance(bucket, Rejection):
            return bucket
        try:
            with self._fetcher.open(bucket, checked_key(key), deadline) as body:
                if isinstance(body, Rejection):
                    return body
                if body.length > max_bytes:
                    return Rejection(
                        Reason.WRONG_SIZE, f"{body.length} bytes, at most {max_bytes} are taken"
                    )
                data = body.stream.read(body.length)
                return data if len(data) == body.length else _cut_short(body, len(data))
        except NETWORK_ERRORS as error:
            return refusal(error)

    def download(
        self, address: str, key: str, path: Path, *, exact_bytes: int, seconds: float
    ) -> Rejection | None:
        """See `boltzmann.ports.Reader.download`.

        Raises: ValueError for a malformed key, StoreError when `path` cannot be written.
        """
        deadline = Deadline.after(seconds)
        bucket = _bucket(address)
        if isinstance(bucket, Rejection):
            return bucket
        try:
            with self._fetcher.open(bucket, checked_key(key), deadline) as body:
                if isinstance(body, Rejection):
                    return body
                if body.length != exact_bytes:
                    return Rejection(Reason.WRONG_SIZE, f"{body.length} bytes, not {exact_bytes}")
                return _save(body, path)
        except NETWORK_ERRORS as error:
            return refusal(error)


def _bucket(address: str) -> BucketAddress | Rejection:
    try:
        return parse_address(address)
    except ValueError as error:
        return Rejection(Reason.UNREACHABLE, str(error))


def _cut_short(body: Body, received: int) -> Rejection:
    return Rejection(
        Reason.UNREACHABLE, f"the connection ended after {received} of {body.length} bytes"
    )


def _save(body: Body, path: Path) -> Rejection | None:
    """The body into `path` by way of a hidden file beside it. Raises: StoreError."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            rejection = _copy(body, file)
        if rejection is None:
            part.replace(path)
        return rejection
    except OSError as error:
        raise StoreError(
            f"Cannot write a download to {path} ({error.strerror}); free space there or choose "
            "another folder"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _copy(body: Body, file: BinaryIO) -> Rejection | None:
    """The body into `file`, in pieces; only the network's errors are a rejection."""
    piece = memoryview(bytearray(min(PIECE, body.length)))
    received = 0
    while received < body.length:
        try:
            count = body.stream.readinto(piece)
        except NETWORK_ERRORS as error:
            return refusal(error)
        if not count:
            return _cut_short(body, received)
        file.write(piece[:count])
        received += count
    return None


def _tls(ca_bundle: Path | None) -> ssl.SSLContext:
    """Trusts `ca_bundle`, else the authorities that boto3 trusts for this node's own bucket."""
    from botocore.httpsession import get_cert_path

    bundle = get_cert_path(True) if ca_bundle is None else str(ca_bundle)
    try:
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise ConfigError(
            f"The CA bundle {bundle} cannot be used ({error}); name a PEM file of certificates"
        ) from error
