"""The store port on any S3 server: boto3 for the own bucket, bounded reads of everyone's."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from boltzmann.errors import ConfigError
from boltzmann.privacy import shown
from boltzmann.protocol.readkeys import ReadKeys
from boltzmann.protocol.rejection import Rejection
from boltzmann.store.address import checked_key, parse_address
from boltzmann.store.own_bucket import (
    PROBE_BODY,
    PROBE_KEY,
    READ_SECONDS,
    REQUEST_ATTEMPTS,
    OwnBucket,
)
from boltzmann.store.reader import CONNECT_SECONDS, PublicReader


@dataclass(frozen=True)
class BucketFacts:
    """`creates_only`: whether the server honours `If-None-Match: *`; `skew_seconds`: its clock less
    this machine's, None if it does not tell; `open_to_all`: whether anybody may write there."""

    creates_only: bool
    skew_seconds: float | None
    open_to_all: bool


class S3Store:
    """Implements `boltzmann.ports.Store`. Safe to use from many threads.

    The secret key is handed to boto3's signer and kept nowhere else.
    """

    def __init__(
        self,
        endpoint_url: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        *,
        region: str = "us-east-1",
        public_url: str | None = None,
        read_keys: ReadKeys | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        threads: int = 16,
        ca_bundle: Path | None = None,
    ) -> None:
        """Nothing is sent yet; `check` is for start-up.

        `public_url`: the address peers read this bucket at where that is not
        `<endpoint_url>/<bucket>`; `read_keys`: published, to read a bucket with that is not
        public; `threads`: how many calls run at once; `ca_bundle`: a PEM file of
        the only authorities to trust, in place of the usual ones. Connections are direct, whatever
        proxy the environment names. Raises: ConfigError.
        """
        if not (access_key and secret_key):
            raise ConfigError(
                f"The bucket {bucket!r} needs an access key and a secret key to write with; one of "
                "them is empty"
            )
        endpoint = endpoint_url.rstrip("/")
        self._region = region
        self._address = _own_address("endpoint and bucket", f"{endpoint}/{bucket}")
        if public_url is not None:
            self._address = _own_address("public address", public_url)
        if read_keys is not None:
            self._address = read_keys.within(self._address)
        self._reader = PublicReader(
            parse_address(self._address).host, connect_seconds=connect_seconds, ca_bundle=ca_bundle
        )
        self._own = _open(
            *(endpoint, bucket, access_key, secret_key),
            *(region, connect_seconds, threads, ca_bundle),
        )
        self._as = partial(_open, endpoint, bucket)
        self._single = (region, connect_seconds, 1, ca_bundle)
        self._read_keys = read_keys

    def __repr__(self) -> str:
        return f"S3Store({shown(self._address)})"

    @property
    def address(self) -> str:
        """The public address of this node's own bucket."""
        return self._address

    def put(self, key: str, body: bytes) -> None:
        """See `Store.put`. Raises: StoreConflict, StoreUnavailable, StoreError when refused."""
        self._own.create(checked_key(key), io.BytesIO(body))

    def put_file(self, key: str, path: Path) -> None:
        """See `Store.put_file`: at most 5 GiB. Raises: as `put`."""
        name = checked_key(key)
        with path.open("rb") as file:
            self._own.create(name, file)

    def delete(self, key: str) -> None:
        """See `Store.delete`. Raises: StoreUnavailable, StoreError when refused."""
        self._own.delete(checked_key(key))

    def get(self, address: str, key: str, *, max_bytes: int, seconds: float) -> bytes | Rejection:
        """See `Store.get`."""
        return self._reader.get(address, key, max_bytes=max_bytes, seconds=seconds)

    def download(
        self, address: str, key: str, path: Path, *, exact_bytes: int, seconds: float
    ) -> Rejection | None:
        """See `Store.download`. Raises: StoreError when `path` cannot be written."""
        return self._reader.download(address, key, path, exact_bytes=exact_bytes, seconds=seconds)

    def check(self, *, seconds: float = 10.0) -> None:
        """This node may write to its bucket, and everybody may read it, within `seconds`; keys that
        are published for that can do nothing else.

        Raises: ConfigError, StoreUnavailable.
        """
        self._own.check()
        found = self.get(self._address, PROBE_KEY, max_bytes=len(PROBE_BODY), seconds=seconds)
        if found != PROBE_BODY:
            why = found if isinstance(found, Rejection) else "another bucket answers there"
            mend = (
                "make the bucket readable by everyone, or give its public address, or a read key"
                if self._read_keys is None
                else "let its read key get objects there"
            )
            where = f"{shown(self._address)}/{PROBE_KEY}"
            raise ConfigError(f"Peers cannot read {where}: {why}; {mend}")
        self._require_harmless()

    def _require_harmless(self) -> None:
        """Raises: ConfigError if the published keys can do more than read."""
        if self._read_keys is None:
            return
        key_id, secret = self._read_keys.key_id, self._read_keys.secret
        if powers := self._as(key_id, secret, *self._single).powers():
            raise ConfigError(
                f"The read key {key_id} may {powers} objects of {shown(self._address)}, and "
                f"everybody will have it: give one that may get this bucket's objects and no more"
            )

    def facts(self) -> BucketFacts:
        """What `check` does not refuse, but an operator should know.

        Raises: ConfigError, StoreUnavailable.
        """
        before = datetime.now(timezone.utc)
        told = self._own.server_time()
        return BucketFacts(
            creates_only=self._own.creates_only,
            skew_seconds=None if told is None else (told - before).total_seconds(),
            open_to_all=bool(self._as("", "", *self._single).powers()),
        )

    def ensure_bucket(self) -> None:
        """Create the bucket where it is absent, readable by everyone: for servers of our own.

        Raises: ConfigError, StoreUnavailable.
        """
        self._own.ensure(self._region)


def _own_address(what: str, url: str) -> str:
    try:
        address = parse_address(url)
    except ValueError as error:
        raise ConfigError(f"The {what} of this node's bucket cannot be used: {error}") from error
    if address.keys is not None:
        raise ConfigError(
            f"The {what} of this node's bucket cannot be used: {shown(url)} holds keys; give those "
            f"that are for everybody as S3_READ_KEY_ID and S3_READ_SECRET"
        )
    return str(address)


def _open(endpoint: str, bucket: str, *client: Any) -> OwnBucket:
    return OwnBucket(_client(endpoint, *client), endpoint, bucket)


def _client(
    endpoint: str,
    access_key: str,
    secret_key: str,
    region: str,
    connect_seconds: float,
    threads: int,
    ca_bundle: Path | None,
) -> Any:
    """A boto3 client, unsigned without keys, that leaves out what this protocol does by itself.

    Objects carry their own sha256 and signature, so neither checksums nor signed payloads are
    wanted: botocore would read each body twice more. Without `payload_signing_enabled=False` it
    signs payloads over plain http; servers take unsigned ones there too (moto and rclone do).
    """
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=connect_seconds,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
        max_pool_connections=threads,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        proxies={},
        signature_version=None if access_key else UNSIGNED,
        s3={"addressing_style": "path", "payload_signing_enabled": False},
    )
    try:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key or None,
            aws_secret_access_key=secret_key or None,
            verify=True if ca_bundle is None else str(ca_bundle),
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"boto3 cannot use the bucket's settings: {error}") from error
