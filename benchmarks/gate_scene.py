"""Windows of a real training run in which honest work and cheats can be audited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gate_ways import Models, Way, reference_way
from benchmarks.scripted import block_hash
from boltzmann.app.machine import open_data
from boltzmann.config import ModelConfig, RunConfig
from boltzmann.local.plan import Plan
from boltzmann.node.conduct import Offer
from boltzmann.ports import TokenBatch
from boltzmann.protocol.aggregate import aggregate, in_memory
from boltzmann.protocol.codec import Codec
from boltzmann.protocol.documents import digest
from boltzmann.protocol.points import Points, draw
from boltzmann.protocol.scoring import AuditConfig, GateConfig
from boltzmann.protocol.slices import Slice, select
from boltzmann.protocol.spot import OnPage
from boltzmann.train import checkpoint
from boltzmann.train.gradients import Delta
from boltzmann.train.model import initial_parameters, parameter_shapes
from boltzmann.train.state import ModelState

Floats = NDArray[np.float32]

MEMBERS = ("miner-1", "miner-2", "miner-3", "miner-4")
SEED = bytes(32)
GATE = GateConfig(gate_min=0.99, tensor_min=0.95, norm_min=0.9, norm_max=1.1)
_LOCAL = Plan().run_config().model
MODELS: dict[str, ModelConfig] = {
    "0.86M": _LOCAL,
    "3M": replace(_LOCAL, hidden_size=256, intermediate_size=688),
}


@dataclass(frozen=True)
class Extent:
    """A run's size: pages a member, rows a page, and windows, which its learning rates follow; and
    how its values travel."""

    pages: int
    rows: int
    windows: int
    codec: Codec = Codec.BF16


@dataclass(frozen=True)
class Scene:
    """One window: what honest members send of it, after the codec.

    `momentum`: the outer step's first moment, a public record of past windows' directions; None
    before the first step.
    """

    window: int
    codec: Codec
    chosen: Slice
    points: Points
    assigned: Mapping[str, tuple[int, ...]]
    uploads: Mapping[str, Offer]
    momentum: OnPage | None
    loss: float

    @property
    def pages(self) -> int:
        return len(self.assigned[MEMBERS[0]])

    def offer(self, values: Floats, shares: Floats) -> Offer:
        """What arrives of values `[n]` and shares `[pages, points]`.

        Where points and slice meet the values are set to the shares' sum: any cheat would see to
        that, since the sum is checked on arrival.
        """
        shares = self.codec.roundtrip(shares.reshape(-1)).reshape(shares.shape)
        on_points, on_slice = self.points.meet(self.chosen)
        values = values.astype(np.float32)
        values[on_slice] = shares[:, on_points].sum(axis=0)
        return Offer(self.codec.roundtrip(values), shares)


@dataclass(frozen=True)
class Recomputed:
    """What a validator computes of one member: all its pages, each alone, and the control."""

    whole: Floats
    pages: tuple[OnPage, ...]
    control: OnPage


class Training:
    """Four honest members' run on the bundled text, with the real aggregate and outer step."""

    def __init__(self, model: str, extent: Extent, device: torch.device, folder: Path) -> None:
        self.run = gate_run(model, extent)
        self._schedule, self._load = open_data(self.run)
        shapes = parameter_shapes(self.run.model)
        layout = self.run.layout(shapes)
        history = self.run.exchange.history
        self.state = ModelState(layout, shapes, self.run.outer, folder / "undo", history)
        self.state.reset(initial_parameters(self.run.model, SEED), "", 0)
        self.models = Models(self.run.model, self.state, device)
        self.reference = reference_way(device)
        self._last: bytes | None = None

    def scene(self, most: int | None = None) -> Scene:
        """The next window, every member having done its work, or that of its first `most` pages."""
        window = self.state.position.window + 1
        opening = block_hash(self.run.windows.open(window))
        layout, codec = self.state.layout, self.run.exchange.codec
        chosen = select(layout, block_hash(self.run.windows.close(window)))
        points = draw(layout, opening, self.run.audit.points)
        assigned = {
            member: pages[:most]
            for member, pages in self._schedule.assign(window, opening, MEMBERS).items()
        }
        deltas = {
            member: self.compute(self.reference, assigned[member], points) for member in MEMBERS
        }
        moment = self._moment(chosen, points) if window > 1 else None
        uploads = {member: _sent(codec, chosen, delta) for member, delta in deltas.items()}
        loss = fmean(delta.loss for delta in deltas.values())
        return Scene(window, codec, chosen, points, assigned, uploads, moment, loss)

    def step(self, scene: Scene) -> None:
        """Apply the window's update: the mean of what was sent, clipped to the median norm."""
        deltas = {member: in_memory(offer.values) for member, offer in scene.uploads.items()}
        limit = median(delta.length for delta in deltas.values())
        mean = aggregate(scene.chosen.size, deltas, limit)
        self._last = self.state.position.root
        self.state.apply(scene.chosen, mean, "00" * 32, scene.window)
        self.state.confirm(digest(f"window {scene.window}".encode()))

    @property
    def trained(self) -> int:
        """How many windows are behind."""
        return self.state.position.window

    def save(self, folder: Path) -> None:
        """Keep the state there, from which `resume` goes on."""
        checkpoint.write(self.state, self.run.run.id, folder)

    def resume(self, folder: Path) -> None:
        """Go on from what is kept there, if anything is. Raises: CorruptState."""
        checkpoint.read(self.state, folder, self.run.run.id)

    def compute(self, way: Way, pages: Sequence[int], points: Points | None = None) -> Delta:
        """The gradient of some pages at the present parameters."""
        with self._load(pages) as batches:
            return self.models.gradient(way, batches, points)

    def recompute(self, scene: Scene, member: str, way: Way | None = None) -> Recomputed:
        """What audits of a member need, computed in that way, or as nodes do."""
        way, pages = way or self.reference, scene.assigned[member]
        whole = self.compute(way, pages)
        control = self.compute(way, self._schedule.control(scene.window), scene.points)
        part = np.float32(1.0 / len(pages))
        return Recomputed(
            scene.codec.roundtrip(whole.on_slice(scene.chosen)),
            tuple(
                _on_page(scene, self.compute(way, (page,), scene.points), part) for page in pages
            ),
            _on_page(scene, control, np.float32(1.0)),
        )

    def honest(self, scene: Scene, member: str, way: Way) -> Offer:
        """What a member sends that computes in that way, at the present parameters."""
        delta = self.compute(way, scene.assigned[member], scene.points)
        return _sent(scene.codec, scene.chosen, delta)

    def fewer_tokens(self, scene: Scene, member: str, share: float) -> Offer:
        """What a member sends that cuts each sequence to that share of its tokens."""
        with self._load(scene.assigned[member]) as batches:
            shorter = (_cut(batch, share) for batch in batches)
            delta = self.models.gradient(self.reference, shorter, scene.points)
        return _sent(scene.codec, scene.chosen, delta)

    def other_pages(self, scene: Scene, member: str) -> Offer:
        """What a member sends that trained on pages of the next window."""
        opening = block_hash(self.run.windows.open(scene.window + 1))
        pages = self._schedule.assign(scene.window + 1, opening, MEMBERS)[member]
        return _sent(scene.codec, scene.chosen, self.compute(self.reference, pages, scene.points))

    def stale(self, scene: Scene, member: str) -> Offer | None:
        """What a member sends that has not applied the last update; None before the first."""
        if self._last is None:
            return None
        with self.state.parameters_at(self._last):
            return self.honest(scene, member, self.reference)

    def _moment(self, chosen: Slice, points: Points) -> OnPage:
        sizes = self.state.layout.sizes
        tensors = np.split(self.state.m, np.cumsum(sizes)[:-1])
        return OnPage(points.gather(tensors), chosen.gather(tensors))


@contextmanager
def open_training(
    model: str, extent: Extent, device: torch.device, folder: Path
) -> Iterator[Training]:
    """A run from its first window on, with one thread on the processor."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield Training(model, extent, device, folder)
    finally:
        torch.set_num_threads(before)


def gate_run(model: str, extent: Extent) -> RunConfig:
    """The local network's run, with this model and of this extent, and with thresholds that leave
    room for machines that compute otherwise."""
    run = Plan(windows=extent.windows).run_config()
    name = f"{model}-{extent.pages}-{extent.rows}-{extent.windows}".replace(".", "_")
    data = replace(
        run.data,
        pages_per_member=extent.pages,
        rows_per_page=extent.rows,
        members_max=len(MEMBERS),
    )
    return replace(
        run,
        run=replace(run.run, id=name),
        data=data,
        model=MODELS[model],
        exchange=replace(run.exchange, codec=extent.codec),
        gate=GATE,
        audit=AuditConfig(),
    )


@dataclass(frozen=True)
class _Part:
    tokens: NDArray[np.int64]


def _cut(batch: TokenBatch, share: float) -> TokenBatch:
    return _Part(batch.tokens[:, : max(2, round(share * batch.tokens.shape[1]))])


def _sent(codec: Codec, chosen: Slice, delta: Delta) -> Offer:
    shares = codec.roundtrip(delta.shares.reshape(-1)).reshape(delta.shares.shape)
    return Offer(codec.roundtrip(delta.on_slice(chosen)), shares)


def _on_page(scene: Scene, delta: Delta, part: np.float32) -> OnPage:
    """A page's gradient as its share `part` of a delta, as it would travel."""
    return OnPage(
        scene.codec.roundtrip(delta.on_points(scene.points) * part),
        scene.codec.roundtrip(delta.on_slice(scene.chosen) * part),
    )
