"""What computes a node's gradients: one model in this process, or a team that shares one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from boltzmann.config import ModelConfig
from boltzmann.errors import BoltzmannError, BrokenOff, DataError, StateError
from boltzmann.ports import LoadPages, TokenBatch
from boltzmann.protocol.points import Points
from boltzmann.protocol.slices import Slice
from boltzmann.train.device import Away
from boltzmann.train.gradients import Delta, LossModel, gradient, mean_loss
from boltzmann.train.how import How
from boltzmann.train.model import build_model, refresh
from boltzmann.train.sharded import ShardedModel
from boltzmann.train.team import Team

Floats = NDArray[np.float32]
IsWanted = Callable[[], bool]


def always() -> bool:
    """Wanted, however long it takes."""
    return True


class Engine(Protocol):
    """Computes at the parameters it was last refreshed with. One thread calls it."""

    def refresh(self, parameters: Mapping[str, Floats]) -> None:
        """Take the present parameters over, by name."""
        ...

    def gradient(
        self, pages: Sequence[int], points: Points | None, is_wanted: IsWanted = always
    ) -> Delta:
        """As `boltzmann.train.gradients.gradient`, of pages by their numbers.

        Raises: BrokenOff before the first page at which it is not wanted any more.
        """
        ...

    def loss(self, pages: Sequence[int]) -> float:
        """Mean nats per predicted token."""
        ...

    def close(self) -> None: ...


class OwnEngine:
    """A model in this process. On the CPU its parameters are the memory of those given."""

    def __init__(
        self,
        config: ModelConfig,
        parameters: Mapping[str, Floats],
        load: LoadPages,
        device: torch.device,
        how: How,
    ) -> None:
        self._load = load
        self._model = LossModel(build_model(config, parameters, device), how)

    def refresh(self, parameters: Mapping[str, Floats]) -> None:
        refresh(self._model.llama, parameters)

    def gradient(
        self, pages: Sequence[int], points: Points | None, is_wanted: IsWanted = always
    ) -> Delta:
        with _while_wanted(self._load, is_wanted)(pages) as batches:
            return gradient(self._model, batches, points)

    def loss(self, pages: Sequence[int]) -> float:
        with self._load(pages) as batches:
            return mean_loss(self._model, batches)

    def close(self) -> None:
        """Nothing is held but memory."""


class TeamEngine:
    """The leader's end of a team: each call is an order that all of them carry out."""

    def __init__(self, config: ModelConfig, load: LoadPages, how: How, team: Team) -> None:
        self._team = team
        self._load = load
        self._model = ShardedModel(config, how, team)
        self._computed = 0

    def refresh(self, parameters: Mapping[str, Floats]) -> None:
        with _together():
            self._team.share(("refresh",))
            self._model.refresh(parameters)

    def gradient(
        self, pages: Sequence[int], points: Points | None, is_wanted: IsWanted = always
    ) -> Delta:
        load = _while_wanted(self._load, is_wanted)
        with _together():
            self._team.share(("gradient", tuple(pages), points))
            self._computed += 1
            loss, tokens, shares = self._model.gradient(load, pages, points)
        return Delta(TeamTensors(self, self._computed), loss, tokens, shares)

    def loss(self, pages: Sequence[int]) -> float:
        with _together():
            self._team.share(("loss", tuple(pages)))
            return self._model.loss(self._load, pages)

    def take(self, number: int, what: str, *which: Any) -> Floats:
        """Values of the gradient of that number. Raises: StateError if it is not the last one."""
        if number != self._computed:
            raise StateError(
                "a team keeps its last gradient only, and another was computed meanwhile: this is "
                "a fault of the program"
            )
        with _together():
            self._team.share((what, *which))
            return _OF_GRADIENT[what](self._model, *which)

    @property
    def tensors(self) -> int:
        """How many the model has."""
        return self._model.tensors

    def close(self) -> None:
        """Let the others go. If one has died they are ended by torchrun, as is this process."""
        with suppress(BoltzmannError), _together():
            self._team.share(None)


def _while_wanted(load: LoadPages, is_wanted: IsWanted) -> LoadPages:
    """The same pages, as long as somebody wants what is made of them."""

    def wanted(batches: Iterator[TokenBatch]) -> Iterator[TokenBatch]:
        for batch in batches:
            if not is_wanted():
                raise BrokenOff("the time for this is over: it was broken off between two pages")
            yield batch

    @contextmanager
    def opened(pages: Sequence[int]) -> Iterator[Iterator[TokenBatch]]:
        with load(pages) as batches:
            yield wanted(batches)

    return opened


@contextmanager
def _together() -> Iterator[None]:
    """Raises: BoltzmannError when another process of the team has failed; what it says of itself is
    in its own output."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # all that gloo and nccl have for it
        raise BoltzmannError(
            f"the processes of this node cannot compute together any more ({error}): look above "
            f"for what another of them said, and start all of them again"
        ) from error


class TeamTensors(Away):
    """A team's gradient, in shards: what is asked for is put together by all of them."""

    def __init__(self, engine: TeamEngine, number: int) -> None:
        self._engine = engine
        self._number = number

    def __len__(self) -> int:
        return self._engine.tensors

    def _one(self, index: int) -> Floats:
        return self._engine.take(self._number, "tensor", index)

    def on_slice(self, chosen: Slice) -> Floats:
        return self._engine.take(self._number, "slice", chosen)

    def on_points(self, points: Points) -> Floats:
        return self._engine.take(self._number, "points", points)


_OF_GRADIENT: Mapping[str, Callable[..., Floats]] = {
    "slice": ShardedModel.on_slice,
    "points": ShardedModel.on_points,
    "tensor": ShardedModel.tensor,
}


def assist(model: ShardedModel, load: LoadPages, team: Team) -> None:
    """Carry out the leader's orders until it lets this process go.

    What a page's reading runs into is told to the leader, who decides.
    """
    while (order := team.share(None)) is not None:
        what, *which = order
        try:
            if what == "refresh":
                model.refresh(None)
            elif what == "gradient":
                model.gradient(load, *which)
            elif what == "loss":
                model.loss(load, *which)
            else:
                _OF_GRADIENT[what](model, *which)
        except DataError:
            continue  # the leader has raised the same
