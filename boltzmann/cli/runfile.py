"""A run.toml that a command's option names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from boltzmann.errors import ConfigError

if TYPE_CHECKING:
    from boltzmann.config import RunConfig


def read_run(path: Path) -> RunConfig:
    """The run's config in a file. Raises: ConfigError naming file, table and key."""
    from boltzmann.config import RunConfig

    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the run's config {path} cannot be read: {error}") from error
    return RunConfig.parse(source)
