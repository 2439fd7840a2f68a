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
from boltzmann.train.gradients import Delta, LossModel, gradient, mean_loss
from boltzmann.train.how import How, usual
from boltzmann.train.model import build_model, refresh
from boltzmann.train.state import ModelState

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


class Worker:
    """Runs gradients and state changes one after another, off the event loop."""

    def __init__(
        self,
        config: RunConfig,
        state: ModelState,
        load: LoadPages,
        device: torch.device,
        how: How | None = None,
    ) -> None:
        self.state = state
        self._config = config
        self._load = load
        self._seen = state.changes - 1  # the state whose parameters the model has
        llama = build_model(config.model, state.parameters, device)
        self._model = LossModel(llama, how or usual(device))
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
        with self._load(pages) as batches:
            return mean_loss(self._model, batches)

    def compute(self, pages: Sequence[int], points: Points | None = None) -> Delta:
        """As `delta`; to be called in the worker's thread only."""
        self._refresh()
        with self._load(pages) as batches:
            return gradient(self._model, batches, points)

    def _refresh(self) -> None:
        """Bring the model up to date with the state: on a device it is a copy of billions."""
        if self._seen != self.state.changes:
            refresh(self._model.llama, self.state.parameters)
            self._seen = self.state.changes

    def close(self) -> None:
        """Wait for the running work and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)
