"""The named stages of a window: what a node may be doing when it is killed.

Tests end a process before or after any of them (`--crash_at`); a node that comes back goes on from
its journal to the same state root.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from boltzmann.errors import ConfigError


class Stage(str, Enum):
    """In the order in which a window meets them."""

    # every node
    FOLLOW = "follow"  # bring the state to what the chain ordered
    SAVE = "save"  # the node's own copy of the state
    # miners
    TRAIN = "train"
    SEAL = "seal"  # the delta is written to the journal
    COMMIT = "commit"  # its sha256 is made public
    UPLOAD = "upload"
    # validators
    PLEDGES = "pledges"  # the members' commits are read
    INGEST = "ingest"  # their deltas are read
    AUDIT = "audit"
    RECEIPT = "receipt"
    PROPOSE = "propose"
    VOTE = "vote"
    MIRROR = "mirror"  # the update goes into this validator's own bucket
    CERTIFY = "certify"  # proposal and ballots become the manifest
    ORDER = "order"  # the manifest's digest goes on chain
    CHECKPOINT = "checkpoint"  # the epoch's checkpoint goes into the bucket
    PAY = "pay"  # weights


MINER_STAGES = (Stage.FOLLOW, Stage.SAVE, Stage.TRAIN, Stage.SEAL, Stage.COMMIT, Stage.UPLOAD)
VALIDATOR_STAGES = tuple(
    stage for stage in Stage if stage not in (Stage.TRAIN, Stage.SEAL, Stage.COMMIT, Stage.UPLOAD)
)

Trip = Callable[[Stage, str, int], None]  # stage, "before" or "after", window


def nothing(stage: Stage, moment: str, window: int) -> None:
    """The trip wire of a node that nobody means to kill."""


@dataclass(frozen=True)
class Crash:
    """Kills this process, as a power cut would, at the first such moment from `window` on."""

    stage: Stage
    moment: str
    window: int

    def __call__(self, stage: Stage, moment: str, window: int) -> None:
        if (stage, moment) == (self.stage, self.moment) and window >= self.window:
            os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def parse(text: str) -> Trip:
        """From "before:seal:3"; nothing for "". Raises: ConfigError."""
        if not text:
            return nothing
        moment, _, rest = text.partition(":")
        name, _, window = rest.partition(":")
        known = {stage.value for stage in Stage}
        if moment not in ("before", "after") or name not in known or not window.isdecimal():
            raise ConfigError(
                f"--crash_at {text} is malformed: write before or after, a stage "
                f"({', '.join(sorted(known))}) and a window, as in before:seal:3"
            )
        return Crash(Stage(name), moment, int(window))
