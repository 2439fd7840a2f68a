"""This node's own bucket through boto3: create-only writes, removals, the checks of start-up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from io import SEEK_END, BytesIO
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from boltzmann.errors import ConfigError, StoreConflict, StoreError, StoreUnavailable

PROBE_KEY = "boltzmann/probe"
ABSENT_KEY = "boltzmann/nothing"  # nobody writes it
PROBE_BODY = b"boltzmann: a node that may write here checks it with this object\n"

READ_SECONDS = 60.0  # silence after which a request to the own bucket is given up
REQUEST_ATTEMPTS = 3  # by botocore's standard mode: network errors, throttling, 5xx
CONFLICT_ATTEMPTS = 5  # 409 says that another upload of the key is under way
PIECE = 1 << 20

_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_EXISTS = (HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)


class OwnBucket:
    """One bucket that this node may write to. Safe to use from many threads."""

    def __init__(self, client: Any, endpoint: str, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._where = f"bucket {bucket!r} at {endpoint}"
        self._probed = threading.Lock()
        self._honours_create_only: bool | None = None

    def create(self, key: str, body: BinaryIO) -> None:
        """Upload all of `body` (at most 5 GiB) under a key at which nothing is stored yet.

        The same bytes already there is success. On a server that ignores `If-None-Match: *` the key
        is read first. Two writers that both find it absent can then still overwrite each other;
        only this node writes here, so they would have to be two processes of one hotkey.

        Raises: StoreConflict when other bytes are there, StoreUnavailable when the bucket does not
        answer, StoreError when it refuses.
        """
        try:
            condition = {"IfNoneMatch": "*"} if self._create_only() else {}
            if not condition and self._holds(key, body):
                return
            for _ in range(CONFLICT_ATTEMPTS):
                if self._put(key, body, condition) or self._holds(key, body):
                    return
        except ClientError as error:
            raise self._refused("Writing", key, error) from error
        raise StoreUnavailable(
            f"Another upload of {key} to the {self._where} is under way; let one node at a time "
            "write under this hotkey"
        )

    def delete(self, key: str) -> None:
        """Remove what is stored under `key`; nothing there is success.

        Raises: StoreUnavailable when the bucket does not answer, StoreError when it refuses.
        """
        try:
            with self._answers():
                self._client.delete_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if not _is_absent(error):
                raise self._refused("Removing", key, error) from error

    def check(self) -> None:
        """The bucket exists and this node may write to it.

        Leaves one small object under PROBE_KEY. Raises: ConfigError, StoreUnavailable.
        """
        try:
            with self._answers():
                self._client.head_bucket(Bucket=self._bucket)
            self._create_only()
        except ClientError as error:
            raise self._misconfigured(error) from error

    @property
    def creates_only(self) -> bool:
        """Whether the server refuses to overwrite on request; `create` reads first where not.

        Raises: ConfigError, StoreUnavailable.
        """
        try:
            return self._create_only()
        except ClientError as error:
            raise self._misconfigured(error) from error

    def server_time(self) -> datetime | None:
        """The server's clock, to the second; None if it does not tell.

        Raises: ConfigError, StoreUnavailable.
        """
        try:
            with self._answers():
                answer = self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            raise self._misconfigured(error) from error
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return parsedate_to_datetime(told)
        except ValueError:
            return None

    def powers(self) -> str:
        """What these keys, or none, may do besides reading: "write", "remove", both, or "".

        A write is tried with what stands there anyway, a removal where nothing is.
        Raises: StoreUnavailable.
        """
        writes = self._may(lambda: self._put(PROBE_KEY, BytesIO(PROBE_BODY), {}))
        removes = self._may(lambda: self._client.delete_object(Bucket=self._bucket, Key=ABSENT_KEY))
        return " and ".join(["write"] * writes + ["remove"] * removes)

    def _may(self, do: Callable[[], object]) -> bool:
        try:
            with self._answers():
                do()
        except ClientError:
            return False
        return True

    def ensure(self, region: str) -> None:
        """Make the bucket, readable by everyone, where it is absent: for servers of our own.

        Raises: ConfigError, StoreUnavailable.
        """
        place = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        options = {} if region == "us-east-1" else place
        try:
            with self._answers():
                self._client.create_bucket(Bucket=self._bucket, ACL="public-read", **options)
        except ClientError as error:
            if _status(error) != HTTPStatus.CONFLICT:
                raise self._misconfigured(error) from error

    def _put(self, key: str, body: BinaryIO, condition: dict[str, str]) -> bool:
        """Whether `body` is stored under `key` now; False when something else was there."""
        body.seek(0)
        with self._answers():
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, **condition)
            except ClientError as error:
                if condition and _status(error) in _EXISTS:
                    return False
                raise
        return True

    def _holds(self, key: str, body: BinaryIO) -> bool:
        """Whether `key` holds these bytes; False when it is absent. Raises: StoreConflict."""
        with self._answers():
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if _is_absent(error):
                    return False
                raise
            with answer["Body"] as stored:
                same = answer["ContentLength"] == body.seek(0, SEEK_END) and _equal(stored, body)
        if not same:
            raise StoreConflict(
                f"{key} in the {self._where} already holds other bytes, which stay; a hotkey must "
                "not be run twice"
            )
        return True

    def _create_only(self) -> bool:
        """Whether the server honours `If-None-Match: *`, found out once by writing PROBE_KEY.

        The probe always writes the same bytes, so it harms nothing on a server that does not.
        """
        with self._probed:
            if self._honours_create_only is None:
                self._honours_create_only = self._probe()
            return self._honours_create_only

    def _probe(self) -> bool:
        probe = BytesIO(PROBE_BODY)
        try:
            created = self._put(PROBE_KEY, probe, {"IfNoneMatch": "*"})
            return not (created and self._put(PROBE_KEY, probe, {"IfNoneMatch": "*"}))
        except ClientError as error:
            if _status(error) != HTTPStatus.NOT_IMPLEMENTED:
                raise
            self._put(PROBE_KEY, probe, {})
            return False

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Makes StoreUnavailable of silence and of the server's own errors (5xx)."""
        try:
            yield
        except BotoCoreError as error:
            raise StoreUnavailable(f"The {self._where} does not answer: {error}") from error
        except ClientError as error:
            if _status(error) < HTTPStatus.INTERNAL_SERVER_ERROR or (
                _status(error) == HTTPStatus.NOT_IMPLEMENTED
            ):
                raise
            raise StoreUnavailable(
                f"The {self._where} has trouble ({_named(error)}); try again later"
            ) from error

    def _refused(self, doing: str, key: str, error: ClientError) -> StoreError:
        return StoreError(
            f"{doing} {key} was refused by the {self._where} ({_named(error)}); check that it is "
            "there and what its keys may do"
        )

    def _misconfigured(self, error: ClientError) -> ConfigError:
        """What is wrong with the bucket's settings, as one sentence."""
        if _status(error) in _REFUSED:
            return ConfigError(
                f"The {self._where} refuses this node's keys ({_named(error)}); give the access "
                "key and secret key of a user who may read and write it"
            )
        if _status(error) == HTTPStatus.NOT_FOUND:
            return ConfigError(
                f"There is no {self._where}; create it there or correct its name or endpoint"
            )
        return ConfigError(
            f"The {self._where} cannot be used ({_named(error)}); check its endpoint and region"
        )


def _equal(stored: BinaryIO, body: BinaryIO) -> bool:
    """Whether two streams of one length hold the same bytes, compared in pieces."""
    body.seek(0)
    while piece := stored.read(PIECE):
        if piece != body.read(len(piece)):
            return False
    return True


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _is_absent(error: ClientError) -> bool:
    """Whether the key is not there; a bucket that is not there is another matter."""
    return _status(error) == HTTPStatus.NOT_FOUND and _code(error) != "NoSuchBucket"


def _code(error: ClientError) -> str:
    return str(error.response["Error"].get("Code", ""))


def _named(error: ClientError) -> str:
    return f"status {_status(error)}, {_code(error)}"
