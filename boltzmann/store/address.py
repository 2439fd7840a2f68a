"""Bucket addresses and object keys: the only spellings this node reads from or writes to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from boltzmann.privacy import shown
from boltzmann.protocol.readkeys import ReadKeys, parted

# Longest host name (253) and bucket (63), scheme and port, and read keys with every sign encoded.
MAX_ADDRESS = 1024

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME = rf"(?=[^/:]{{1,253}}(?:[/:]|\Z))(?:{_LABEL}\.)*{_LABEL}"
_ADDRESS = re.compile(
    rf"(?P<scheme>https?)://(?P<netloc>(?P<host>{_NAME}|\[[0-9A-Fa-f:.]{{2,45}}\])"
    r"(?::(?P<port>[0-9]{1,5}))?)(?:/(?P<bucket>[^/?#]+))?"
)
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_IPV4 = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_KEY = re.compile(r"[A-Za-z0-9._/-]{1,512}")


@dataclass(frozen=True)
class BucketAddress:
    """Where a bucket is read: `<http or https>://[<read keys>@]<host>[:<port>]/<bucket>`.

    `netloc` is host and port as written, `host` is without the brackets of IPv6; `bucket` is empty
    where the host serves one bucket only, as R2's public domains do; `keys`: None for a public one.
    """

    tls: bool
    netloc: str
    host: str
    port: int
    bucket: str
    keys: ReadKeys | None = None

    def __str__(self) -> str:
        path = f"/{self.bucket}" if self.bucket else ""
        plain = f"{self.service}{path}"
        return plain if self.keys is None else self.keys.within(plain)

    @property
    def service(self) -> str:
        """The URL of the host, without a path."""
        return f"{'https' if self.tls else 'http'}://{self.netloc}"

    def path(self, key: str) -> str:
        """Of an object on the host."""
        return f"/{self.bucket}/{key}" if self.bucket else f"/{key}"


def parse_address(url: str) -> BucketAddress:
    """The parts of an address. Raises: ValueError saying which part is not allowed."""
    try:
        plain, keys = parted(url) if len(url) <= MAX_ADDRESS else ("", None)
    except ValueError as error:
        raise ValueError(
            f"{shown(url)[:100]!r} is not http(s)://<host>[:<port>][/<bucket>] with or without "
            f"read keys ({error})"
        ) from error
    found = _ADDRESS.fullmatch(plain)
    if found is None:
        raise ValueError(f"{shown(url)[:100]!r} is not http(s)://<host>[:<port>][/<bucket>]")
    tls = found["scheme"] == "https"
    port = int(found["port"] or (443 if tls else 80))
    if not 1 <= port <= 65535:
        raise ValueError(f"{shown(url)[:100]!r} has port {port}; ports are 1 to 65535")
    bucket = found["bucket"] or ""
    if bucket and (not _BUCKET.fullmatch(bucket) or _IPV4.fullmatch(bucket)):
        raise ValueError(
            f"{bucket[:100]!r} is not an S3 bucket name (3 to 63 lower-case letters, digits, "
            "hyphens and single dots)"
        )
    return BucketAddress(tls, found["netloc"], found["host"].strip("[]"), port, bucket, keys)


def checked_key(key: str) -> str:
    """`key` itself. Raises: ValueError for a key that no part of this program computes."""
    if not _KEY.fullmatch(key) or not all(part.strip(".") for part in key.split("/")):
        raise ValueError(
            f"{key[:100]!r} is not an object key: 1 to 512 letters, digits, '.', '_', '-' and '/', "
            "no empty segment and none of dots only"
        )
    return key
