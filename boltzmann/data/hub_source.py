"""Names of datasets of the Hugging Face hub: `hf://datasets/...`, and presets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from boltzmann.errors import DataError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB = re.compile(
    r"hf://datasets/(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.*))?"
)
_PRESET = re.compile(r"(?P<name>[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.+))?")


@dataclass(frozen=True)
class Preset:
    """A dataset by a short name: repository, the path that is meant by default, text column."""

    repository: str
    path: str
    column: str


# No commit stands here: the run's config pins one, so that no release of this program changes it.
PRESETS = {
    "fineweb-edu": Preset("HuggingFaceFW/fineweb-edu", "data/**", "text"),
    "dclm": Preset("mlfoundations/dclm-baseline-1.0-parquet", "filtered/**", "text"),
}


@dataclass(frozen=True)
class HubSource:
    """A dataset of the hub. `revision`: as named, empty if not; `path`: a folder, a glob, or the
    name of one of the dataset's configurations; empty: what the dataset itself names first.
    """

    repository: str
    revision: str
    path: str

    @property
    def text(self) -> str:
        """The whole name."""
        revision = f"@{self.revision}" if self.revision else ""
        path = f"/{self.path}" if self.path else ""
        return f"hf://datasets/{self.repository}{revision}{path}"

    def at(self, revision: str) -> HubSource:
        """The same at the commit that `revision`, the run's pin, names, or this name itself.

        Raises: DataError if neither is a commit's 40 hex digits, or they are two.
        """
        pins = {pin for pin in (self.revision, revision) if is_commit(pin)}
        if self.revision and not is_commit(self.revision):
            raise DataError(
                f"{self.text} names {self.revision}, which may move: name a commit by its 40 hex "
                f"digits, listed at https://huggingface.co/datasets/{self.repository}/commits/main"
            )
        if len(pins) > 1:
            raise DataError(
                f"the run's config pins the commit {revision}, but its source is {self.text}: "
                f"name one commit"
            )
        return HubSource(self.repository, next(iter(pins), ""), self.path)


def is_commit(revision: str) -> bool:
    """Whether it is the full name of a commit."""
    return _COMMIT.fullmatch(revision) is not None


def parse_hub_source(source: str) -> HubSource | None:
    """The dataset that a config's `data.source` names; None if it names none of the hub.

    Raises: DataError for a name that begins as one and is not.
    """
    if source.startswith("hf://"):
        found = _HUB.fullmatch(source)
        if found is None:
            raise DataError(
                f"{source!r} is not hf://datasets/OWNER/NAME[@COMMIT][/FOLDER, CONFIG or GLOB]"
            )
        path = (found["path"] or "").strip("/")
        return HubSource(found["repository"], found["revision"] or "", path)
    named = _PRESET.fullmatch(source)
    preset = PRESETS.get(named["name"]) if named else None
    if named is None or preset is None:
        return None
    path = (named["path"] or preset.path).strip("/")
    return HubSource(preset.repository, named["revision"] or "", path)


def preset_column(source: str) -> str | None:
    """The text column of a preset; None for other sources."""
    named = _PRESET.fullmatch(source)
    preset = PRESETS.get(named["name"]) if named else None
    return preset.column if preset else None
