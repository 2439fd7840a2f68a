"""The stages of a window, and a process that is to end at one of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import product

import pytest

from boltzmann.errors import ConfigError
from boltzmann.node.stages import MINER_STAGES, VALIDATOR_STAGES, Crash, Stage, nothing


def test_no_text_means_no_crash() -> None:
    assert Crash.parse("") is nothing
    nothing(Stage.SEAL, "before", 3)


@pytest.mark.parametrize(
    ("moment", "stage"), list(product(("before", "after"), Stage)), ids=lambda v: str(v)
)
def test_every_moment_of_every_stage_can_be_named(moment: str, stage: Stage) -> None:
    assert Crash.parse(f"{moment}:{stage.value}:12") == Crash(stage, moment, 12)


@pytest.mark.parametrize(
    "text",
    [
        "seal",
        "before:seal",
        "before:seal:",
        "before:seal:-1",
        "before:seal:1:2",
        "before:seal:x",
        "before:nap:3",
        "during:seal:3",
        "Before:seal:3",
        "before:SEAL:3",
        "before::3",
        " before:seal:3",
        "::",
    ],
)
def test_a_malformed_crash_is_refused_with_the_known_stages(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--crash_at .* is malformed: .*as in before:seal:3"):
        Crash.parse(text)


def test_a_crash_is_at_its_own_moment_only_and_leaves_no_time_for_anything() -> None:
    code = (
        "import sys; from boltzmann.node.stages import Crash, Stage\n"
        "crash = Crash.parse('after:seal:3')\n"
        "crash(Stage.SEAL, 'before', 3); crash(Stage.SEAL, 'after', 2)\n"
        "crash(Stage.TRAIN, 'after', 3); print('alive', flush=True)\n"
        "try:\n    crash(Stage.SEAL, 'after', 3)\nfinally:\n    print('cleaned up', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "alive\n")


def test_every_stage_is_somebodys() -> None:
    assert set(MINER_STAGES) | set(VALIDATOR_STAGES) == set(Stage)
    assert set(MINER_STAGES) & set(VALIDATOR_STAGES) == {Stage.FOLLOW, Stage.SAVE}
