"""A hotkey's on-chain record: who it is in the run, where its bucket is, its last manifest.

The record is a list of words separated by single spaces, packed into at most three Raw fields of at
most 128 bytes:

    1<role> <run> <bucket address> [m<window>:<digest>] [c<digest>] [k<read keys>]

`role` is m (miner), v (validator) or o (owner); `m…` names a validator's last manifest and `c…` the
owner's run config; digests are sha256 in unpadded URL-safe base64 (43 characters), so that a
miner's or a validator's record fits one field. `k…` are the read-only keys of a bucket that is not
public; within this program they are part of its address (see `readkeys`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from boltzmann.protocol.readkeys import parted, read_keys

MAX_FIELDS = 3
MAX_FIELD_BYTES = 128
ANY_DIGEST = "00" * 32  # every digest takes the same room in a record
_VERSION = "1"
_RECORDS_KEPT = 4096  # a subnet's are read at every block that matters, and hardly ever change
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_ADDRESS = re.compile(r"https?://[\x21-\x3f\x41-\x7e]{1,100}")  # no @: keys have their own word
_DIGEST = re.compile(r"[A-Za-z0-9_-]{43}")


class Role(str, Enum):
    """What a hotkey declares to be. A validator also needs the chain's permit."""

    MINER = "m"
    VALIDATOR = "v"
    OWNER = "o"


_ROLES = frozenset(role.value for role in Role)


@dataclass(frozen=True)
class Commitment:
    """The typed record. `bucket`: the address, with a private bucket's read keys in it;
    `manifest` is (window, sha256 hex); `config` is a sha256 in hexadecimal.
    """

    role: Role
    run: str
    bucket: str
    manifest: tuple[int, str] | None = None
    config: str | None = None

    def encode(self) -> tuple[bytes, ...]:
        """The Raw fields. Raises: ValueError if a word is malformed or they do not fit."""
        address, keys = parted(self.bucket)
        words = [_VERSION + self.role.value, self.run, address]
        if self.manifest is not None:
            words.append(f"m{self.manifest[0]}:{_pack(self.manifest[1])}")
        if self.config is not None:
            words.append(f"c{_pack(self.config)}")
        if keys is not None:
            words.append(f"k{keys.word()}")
        fields = _fill(words)
        if decode(fields) != self:
            raise ValueError(
                f"run id {self.run!r} or bucket address {address!r} does not fit a commitment: "
                f"run ids are 1 to 32 of A-Z a-z 0-9 . _ -, addresses are http(s) URLs of at most "
                f"100 characters"
            )
        return fields


def decode(fields: Sequence[bytes]) -> Commitment | None:
    """The record in a commitment's Raw fields; None if it is not one of ours."""
    return _decode(tuple(fields))


@lru_cache(maxsize=_RECORDS_KEPT)
def _decode(fields: tuple[bytes, ...]) -> Commitment | None:
    try:
        words = " ".join(field.decode("ascii") for field in fields).split(" ")
    except UnicodeDecodeError:
        return None
    if len(words) < 3 or words[0][:1] != _VERSION or words[0][1:] not in _ROLES:
        return None
    if not _RUN.fullmatch(words[1]) or not _ADDRESS.fullmatch(words[2]):
        return None
    bucket, manifest, config = words[2], None, None
    for word in words[3:]:
        window, colon, packed = word[1:].partition(":")
        if word[:1] == "m" and colon and manifest is None and re.fullmatch(r"\d{1,15}", window):
            manifest = (int(window), _unpack(packed))
        elif word[:1] == "c" and config is None:
            config = _unpack(word[1:])
        elif word[:1] == "k" and bucket == words[2]:
            try:
                bucket = read_keys(word[1:]).within(bucket)
            except ValueError:
                return None
        else:
            return None
    if config == "" or (manifest is not None and manifest[1] == ""):
        return None
    return Commitment(Role(words[0][1:]), words[1], bucket, manifest, config)


def _fill(words: Sequence[str]) -> tuple[bytes, ...]:
    fields = [words[0]]
    for word in words[1:]:
        if len(fields[-1]) + 1 + len(word) <= MAX_FIELD_BYTES:
            fields[-1] += " " + word
        else:
            fields.append(word)
    if len(fields) > MAX_FIELDS or any(len(field) > MAX_FIELD_BYTES for field in fields):
        raise ValueError(f"a commitment of {sum(map(len, fields))} bytes does not fit 3 fields")
    return tuple(field.encode("ascii") for field in fields)


def _pack(digest: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")


def _unpack(packed: str) -> str:
    """The digest in hexadecimal, or "" if it is not the one spelling of 32 bytes."""
    if not _DIGEST.fullmatch(packed):
        return ""
    try:
        raw = base64.urlsafe_b64decode(packed + "=")
    except binascii.Error:
        return ""
    return raw.hex() if _pack(raw.hex()) == packed else ""
