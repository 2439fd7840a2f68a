"""requirements.lock pins what requirements.txt names, and each file by its hash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
UNLOCKED = {"torch"}  # whose CPU and CUDA builds are different files of one version


def entries(name: str) -> Iterator[tuple[Requirement, str]]:
    """Each requirement of a file, and the rest of its entry: its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        entry = line.split(" #")[0].partition("--hash")
        if entry[0].strip() and not line.startswith("#"):
            yield Requirement(entry[0].strip()), entry[1] + entry[2]


def versions(name: str, python: str) -> dict[str, str]:
    """What a file asks for under one version of Python, on Linux, by package."""
    linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    version = {"python_version": python, "python_full_version": f"{python}.1"}
    environment = {name: str(value) for name, value in default_environment().items()}
    environment |= linux | version
    return {
        requirement.name.replace("_", "-"): str(requirement.specifier)
        for requirement, _ in entries(name)
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_lock_has_the_pins_of_the_requirements(python: str) -> None:
    wanted, locked = versions("requirements.txt", python), versions("requirements.lock", python)
    for name in sorted(wanted.keys() - UNLOCKED):
        assert locked.get(name) == wanted[name], f"{name}: run bash scripts/lock.sh"
    assert not locked.keys() & UNLOCKED


def test_every_entry_of_the_lock_has_a_hash() -> None:
    for requirement, hashes in entries("requirements.lock"):
        assert re.fullmatch(r"(--hash=sha256:[0-9a-f]{64}\s*)+", hashes), requirement.name
