"""Several processes, one GPU each, that compute one node's gradients: what they say to each other.

torchrun starts them. The first (rank 0) is the node: chain, bucket, state and journal are its own.
The others wait for its orders. Orders travel over gloo, gradients over the device's own backend.
"""

from __future__ import annotations

import gc
import os
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

# A node may wait for the chain for days, and its helpers with it; torchrun ends them if it dies.
_PATIENCE = timedelta(days=365)


class Team:
    """One process's place among them.

    `mesh` is what models are sharded over, `orders` the group that orders go through.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.device = device
        self.mesh: DeviceMesh = init_device_mesh(device.type, (size,))
        self._orders: Any = distributed.new_group(backend="gloo", timeout=_PATIENCE)

    @property
    def leads(self) -> bool:
        """Whether this is the node itself."""
        return self.rank == 0

    def share(self, value: Any) -> Any:
        """The leader's value, in every process; the others wait for it."""
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self._orders)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in every process."""
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self._orders)
        return values

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, in every one of them."""
        distributed.all_reduce(values, group=self.mesh.get_group())
        return values

    def leave(self) -> None:
        """Let go of the others; models that are sharded over the mesh must be gone by then.

        A group ends its threads when nothing holds it any more. One that still drops its last
        tensors when the interpreter ends would abort the process.
        """
        gc.collect()  # models have cycles, and errors hold what their frames held
        self.mesh._pg_registry.clear()  # the mesh itself stays in caches of torch's own
        del self.mesh, self._orders
        distributed.destroy_process_group()
        gc.collect()


def join_team(device: str) -> Team:
    """Meet the others; `device`: cpu, or cuda for the GPU of this process's local rank."""
    place = torch.device(device)
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=_PATIENCE)
    return Team(distributed.get_rank(), distributed.get_world_size(), place)
