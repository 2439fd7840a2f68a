"""A model whose parameters, gradients and work are divided among a team (FSDP2).

Each process computes its share of every page's sequences; gradients are added up where the
parameter's shard lies. A window's slice and its audit points are taken from the shards, so that no
gradient is ever whole anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from boltzmann.config import ModelConfig
from boltzmann.errors import DataError
from boltzmann.ports import LoadPages, TokenBatch
from boltzmann.protocol.points import Points
from boltzmann.protocol.slices import Slice
from boltzmann.train.gradients import LossModel, predicted_in
from boltzmann.train.how import How
from boltzmann.train.model import empty_model, place_rotary
from boltzmann.train.team import Team

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class ShardedModel:
    """One process's part of a model; every method is called by all of the team at once."""

    def __init__(self, config: ModelConfig, how: How, team: Team) -> None:
        self._team = team
        llama = empty_model(config)
        self._model = LossModel(llama, how)
        for layer in llama.model.layers:
            fully_shard(layer, mesh=team.mesh)
        self._sharded = fully_shard(self._model, mesh=team.mesh)
        self._model.to_empty(device=team.device)
        llama.tie_weights()
        place_rotary(llama, team.device)
        for module in self._model.modules():
            if isinstance(module, FSDPModule):
                # A page's gradient is the sum of the processes', not their mean.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)  # gloo knows no other
        self._named = dict(sorted(llama.named_parameters()))

    def refresh(self, parameters: Mapping[str, Floats] | None) -> None:
        """Take each shard out of the leader's parameters, one tensor at a time."""
        with torch.no_grad():
            for name, parameter in self._named.items():
                whole = torch.empty(parameter.shape, device=self._team.device)
                if parameters is not None:
                    whole.copy_(torch.from_numpy(parameters[name]))
                torch.distributed.broadcast(whole, src=0)
                local, start = self._local(parameter)
                local.copy_(whole.reshape(-1)[start : start + local.numel()])

    def gradient(
        self, load: LoadPages, pages: Sequence[int], points: Points | None
    ) -> tuple[float, int, Floats]:
        """Leave the mean of the pages' gradients in the shards; mean loss in nats per token,
        predicted tokens, and shares `[pages, points]` as `gradients.gradient` gives them.

        Raises: DataError, in every process, if any of them cannot read a page.
        """
        self._model.zero_grad(set_to_none=True)
        total, tokens = torch.zeros((), dtype=torch.float64, device=self._team.device), 0
        sums: list[Floats] = []
        for batch in self._agreed(load, pages):
            predicted = predicted_in(batch)
            for loss in self._losses(batch):
                torch.autograd.backward(loss / predicted)
                total += loss.detach()
            tokens += predicted
            sums.append(self._take(points.chosen) if points else np.empty(0, np.float32))
        for parameter in self._named.values():
            if parameter.grad is not None:
                parameter.grad.div_(len(pages))
        shares = np.diff(np.stack(sums), axis=0, prepend=np.float32(0.0)) / np.float32(len(sums))
        return float(self._team.add_up(total)) / tokens, tokens, shares

    def loss(self, load: LoadPages, pages: Sequence[int]) -> float:
        """Mean nats per predicted token. Raises: as `gradient`."""
        total, tokens = torch.zeros((), dtype=torch.float64, device=self._team.device), 0
        try:
            with torch.no_grad():
                for batch in self._agreed(load, pages):
                    for loss in self._losses(batch):
                        total += loss
                    tokens += predicted_in(batch)
        finally:
            # No backward pass has done it: else the outermost parameters would stay as they are
            # now, whatever their shards are set to, and zero_grad would miss their gradients.
            self._sharded.reshard()
        return float(self._team.add_up(total)) / tokens

    def on_slice(self, chosen: Slice) -> Floats:
        """The slice's values `[size] float32` of the gradient that was computed last."""
        return self._take([chosen.places(tensor) for tensor in range(len(self._named))])

    def on_points(self, points: Points) -> Floats:
        """The audit points' values `[points] float32` of the gradient that was computed last."""
        return self._take(points.chosen)

    def tensor(self, index: int) -> Floats:
        """A whole tensor of that gradient, 1-D."""
        parameters = list(self._named.values())
        places = [np.empty(0, np.int64) for _ in parameters]
        places[index] = np.arange(parameters[index].numel())
        return self._take(places)

    @property
    def tensors(self) -> int:
        """How many the model has."""
        return len(self._named)

    def _losses(self, batch: TokenBatch) -> Iterator[torch.Tensor]:
        """Summed losses of this process's sequences, as many times in every process: whoever has
        none left computes one in vain, because the shards of a layer meet in each step."""
        step, device = self._model.how.sequences, self._team.device
        own = torch.from_numpy(batch.tokens[self._team.rank :: self._team.size])
        steps = ceil(ceil(len(batch.tokens) / self._team.size) / step)
        for number in range(steps):
            sequences = own[number * step : (number + 1) * step]
            if len(sequences):
                yield self._model(sequences.to(device))
            else:
                yield self._model(torch.from_numpy(batch.tokens[:1]).to(device)) * 0.0

    def _agreed(self, load: LoadPages, pages: Sequence[int]) -> Iterator[TokenBatch]:
        """The pages' batches, each only once every process has read it."""
        with load(pages) as batches:
            for _ in pages:
                batch, trouble = _read(batches)
                for met in self._team.gather(trouble):
                    if met is not None:
                        raise met
                if batch is None:
                    raise DataError("fewer pages were read than were asked for")
                yield batch

    def _take(self, places: Sequence[Places]) -> Floats:
        """Values of the gradients at places of each tensor's 1-D view, from whoever holds them."""
        found = [
            self._held(parameter, torch.from_numpy(at).to(self._team.device))
            for parameter, at in zip(self._named.values(), places, strict=True)
        ]
        values: Floats = self._team.add_up(torch.cat(found)).cpu().numpy()
        return values

    def _held(self, parameter: torch.nn.Parameter, places: torch.Tensor) -> torch.Tensor:
        values = torch.zeros(len(places), device=places.device)
        if parameter.grad is None:
            return values
        local, start = self._local(parameter.grad)
        inside = (places >= start) & (places < start + local.numel())
        values[inside] = local[places[inside] - start]
        return values

    def _local(self, tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
        """This process's part as a 1-D view, and where it begins in the whole."""
        if not isinstance(tensor, DTensor):
            raise TypeError(f"{type(tensor).__name__} is not sharded")
        rows = ceil(tensor.shape[0] / self._team.size)
        row = tensor[0].numel() if tensor.dim() > 1 else 1
        return tensor.to_local().reshape(-1), min(self._team.rank * rows, tensor.shape[0]) * row


def _read(batches: Iterator[TokenBatch]) -> tuple[TokenBatch | None, DataError | None]:
    try:
        return next(batches), None
    except DataError as error:
        return None, error
