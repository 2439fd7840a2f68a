"""The ways in which an honest miner may compute the same gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from boltzmann.config import ModelConfig, Precision
from boltzmann.ports import TokenBatch
from boltzmann.protocol.points import Points
from boltzmann.train import gradients
from boltzmann.train.gradients import Delta, LossModel, gradient
from boltzmann.train.how import How, multiplies, usual
from boltzmann.train.model import build_model, refresh
from boltzmann.train.state import ModelState

Floats = NDArray[np.float32]
Settings = Callable[[], AbstractContextManager[object]]


FLOAT32 = How()


@dataclass(frozen=True)
class Way:
    """One way to compute a gradient.

    `settings`: what holds meanwhile; `bf16_weights`: whether the weights are bf16 too; `is_slow`:
    one member of a window is enough; `audited`: how the validator computes, if it is not the
    reference's way; `is_alike`: whether both compute in one precision, as a run's nodes do.
    """

    name: str
    how: How = FLOAT32
    settings: Settings = nullcontext
    bf16_weights: bool = False
    is_slow: bool = False
    audited: Way | None = None
    is_alike: bool = True


def honest_ways(device: torch.device) -> list[Way]:
    """What a miner on this kind of device may do; the first is what audits do. In the run's
    precision it must pass; in another one it need not."""
    on_cpu = device.type == "cpu"
    is_slow = not multiplies(device, Precision.BF16)
    reference = reference_way(device)
    bf16 = Way("bf16", How(precision=torch.bfloat16))
    exact = Way("fp32")
    run, theirs = ("a bf16 run", bf16) if on_cpu else ("an fp32 run", exact)
    others = {
        "1 sequence a step": replace(theirs.how, sequences=1),
        "logits, activations": replace(theirs.how, logits=1 << 16, checkpointing=True),
        "torch.compile": replace(theirs.how, compiled=True),
    }
    unlike = partial(replace, is_alike=False, is_slow=is_slow)
    ways = [
        reference,
        *(
            Way(f"{n} sequence{'s' * (n > 1)} a step", replace(reference.how, sequences=n))
            for n in (1, 2, 64)
        ),
        Way(
            "logits in parts, activations again",
            replace(reference.how, logits=1 << 16, checkpointing=True),
        ),
        Way("torch.compile", replace(reference.how, compiled=True)),
        *(
            Way(f"{run}: {name}", how, is_slow=is_slow, audited=theirs)
            for name, how in others.items()
        ),
        unlike(bf16, name="bf16 in an fp32 run", audited=None if on_cpu else exact),
        unlike(exact, name="fp32 in a bf16 run", audited=bf16 if on_cpu else None),
        unlike(Way("bf16 weights", bf16_weights=True), audited=None if on_cpu else exact),
        unlike(Way("bf16 weights in a bf16 run", bf16_weights=True), audited=bf16),
    ]
    return [*ways, Way("2 threads", settings=partial(_threads, 2)) if on_cpu else _tf32_way()]


def reference_way(device: torch.device) -> Way:
    """As the nodes compute there, but not compiled."""
    return Way("as the audit", replace(usual(device, native(device)), compiled=False))


def native(device: torch.device) -> Precision:
    """What runs on such devices are computed in."""
    return Precision.BF16 if device.type == "cuda" else Precision.FP32


def _tf32_way() -> Way:
    return Way("TF32 in an fp32 run", settings=_tf32, audited=Way("fp32"), is_alike=False)


class Models:
    """The same parameters as models of each kind; a kind is built when it is first asked for."""

    def __init__(self, config: ModelConfig, state: ModelState, device: torch.device) -> None:
        self.device = device
        self._config = config
        self._state = state
        self._models: dict[tuple[How, bool], LossModel] = {}

    def gradient(self, way: Way, batches: Iterable[TokenBatch], points: Points | None) -> Delta:
        """The gradient at the state's present parameters.

        Raises: RuntimeError if torch.compile does not work here.
        """
        model = self._ready(way)
        with way.settings():
            if way.bf16_weights:
                return _gradient_of_bf16(model, batches, points)
            return gradient(model, batches, points)

    def _ready(self, way: Way) -> LossModel:
        kind = way.how, way.bf16_weights
        if kind not in self._models:
            llama = build_model(self._config, self._state.parameters, self.device)
            self._models[kind] = LossModel(llama, way.how)
        model = self._models[kind]
        if way.bf16_weights:
            _cast(model.llama, self._state.parameters)
        else:
            refresh(model.llama, self._state.parameters)
        return model


def _cast(model: LlamaForCausalLM, parameters: dict[str, Floats]) -> None:
    """The parameters in bf16; the rotary table stays in float32, as transformers loads it."""
    for name, parameter in model.named_parameters():
        parameter.data = torch.from_numpy(parameters[name]).to(parameter.device, torch.bfloat16)


def _gradient_of_bf16(
    model: LossModel, batches: Iterable[TokenBatch], points: Points | None
) -> Delta:
    """As `gradient`, but each page accumulates in bf16, and pages add up in float32."""
    total: list[Floats] = []
    shares: list[Floats] = []
    tokens = 0
    for batch in batches:
        predicted = batch.tokens.size - len(batch.tokens)
        model.zero_grad(set_to_none=True)
        for loss in gradients._losses(model, batch):
            torch.autograd.backward(loss / predicted)
        found = {name: p.grad for name, p in model.llama.named_parameters() if p.grad is not None}
        page = [found[name].float().reshape(-1).cpu().numpy() for name in sorted(found)]
        total = [a + b for a, b in zip(total, page, strict=True)] if total else page
        shares.append(points.gather(page) if points else np.empty(0, np.float32))
        tokens += predicted
    pages = np.float32(len(shares))
    return Delta(tuple(flat / pages for flat in total), 0.0, tokens, np.stack(shares) / pages)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
