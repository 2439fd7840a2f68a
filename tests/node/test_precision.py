"""A run's precision is what all its nodes compute in, whatever they run on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from node_kit import CONFIG, _bundled, new_state

from boltzmann.config import Precision, RunConfig
from boltzmann.data.prefetch import Prefetch
from boltzmann.data.tokenizer import ByteTokenizer
from boltzmann.node.worker import Worker
from boltzmann.train.gradients import Delta, LossModel, gradient
from boltzmann.train.how import How, multiplies
from boltzmann.train.model import build_model, initial_parameters
from boltzmann.train.state import ModelState

PAGES = (0, 1)


def begun(folder: Path, run: RunConfig) -> ModelState:
    state = new_state(folder, run)
    state.reset(initial_parameters(run.model, bytes(32)), "", 0)
    return state


def test_a_node_computes_in_its_runs_precision(tmp_path: Path) -> None:
    data = CONFIG.data
    load = partial(Prefetch, _bundled(data.rows_per_page), ByteTokenizer(), data.sequence_length)
    device = torch.device("cpu")

    def by_hand(how: How) -> Delta:
        state = begun(tmp_path / f"by hand, {how.precision}", CONFIG)
        with load(PAGES) as batches:
            return gradient(
                LossModel(build_model(CONFIG.model, state.parameters, device), how), batches
            )

    expected = {
        Precision.FP32: by_hand(How()),
        Precision.BF16: by_hand(How(precision=torch.bfloat16)),
    }
    for precision, delta in expected.items():
        run = replace(CONFIG, model=replace(CONFIG.model, precision=precision))
        worker = Worker(run, begun(tmp_path / precision.value, run), load, device)
        try:
            found = worker.compute(PAGES)
        finally:
            worker.close()
        assert all(map(np.array_equal, found.tensors, delta.tensors))
    one, other = (np.concatenate(list(delta.tensors)) for delta in expected.values())
    assert not np.allclose(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("capabilities", "bf16"),
    [
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False}, False),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True}, True),
        ({"architecture": "aarch64", "bf16": True}, True),
    ],
)
def test_which_processors_multiply_in_a_precision(
    capabilities: dict[str, object], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    device = torch.device("cpu")
    assert multiplies(device, Precision.BF16) is bf16
    assert multiplies(device, Precision.FP32)
