"""A bucket of any S3 service, public, or readable by the keys that boto3 finds on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from boltzmann.data.files import FileFacts
from boltzmann.data.patience import Transient, persist
from boltzmann.data.range_client import SILENCE_SECONDS, RangeClient, Refused, asked_wait
from boltzmann.data.remote_files import look, plain_refusal
from boltzmann.errors import DataError

_LISTING_SECONDS = 120.0
_LINK_SECONDS = 3600  # how long a signed address is good for; a new one is made for each read
_OPTIONS = frozenset({"endpoint", "region"})


class S3Host:
    """Implements `boltzmann.data.remote_files.Host` for `s3://BUCKET[/PREFIX][?endpoint=URL]`.

    `endpoint` and `region` may stand in the query; without them boto3's own settings count
    (AWS_ENDPOINT_URL_S3, AWS_REGION, profiles), and then AWS itself. The bucket is asked without a
    signature at first, because the keys in a miner's environment are of his own bucket, which
    another service would refuse; where that is refused, those keys are tried.

    Raises: DataError for an address that is none.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        options = dict(parse_qsl(parts.query))
        if not parts.netloc or set(options) - _OPTIONS:
            raise DataError(
                f"{address!r} is not s3://BUCKET/PREFIX, with ?endpoint=URL and &region=NAME where "
                f"the service is not AWS"
            )
        self._bucket = parts.netloc
        path = parts.path.strip("/")
        self._single = path.rpartition("/")[2] if path.endswith(".parquet") else ""
        folder = path[: len(path) - len(self._single)].strip("/")
        self._prefix = f"{folder}/" if folder else ""
        self._options = options
        self._signed = False
        self._client = self._connect(signed=False)

    @property
    def place(self) -> str:
        """The bucket and prefix."""
        return f"s3://{self._bucket}/{self._prefix}{self._single}"

    def path(self, name: str) -> str:
        """The file's bucket and key."""
        return f"s3://{self._bucket}/{self._prefix}{name}"

    def url(self, name: str) -> str:
        """See `Host.url`: signed if the bucket wants that."""
        location = {"Bucket": self._bucket, "Key": self._prefix + name}
        return str(
            self._client.generate_presigned_url("get_object", location, ExpiresIn=_LINK_SECONDS)
        )

    def headers(self) -> Mapping[str, str]:
        """None: a signature stands in the address."""
        return {}

    def otherwise(self, refused: Refused) -> bool:
        """See `Host.otherwise`: with this machine's keys, if it has any and they were not tried."""
        if self._signed or refused.status not in (401, 403):
            return False
        import boto3

        if boto3.session.Session().get_credentials() is None:
            return False
        self._client, self._signed = self._connect(signed=True), True
        return True

    def refusal(self, name: str, refused: Refused) -> DataError:
        """See `Host.refusal`."""
        return self._refusal(self.path(name), refused)

    def entries(self, client: RangeClient) -> tuple[FileFacts, ...]:
        """See `Host.entries`."""
        if self._single:
            return (look(client, self, self._single),)
        return persist(self.place, _LISTING_SECONDS, lambda _: self._listed())

    def _listed(self) -> tuple[FileFacts, ...]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self._pages()
        except ClientError as error:
            answer = error.response["ResponseMetadata"]
            refused = Refused(answer.get("HTTPStatusCode", 0), answer.get("HTTPHeaders", {}))
            if self.otherwise(refused):
                return self._listed()
            raise self._unlisted(refused) from error
        except BotoCoreError as error:
            raise Transient(f"{type(error).__name__}: {error}") from error

    def _pages(self) -> tuple[FileFacts, ...]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        found = [
            FileFacts(entry["Key"][len(self._prefix) :], entry["Size"], entry["ETag"].strip('"'))
            for page in pages
            for entry in page.get("Contents", ())
            if entry["Key"].endswith(".parquet")
        ]
        return tuple(sorted(found, key=lambda file: file.name))

    def _unlisted(self, refused: Refused) -> Exception:
        """What is said, or done, when the listing is refused."""
        if refused.status == 429 or refused.status >= 500:
            wait = asked_wait(refused.headers)
            return Transient(f"its host answers {refused.status}", wait=wait)
        if refused.status in (401, 403):
            return DataError(
                f"{self.place} may not be listed by everybody, nor with AWS keys of this machine: "
                f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to keys that may list and read "
                f"it, or name a https:// address with a list of the files"
            )
        return self._refusal(self.place, refused)

    def _refusal(self, path: str, refused: Refused) -> DataError:
        region = refused.headers.get("x-amz-bucket-region")
        if refused.status in (301, 307, 400) and region:
            return DataError(f"{path} lies in the region {region}: add ?region={region}")
        return plain_refusal(path, refused)

    def _connect(self, *, signed: bool) -> Any:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        config = Config(
            signature_version="s3v4" if signed else UNSIGNED,
            connect_timeout=SILENCE_SECONDS,
            read_timeout=SILENCE_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 1},  # tried again here, within time
            s3={"addressing_style": "path" if "endpoint" in self._options else "auto"},
        )
        session = boto3.session.Session()
        try:
            return session.client(
                "s3",
                endpoint_url=self._options.get("endpoint"),
                region_name=self._options.get("region") or session.region_name or "us-east-1",
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise DataError(f"boto3 cannot use {self.place}: {error}") from error
