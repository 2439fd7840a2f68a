"""What a running node holds: its run, its ports, its state. Rules and loops live elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from boltzmann.config import RunConfig
from boltzmann.node.blocks import Blocks
from boltzmann.node.outbox import Outbox
from boltzmann.node.stages import Stage, Trip, nothing
from boltzmann.ports import Chain, Keys, Store, Telemetry, Verify
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.pages import PageSchedule

if TYPE_CHECKING:  # torch takes seconds to import, and most mistakes show before it is needed
    from boltzmann.node.councils import Councils
    from boltzmann.node.manifests import Manifests
    from boltzmann.node.worker import Worker


@dataclass(frozen=True)
class Node:
    """One miner's or validator's parts.

    `fetch_seconds` bounds the whole read of one object; `poll_seconds` is how long the node waits
    between two looks for a peer's object; `trip` is called at every stage of a window; `private` is
    randomness nobody else may foresee: who is audited, and on which pages a candidate is tested;
    `writers`: the threads that upload, which are not those that read: silent buckets of others must
    not keep this node's own objects waiting.
    """

    run: RunConfig
    keys: Keys
    verify: Verify
    chain: Chain
    blocks: Blocks
    store: Store
    schedule: PageSchedule
    worker: Worker
    outbox: Outbox
    telemetry: Telemetry
    folder: Path
    fetch_seconds: float
    poll_seconds: float
    councils: Councils
    manifests: Manifests
    trip: Trip = nothing
    private: Random = field(default_factory=SystemRandom)
    writers: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 8, "writers"))

    @property
    def clock(self) -> WindowClock:
        return self.run.windows

    @property
    def hotkey(self) -> str:
        return self.keys.hotkey

    @property
    def snapshot(self) -> Path:
        """Where this node keeps its own copy of the state."""
        return self.folder / "state"

    @contextmanager
    def stage(self, stage: Stage, window: int) -> Iterator[None]:
        """Do one named stage of a window's work."""
        self.trip(stage, "before", window)
        yield
        self.telemetry.event("stage", stage=stage.value, window=window)
        self.trip(stage, "after", window)
