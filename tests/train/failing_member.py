"""One process of a team of two, for the tests: a node whose work fails while models are there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, patch

from team_member import load
from threads_kit import threads
from train_kit import TINY

from boltzmann.app import main
from boltzmann.errors import BoltzmannError
from boltzmann.protocol.commitment import Role
from boltzmann.train.engine import TeamEngine
from boltzmann.train.how import How
from boltzmann.train.sharded import ShardedModel
from boltzmann.train.team import Team


async def lead(settings: object, role: Role, work: object, team: Team) -> None:
    fail(TeamEngine, TINY, load, How(), team)


def help_out(team: Team, source: str) -> None:
    fail(ShardedModel, TINY, How(), team)


def fail(kind: Callable[..., Any], *arguments: Any) -> None:
    """An error whose frame holds what was made."""
    held = kind(*arguments)
    tell_threads()
    raise BoltzmannError(f"{type(held).__name__} is there")


def tell_threads() -> None:
    sys.stdout.write(f"{sum('gloo' in name for name in threads())}\n")


if __name__ == "__main__":
    settings = SimpleNamespace(device="cpu", data_source="")
    with patch.multiple(
        main, read_settings=lambda *_: settings, _until_stopped=lead, assist_node=help_out
    ):
        code = main.run_node(Role.MINER, "a miner", [], AsyncMock())
    tell_threads()
    sys.exit(code)
