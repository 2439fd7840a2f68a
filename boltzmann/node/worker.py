"""The one thread that touches the model and its state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from boltzmann.config import RunConfig
from boltzmann.errors import ConfigError
from boltzmann.ports import LoadPages
from boltzmann.protocol.points import Points
from boltzmann.train.engine import Engine, IsWanted, OwnEngine, TeamEngine, always
from boltzmann.train.gauge import Gauge
from boltzmann.train.gradients import Delta
from boltzmann.train.how import How, usual
from boltzmann.train.presets import peak_flops
from boltzmann.train.state import ModelState
from boltzmann.train.team import Team

T = TypeVar("T")


def pick_device(name: str) -> torch.device:
    """The device a setting names. Raises: ConfigError if this machine lacks it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name} is not a device name: use cpu, cuda or auto") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name} is not supported: use cpu, cuda or auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"--device {name}, but torch sees no CUDA GPU on this machine: install the driver, "
            f"or use --device cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}, but the GPUs of this machine have the numbers 0 to "
            f"{torch.cuda.device_count() - 1}: name one of them"
        )
    return device


def _peak(device: torch.device, devices: int) -> float | None:
    peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return None if peak is None else peak * devices


class Worker:
    """Runs gradients and state changes one after another, off the event loop.

    `gauge`: what the training takes of the machine; None where nodes share one.
    """

    gauge: Gauge | None = None

    def __init__(
        self,
        config: RunConfig,
        state: ModelState,
        load: LoadPages,
        device: torch.device,
        how: How | None = None,
        team: Team | None = None,
    ) -> None:
        """With a `team`, which this process leads, the others compute too."""
        self.state = state
        self._seen = state.changes - 1  # the state whose parameters the engine has
        self.gauge = Gauge(config, device, _peak(device, 1 if team is None else team.size))
        how = how or usual(device, config.model.precision)
        self._backend: Engine = (
            OwnEngine(config.model, state.parameters, load, device, how)
            if team is None
            else TeamEngine(config.model, load, how, team)
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")

    async def run(self, work: Callable[[], T]) -> T:
        """`work()` in the worker's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def delta(self, pages: Sequence[int], points: Points | None = None) -> Delta:
        """The update of the present parameters on these pages, with its shares on the points."""
        return await self.run(lambda: self.compute(pages, points))

    async def loss(self, pages: Sequence[int]) -> float:
        """Mean nats per token of the present parameters on these pages."""
        return await self.run(lambda: self._loss(pages))

    def _loss(self, pages: Sequence[int]) -> float:
        self._refresh()
        return self._backend.loss(pages)

    def compute(
        self, pages: Sequence[int], points: Points | None = None, is_wanted: IsWanted = always
    ) -> Delta:
        """As `delta`; to be called in the worker's thread only.

        Raises: BrokenOff before the first page at which it is not wanted any more.
        """
        self._refresh()
        return self._backend.gradient(pages, points, is_wanted)

    def _refresh(self) -> None:
        """Bring the engine up to date with the state: on a device it is a copy of billions."""
        if self._seen != self.state.changes:
            self._backend.refresh(self.state.parameters)
            self._seen = self.state.changes

    def close(self) -> None:
        """Wait for the running work and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._backend.close()
