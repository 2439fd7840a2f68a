"""Read-only keys of a private bucket, which everybody may have.

They stand on chain as `<region>:<key id>:<secret>`, and in front of the host of the bucket's
address, each part percent-encoded: `https://<region>:<key id>:<secret>@<host>/<bucket>`. An address
then holds all that a reader needs, and is passed around like any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

_REGION = re.compile(r"[a-z0-9-]{1,24}")
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECRET = re.compile(r"[!-9;-~]{1,80}")
_ACCOUNT = re.compile(r"(https?://)([^/?#@]*)@(.*)", re.DOTALL)


@dataclass(frozen=True)
class ReadKeys:
    """An S3 access key that may get objects of one bucket and do nothing else.

    Raises: ValueError naming the part that cannot stand in a record.
    """

    region: str
    key_id: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _REGION.fullmatch(self.region):
            raise ValueError(
                f"{self.region[:50]!r} is no region of a bucket with read keys: 1 to 24 lower-case "
                f"letters, digits and hyphens (auto for R2)"
            )
        if not _KEY_ID.fullmatch(self.key_id):
            raise ValueError(
                f"{self.key_id[:80]!r} is no key id: 1 to 64 letters, digits, '.', '_' and '-'"
            )
        if not _SECRET.fullmatch(self.secret):
            raise ValueError(
                f"the secret of the read key {self.key_id} cannot stand in a record: 1 to 80 "
                f"printable ASCII characters without ':' and spaces"
            )

    def word(self) -> str:
        """As it stands on chain."""
        return f"{self.region}:{self.key_id}:{self.secret}"

    def within(self, address: str) -> str:
        """The address of a bucket, with these keys in it. Raises: ValueError if it has some."""
        scheme, separator, rest = address.partition("://")
        if not separator or "@" in rest:
            raise ValueError("keys are put into an http(s) address that has none")
        account = ":".join(quote(part, safe="") for part in self.word().split(":"))
        return f"{scheme}://{account}@{rest}"


def read_keys(word: str) -> ReadKeys:
    """The keys in a record's word. Raises: ValueError if it holds none."""
    parts = word.split(":")
    if len(parts) != 3:
        raise ValueError("read keys are <region>:<key id>:<secret>")
    return ReadKeys(*parts)


def parted(address: str) -> tuple[str, ReadKeys | None]:
    """The address without keys, and the keys in it.

    Raises: ValueError for an account that is no read keys, or is spelled in another way than
    `ReadKeys.within` does: an address has one spelling.
    """
    found = _ACCOUNT.fullmatch(address)
    if found is None:
        return address, None
    plain = found[1] + found[3]
    keys = read_keys(":".join(unquote(part) for part in found[2].split(":")))
    if keys.within(plain) != address:
        raise ValueError("an address's read keys are percent-encoded, and nothing else is")
    return plain, keys
