"""The ways in which an honest miner may compute the same gradient."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from boltzmann.config import ModelConfig
from boltzmann.ports import TokenBatch
from boltzmann.protocol.points import Points
from boltzmann.train import gradients
from boltzmann.train.gradients import Delta, gradient
from boltzmann.train.model import build_model, refresh
from boltzmann.train.state import ModelState

Floats = NDArray[np.float32]
Settings = Callable[[], AbstractContextManager[object]]

EAGER, COMPILED, BF16 = "eager", "compiled", "bf16"


@dataclass(frozen=True)
class Way:
    """One way to compute a gradient.

    `settings`: what holds meanwhile; `model`: EAGER, COMPILED, or BF16 for weights in bf16;
    `is_slow`: one member of a window is enough; `audited`: how the validator computes, if it is
    not the reference's way.
    """

    name: str
    settings: Settings
    model: str = EAGER
    is_slow: bool = False
    audited: Way | None = None


REFERENCE = Way("as the audit", nullcontext)


def honest_ways(device: torch.device) -> list[Way]:
    """What a miner on this kind of device may do."""
    on_cpu = device.type == "cpu"
    is_slow = on_cpu and not _has_bf16()
    bf16 = Way("bf16 autocast", partial(_precision, torch.bfloat16), is_slow=is_slow)
    ways = [
        REFERENCE,
        Way("fp32", partial(_precision, None)),
        bf16,
        Way("bf16 weights", nullcontext, BF16, is_slow=is_slow),
        Way("bf16 weights, audit in bf16", nullcontext, BF16, is_slow=is_slow, audited=bf16),
        *(Way(f"{n} sequence{'s' * (n > 1)} a step", partial(_split, n)) for n in (1, 2, 64)),
        Way("torch.compile", nullcontext, COMPILED),
    ]
    if on_cpu:
        del ways[1]  # the reference is fp32
        return [*ways, Way("2 threads", partial(_threads, 2))]
    return [*ways, Way("TF32", _tf32)]


def _has_bf16() -> bool:
    """Whether this processor multiplies in bf16; others take many times as long."""
    facts = Path("/proc/cpuinfo")
    return facts.exists() and re.search(r"\b(avx512_|amx_)?bf16\b", facts.read_text()) is not None


class Models:
    """The same parameters as models of each kind; a kind is built when it is first asked for."""

    def __init__(self, config: ModelConfig, state: ModelState, device: torch.device) -> None:
        self.device = device
        self._config = config
        self._state = state
        self._models: dict[str, LlamaForCausalLM] = {}

    def gradient(self, way: Way, batches: Iterable[TokenBatch], points: Points | None) -> Delta:
        """The gradient at the state's present parameters.

        Raises: RuntimeError if torch.compile does not work here.
        """
        model = self._ready(way.model)
        with way.settings():
            if way.model == BF16:
                return _gradient_of_bf16(model, batches, points)
            return gradient(model, batches, points)

    def _ready(self, kind: str) -> LlamaForCausalLM:
        if kind not in self._models:
            model = build_model(self._config, self._state.parameters, self.device)
            if kind == COMPILED:
                model.compile()
            self._models[kind] = model
        model = self._models[kind]
        if kind == BF16:
            _cast(model, self._state.parameters)
        else:
            refresh(model, self._state.parameters)
        return model


def _cast(model: LlamaForCausalLM, parameters: dict[str, Floats]) -> None:
    """The parameters in bf16; the rotary table stays in float32, as transformers loads it."""
    for name, parameter in model.named_parameters():
        parameter.data = torch.from_numpy(parameters[name]).to(parameter.device, torch.bfloat16)


def _gradient_of_bf16(
    model: LlamaForCausalLM, batches: Iterable[TokenBatch], points: Points | None
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
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        page = [found[name].float().reshape(-1).cpu().numpy() for name in sorted(found)]
        total = [a + b for a, b in zip(total, page, strict=True)] if total else page
        shares.append(points.gather(page) if points else np.empty(0, np.float32))
        tokens += predicted
    pages = np.float32(len(shares))
    return Delta(tuple(flat / pages for flat in total), 0.0, tokens, np.stack(shares) / pages)


@contextmanager
def _changed(place: object, name: str, value: object) -> Iterator[None]:
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


def _precision(dtype: torch.dtype | None) -> AbstractContextManager[None]:
    """Autocast to `dtype`, or not at all."""

    def chosen(device: torch.device) -> AbstractContextManager[object]:
        return nullcontext() if dtype is None else torch.autocast(device.type, dtype)

    return _changed(gradients, "_precision", chosen)


def _split(sequences: int) -> AbstractContextManager[None]:
    return _changed(gradients, "SEQUENCES_PER_STEP", sequences)


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
    with ExitStack() as stack:
        stack.enter_context(_precision(None))
        stack.enter_context(_changed(torch.backends.cuda.matmul, "allow_tf32", True))
        yield
