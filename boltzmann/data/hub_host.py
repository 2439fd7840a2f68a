"""One commit of a dataset of the Hugging Face hub, or of a server with the same addresses."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urljoin

from fsspec.utils import glob_translate

from boltzmann.data.files import FileFacts
from boltzmann.data.hub_source import HubSource
from boltzmann.data.range_client import Answer, RangeClient, Refused
from boltzmann.data.remote_files import plain_refusal
from boltzmann.errors import DataError

_MOST_JSON = 64 << 20  # bytes of one answer
_WILDCARD = re.compile(r"[*?\[]")
_NEXT = re.compile(r'<(?P<url>[^>]+)>\s*;[^,]*rel="?next"?')


def hub_endpoint() -> str:
    """The hub's address: HF_ENDPOINT, as huggingface_hub reads it, or the public hub."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


class HubHost:
    """Implements `boltzmann.data.remote_files.Host`. `source.revision` is a commit.

    Files are listed by the hub's tree and read from its resolve addresses, by the token that
    huggingface_hub finds (HF_TOKEN, or the one of `hf auth login`), if any. Their names are those
    below the part of the path that has no wildcard.
    """

    def __init__(self, source: HubSource, client: RangeClient) -> None:
        self._source = source
        self._client = client
        self._endpoint = hub_endpoint()

    @property
    def place(self) -> str:
        """The dataset's name with its commit."""
        return self._source.text

    def path(self, name: str) -> str:
        """The file's path within the dataset's name."""
        return f"{self._source.repository}@{self._source.revision[:8]}/{self._below_root(name)}"

    def url(self, name: str) -> str:
        """See `Host.url`."""
        source = self._source
        folder = f"datasets/{source.repository}/resolve/{source.revision}"
        return f"{self._endpoint}/{folder}/{quote(self._below_root(name))}"

    def headers(self) -> Mapping[str, str]:
        """The token, if there is one."""
        from huggingface_hub import get_token

        token = get_token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def otherwise(self, refused: Refused) -> bool:
        """No."""
        return False

    def refusal(self, name: str, refused: Refused) -> DataError:
        """See `Host.refusal`."""
        return self._refusal(self.path(name), refused)

    def entries(self, client: RangeClient) -> tuple[FileFacts, ...]:
        """See `Host.entries`."""
        wanted = [re.compile(glob_translate(pattern)) for pattern in self._patterns]
        found = [
            FileFacts(
                PurePosixPath(entry["path"]).relative_to(self._root).as_posix(),
                entry["size"],
                (entry.get("lfs") or entry)["oid"],
            )
            for entry in self._tree()
            if entry["type"] == "file"
            and entry["path"].endswith(".parquet")
            and any(pattern.fullmatch(entry["path"]) for pattern in wanted)
        ]
        return tuple(sorted(found, key=lambda file: file.name))

    def newest_commit(self) -> str:
        """The 40 hex digits of the main branch's last commit. Raises: DataError."""
        url = f"{self._api}/revision/main?expand=sha"
        return str(json.loads(self._get(url).body)["sha"])

    @property
    def _api(self) -> str:
        return f"{self._endpoint}/api/datasets/{self._source.repository}"

    @cached_property
    def _patterns(self) -> tuple[str, ...]:
        """Which of the repository's files are meant."""
        path = self._source.path
        if _WILDCARD.search(path) or path.endswith(".parquet"):
            return (path,)
        configurations = self._configurations()
        named = configurations.get(path or "default", ())
        patterns = named or (path,)
        return tuple(
            pattern
            if _WILDCARD.search(pattern) or pattern.endswith(".parquet")
            else f"{pattern}/**".lstrip("/")
            for pattern in patterns
        )

    @cached_property
    def _root(self) -> str:
        """The deepest folder that holds all of them; empty for the repository itself."""
        return os.path.commonpath([_fixed_folder(pattern) for pattern in self._patterns])

    def _below_root(self, name: str) -> str:
        return f"{self._root}/{name}" if self._root else name

    def _configurations(self) -> dict[str, tuple[str, ...]]:
        """The patterns of the train split, or the first, of each named configuration."""
        url = f"{self._api}/revision/{self._source.revision}?expand=cardData"
        card = json.loads(self._get(url).body).get("cardData") or {}
        return {
            configuration["config_name"]: _train_patterns(configuration.get("data_files", []))
            for configuration in card.get("configs") or []
        }

    def _tree(self) -> Iterator[dict[str, Any]]:
        """Every entry below the root: `type`, `path`, `size`, `oid`, and `lfs` for large files."""
        folder = f"/{quote(self._root)}" if self._root else ""
        url: str | None = f"{self._api}/tree/{self._source.revision}{folder}?recursive=true"
        while url is not None:
            answer = self._get(url)
            yield from json.loads(answer.body)
            following = _NEXT.search(answer.headers.get("Link", ""))
            url = urljoin(url, following["url"]) if following else None

    def _get(self, url: str) -> Answer:
        try:
            return self._client.whole(url, _MOST_JSON, self.headers())
        except Refused as refused:
            raise self._refusal(self.place, refused) from refused

    def _refusal(self, path: str, refused: Refused) -> DataError:
        repository = self._source.repository
        page = f"{self._endpoint}/datasets/{repository}"
        code = refused.headers.get("X-Error-Code", "")
        if code == "GatedRepo" or (refused.status == 403 and not code):
            return DataError(
                f"{path}: the dataset is gated: accept its terms at {page} with your account, and "
                f"set HF_TOKEN to a token of that account that may read gated datasets"
            )
        if code == "RevisionNotFound":
            return DataError(
                f"{path}: the dataset has no commit {self._source.revision}: pin one that stands "
                f"at {page}/commits/main"
            )
        if code == "EntryNotFound":
            return DataError(
                f"{path}: there is nothing of this name in the dataset: correct it, by {page}/tree/"
                f"{self._source.revision}"
            )
        if code == "RepoNotFound" or refused.status == 401:
            return DataError(
                f"{path}: there is no dataset {repository} at {self._endpoint} for this machine's "
                f"account: correct its name, or, if it is private, set HF_TOKEN to a token that "
                f"may read it"
            )
        return plain_refusal(path, refused)


def _fixed_folder(pattern: str) -> str:
    """The folders before the first part with a wildcard, or before the file."""
    parts = pattern.split("/")
    fixed = takewhile(lambda part: not _WILDCARD.search(part), parts[:-1])
    return "/".join(fixed)


def _train_patterns(data_files: Any) -> tuple[str, ...]:
    """The patterns of a configuration's `data_files`: a text, a list of texts, or one by splits."""
    if isinstance(data_files, str):
        return (data_files,)
    splits = [entry for entry in data_files if isinstance(entry, dict)]
    if not splits:
        return tuple(data_files)
    train = next((entry for entry in splits if entry.get("split") == "train"), splits[0])
    path = train["path"]
    return (path,) if isinstance(path, str) else tuple(path)
