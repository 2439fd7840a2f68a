"""Looking for planted secrets in all that processes wrote and show, however it is spelled."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import boto3
import psutil

_LEAST = 12  # bytes: less of a spelling may stand anywhere by chance


def canary(name: str, signs: str = "/+") -> str:
    """A secret that stands nowhere by chance; `signs` are such as quoting changes."""
    return f"{name}{signs}{secrets.token_hex(20)}"


def spellings(secret: str) -> frozenset[bytes]:
    """How the secret may stand in a file: plain, hex, base64, URL-quoted, JSON, UTF-16."""
    plain = secret.encode()
    texts = {quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}
    found = {plain, plain.hex().encode(), plain.hex().upper().encode()}
    found |= {text.encode() for text in texts}
    found |= {text.lower().encode() for text in texts}  # as in %2b
    found |= {secret.encode("utf-16-le"), secret.encode("utf-16-be")}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):  # where in a longer text it begins; the ends depend on neighbours
            found.add(encode(bytes(before) + plain)[before and before + 1 :].rstrip(b"=")[:-1])
    return frozenset(spelled for spelled in found if len(spelled) >= _LEAST)


class Leaks:
    """Which of the secrets, by name, stand in what is shown to it."""

    def __init__(self, planted: Mapping[str, str]) -> None:
        self._spelled = {name: spellings(secret) for name, secret in planted.items()}

    def within(self, data: bytes) -> set[str]:
        """The names of the secrets that stand in these bytes."""
        return {
            name
            for name, spelled in self._spelled.items()
            if any(spelling in data for spelling in spelled)
        }

    def of(self, shown: Iterable[tuple[str, bytes]]) -> list[str]:
        """ "secret in place" for each secret and place; empty if there is no leak."""
        return sorted(f"{name} in {place}" for place, data in shown for name in self.within(data))


def files(*folders: Path, but: Iterable[Path] = ()) -> Iterator[tuple[str, bytes]]:
    """Every file's path and content, and the names of links' targets."""
    left_out = set(but)
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if left_out & {path, *path.parents}:
                continue
            if path.is_symlink():
                yield str(path), str(path.readlink()).encode()
            elif path.is_file():
                yield str(path), path.read_bytes()


def objects(url: str) -> Iterator[tuple[str, bytes]]:
    """Every object of every bucket of a server that takes any keys."""
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
    for bucket in client.list_buckets()["Buckets"]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"])
        for entry in (entry for page in pages for entry in page.get("Contents", ())):
            answer = client.get_object(Bucket=bucket["Name"], Key=entry["Key"])
            yield f"{bucket['Name']}/{entry['Key']}", answer["Body"].read()


def command_lines() -> list[tuple[str, bytes]]:
    """What everybody on this machine may read of every process."""
    return [
        (f"the command line of process {path.parent.name}", content)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if (content := _read(path)) is not None
    ]


def environments(process: psutil.Process) -> dict[str, bytes]:
    """The environment with which each descendant was started, by its command line."""
    found = {}
    for child in process.children(recursive=True):
        place = Path(f"/proc/{child.pid}")
        line, content = _read(place / "cmdline"), _read(place / "environ")
        if line is not None and content is not None:
            shown = line.replace(b"\0", b" ").decode(errors="replace").strip()
            found[f"{shown} ({child.pid})"] = content
    return found


def _read(path: Path) -> bytes | None:
    """None for a process that has ended meanwhile."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
