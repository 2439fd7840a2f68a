"""Tokens per second, model FLOPs utilisation, memory, and what a window takes beside training.

    python -m benchmarks.throughput --device cuda --models 124M 1B [--length 2048] [--rows 8]
                                    [--pages 4] [--sequences 4 8] [--rounds 5] [--window 60]
                                    [--compile on off] [--checkpointing] [--threads 0]
                                    [--out benchmarks/results/throughput.json]

A member's window by the nodes' own engine, on made-up tokens that are in memory: so many pages of
rows of `--length` tokens each, with audit points. Medians of the rounds after the first, which
compiles. `beside`: bringing parameters over, taking the slice and encoding it, in a share of a
window of so many seconds. `mfu` is against the device's dense bf16 peak, where that is known. On a
processor the figures say only that it runs; use `--models 0.86M`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.adversary_tables import show_rows
from benchmarks.gate_ways import native
from benchmarks.machine import machine_facts
from benchmarks.runs import LOCAL, model_config
from benchmarks.scripted import block_hash
from boltzmann.config import ModelConfig
from boltzmann.node.worker import pick_device
from boltzmann.protocol.codec import Codec
from boltzmann.protocol.points import draw
from boltzmann.protocol.slices import Layout, select
from boltzmann.train.engine import OwnEngine
from boltzmann.train.gauge import peak_memory
from boltzmann.train.how import How, usual
from boltzmann.train.model import parameter_shapes
from boltzmann.train.presets import PRESETS, flops_per_token, peak_flops

ROOT = Path(__file__).resolve().parents[1]
POINTS, CHUNK, RATIO = 4096, 256, 100


@dataclass(frozen=True)
class Tokens:
    """A page's token sequences, as the engine takes them."""

    tokens: NDArray[np.int64]


def main() -> None:
    options = _options()
    device = pick_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    rows = [
        measure(name, device, how, options)
        for name in options.models
        for how in _hows(options, device)
    ]
    print(show_rows(rows))
    found = {
        "machine": machine_facts(("torch", "transformers", "numpy")) | {"device": _name(device)},
        "options": {k: str(v) for k, v in vars(options).items()},
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def measure(name: str, device: torch.device, how: How, options: Any) -> dict[str, Any]:
    """One model computed in one way."""
    config = PRESETS[name] if name in PRESETS else model_config(name)
    parameters = _parameters(config)
    engine = OwnEngine(config, parameters, _pages(config, options), device, how)
    layout = Layout.of(parameter_shapes(config), CHUNK, RATIO)
    points, chosen = draw(layout, block_hash(1), POINTS), select(layout, block_hash(2))
    tokens = options.pages * options.rows * options.length
    training, beside = [], []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(options.rounds + 1):
        begun = time.perf_counter()
        engine.refresh(parameters)
        _wait(device)
        refreshed = time.perf_counter()
        delta = engine.gradient(range(options.pages), points)
        _wait(device)
        trained = time.perf_counter()
        Codec.BF16.encode(delta.on_slice(chosen))
        done = time.perf_counter()
        training.append(trained - refreshed)
        beside.append(done - begun - (trained - refreshed))
    seconds, peak = median(training[1:]), peak_flops(_name(device))
    rate = tokens / seconds
    return {
        "model": name,
        "sequences": how.sequences,
        "compiled": how.compiled,
        "checkpointing": how.checkpointing,
        "tokens_per_second": round(rate),
        "mfu": rate * flops_per_token(config, options.length) / peak if peak else None,
        "memory_gb": peak_memory(device) / 1e9,
        "first_seconds": training[0],
        "beside_seconds": median(beside[1:]),
        "beside_share": median(beside[1:]) / options.window,
    }


def _parameters(config: ModelConfig) -> dict[str, NDArray[np.float32]]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.empty(shape).normal_(0.0, 0.02, generator=generator).numpy()
        if len(shape) > 1
        else np.ones(shape, np.float32)
        for name, shape in parameter_shapes(config).items()
    }


def _pages(config: ModelConfig, options: Any) -> Any:
    shape = options.rows, options.length
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, shape, dtype=np.int64)

    @contextmanager
    def load(pages: Sequence[int]) -> Iterator[Iterator[Tokens]]:
        yield iter([Tokens(tokens) for _ in pages])

    return load


def _hows(options: Any, device: torch.device) -> list[How]:
    return [
        replace(
            usual(device, native(device)),
            sequences=sequences,
            compiled=compiled == "on",
            checkpointing=options.checkpointing,
        )
        for sequences in options.sequences
        for compiled in options.compile
    ]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", nargs="+", choices=(LOCAL, *PRESETS), default=["124M", "1B"])
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--pages", type=int, default=4)
    parser.add_argument("--sequences", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=float, default=60.0)
    parser.add_argument("--compile", nargs="+", choices=("on", "off"), default=["on"])
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/throughput.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
