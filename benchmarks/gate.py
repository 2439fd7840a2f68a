"""How far apart honest work and cheats are in an audit's figures, and where the thresholds lie.

    python -m benchmarks.gate [--windows 0 5 100 500] [--models 0.86M 3M] [--pages 8] [--samples 2]
                              [--rows 3] [--between 2] [--codec bf16] [--device cpu] [--quick]
                              [--out benchmarks/results/gate.json] [--svg FILE] [--states FOLDER]

Four honest members train each model for so many windows, of `--between` pages a member so that it
takes less long; in the `--samples` windows that follow, they compute all their `--pages`,
honest work is done in every way at hand, and every cheat is tried. Each upload gets a full audit,
and a spot audit of each page. Results are written after every (model, windows) pair, and with
`--states FOLDER` the model's state between them; a second start with the same options goes on where
the first ended, and draws what is there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from benchmarks.gate_cases import CHEAT, ELSEWHERE, HONEST, UNLIKE, View, cheats, saboteurs
from benchmarks.gate_figures import Audited, Limits, full_audit, spot_audit, summary
from benchmarks.gate_plot import draw_plot
from benchmarks.gate_scene import (
    MEMBERS,
    MODELS,
    Extent,
    Recomputed,
    Scene,
    Training,
    gate_run,
    open_training,
)
from benchmarks.gate_table import Cell, Row, cell_of, is_refused, overall, show_rows
from benchmarks.gate_ways import Way, honest_ways
from benchmarks.machine import machine_facts
from boltzmann.node.conduct import Offer
from boltzmann.node.worker import pick_device
from boltzmann.protocol.codec import Codec
from boltzmann.train.model import parameter_shapes

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "torch", "transformers")
QUICK: dict[str, Any] = {"windows": [0, 5], "models": ["0.86M"], "samples": 1}
SAVED_EVERY = 25  # windows
FULL: dict[str, Any] = {"windows": [0, 5, 100, 500], "models": list(MODELS), "samples": 2}


def main() -> None:
    options = _options()
    cells = _read(options)
    for model in options.models:
        done = {cell.window for cell in cells if cell.model == model}
        _measure(options, model, [w for w in options.windows if w not in done], cells)
    rows = overall(cells)
    print(f"\nall models and windows, {options.pages} pages")
    show_rows(rows)
    limits = _limits(options)
    options.svg.write_text(
        draw_plot(rows, limits, f"{options.pages} pages a member, rows a page: {options.rows}")
    )
    verdict = "HONEST WORK REFUSED" if is_refused(rows) else "no honest work refused"
    print(f"{verdict}; results in {options.out}, picture in {options.svg}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--windows", nargs="+", type=int)
    parser.add_argument("--models", nargs="+", choices=MODELS)
    parser.add_argument("--pages", type=int, default=8)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--rows", type=int, default=3, help="rows of text in a page")
    parser.add_argument(
        "--between", type=int, default=2, help="pages of a member in windows not measured"
    )
    parser.add_argument("--codec", choices=[codec.value for codec in Codec], default="bf16")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--quick", action="store_true", help="one model, few windows")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--states", type=Path, help="keep the models' states there, to go on from")
    options = parser.parse_args()
    for name, value in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    counts = options.samples, options.rows, options.between
    if min(*options.windows, 0) < 0 or min(counts) < 1 or options.pages < 2:
        parser.error(
            "--windows must not be negative; --samples, --rows, --between be 1 or more, --pages 2"
        )
    name = "gate-quick.json" if options.quick else "gate.json"
    options.out = options.out or ROOT / "benchmarks/results" / name
    options.svg = options.svg or options.out.with_suffix(".svg")
    options.windows = sorted(set(options.windows))
    return options


def _extent(options: argparse.Namespace) -> Extent:
    windows = max(options.windows) + options.samples
    return Extent(options.pages, options.rows, windows, Codec(options.codec))


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What cells must have in common to stand in one file."""
    return {
        "pages": options.pages,
        "rows": options.rows,
        "codec": options.codec,
        "pages_between": options.between,
        "members": len(MEMBERS),
        "windows": _extent(options).windows,
        "samples": options.samples,
        "device": _device_name(pick_device(options.device)),
        "limits": asdict(_limits(options)),
    }


def _limits(options: argparse.Namespace) -> Limits:
    run = gate_run(options.models[0], _extent(options))
    return Limits(run.gate, run.audit)


def _device_name(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def _read(options: argparse.Namespace) -> list[Cell]:
    """What an earlier start has measured. Raises: SystemExit if with other settings."""
    if not options.out.exists():
        return []
    before = json.loads(options.out.read_text())
    if before["settings"] != json.loads(json.dumps(_settings(options))):
        raise SystemExit(
            f"{options.out} holds results with other settings: name another --out, or remove it"
        )
    return [cell_of(cell) for cell in before["cells"]]


def _write(options: argparse.Namespace, cells: Sequence[Cell]) -> None:
    results = {
        "machine": machine_facts(PACKAGES),
        "settings": _settings(options),
        "parameters": {name: _parameters(name) for name in options.models},
        "quantiles": "least, 1%, median, 99%, most",
        "cells": [asdict(cell) for cell in cells],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = options.out.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(options.out)


def _parameters(model: str) -> int:
    return sum(prod(shape) for shape in parameter_shapes(MODELS[model]).values())


def _measure(
    options: argparse.Namespace, model: str, windows: Sequence[int], cells: list[Cell]
) -> None:
    """Train as far as needed, and add a cell for each of the windows."""
    if not windows:
        return
    device = pick_device(options.device)
    open_cells = {window: _Collected(_limits(options), honest_ways(device)) for window in windows}
    with (
        tempfile.TemporaryDirectory() as folder,
        open_training(model, _extent(options), device, Path(folder)) as training,
    ):
        # Another number of pages, or other values that travel, come to another state.
        name = f"{model}-{options.between}" + ("-fp32" if options.codec == "fp32" else "")
        states = options.states / name if options.states else None
        if states and windows[0] > 0:
            _resume(states, windows[0], training)
        for trained in range(training.trained, windows[-1] + options.samples):
            due = [w for w in windows if w <= trained < w + options.samples]
            scene = training.scene(None if due else options.between)
            for window, collected in open_cells.items():
                if window in due:
                    collected.add(training, scene)
                if trained == window + options.samples - 1:
                    cells.append(collected.cell(model, window))
                    _write(options, cells)
                    _show(cells[-1])
            training.step(scene)
            # What a measured window needs of the one before it is not kept.
            measured = any(w <= trained + 1 <= w + options.samples for w in windows)
            if states and training.trained % SAVED_EVERY == 0 and not measured:
                training.save(states)


def _resume(states: Path, first: int, training: Training) -> None:
    """Go on from a state that was kept. Raises: SystemExit if it is beyond the first window that
    is to be measured."""
    training.resume(states)
    if training.trained >= first:
        raise SystemExit(
            f"{states} is of window {training.trained}, and window {first} is still to be "
            f"measured: remove it, or name another --states"
        )


def _show(cell: Cell) -> None:
    print(
        f"\n{cell.model} after {cell.window} windows: loss {cell.loss:.2f}, {cell.seconds:.0f} s"
        + "".join(f"\n{note}" for note in cell.notes)
    )
    show_rows(cell.rows)


class _Collected:
    """The audits of one cell."""

    def __init__(self, limits: Limits, ways: Sequence[Way]) -> None:
        self._limits = limits
        self._ways = list(ways)
        self._full: dict[tuple[str, str], list[Audited]] = {}
        self._spot: dict[tuple[str, str], list[Audited]] = {}
        self._losses: list[float] = []
        self._notes: list[str] = []
        self._seconds = 0.0

    def add(self, training: Training, scene: Scene) -> None:
        """Audit every case in one window."""
        start = time.perf_counter()
        self._losses.append(scene.loss)
        for place, member in enumerate(MEMBERS):
            work = training.recompute(scene, member)
            works: dict[Way | None, Recomputed] = {None: work}
            for way in list(self._ways):
                if place == 0 or not way.is_slow:
                    self._add_way(training, scene, member, way, works)
            view = View(scene, member, work, np.random.default_rng([scene.window, place]))
            for name, offer in cheats(training, view):
                self._audit(CHEAT, name, scene, offer, work)
            for name, offer in saboteurs(view):
                self._audit(ELSEWHERE, name, scene, offer, work)
        self._seconds += time.perf_counter() - start

    def _add_way(
        self,
        training: Training,
        scene: Scene,
        member: str,
        way: Way,
        works: dict[Way | None, Recomputed],
    ) -> None:
        if way.audited not in works:
            works[way.audited] = training.recompute(scene, member, way.audited)
        work = works[way.audited]
        try:
            done = scene.uploads[member] if way == training.reference else None
            offer = done or training.honest(scene, member, way)
        except RuntimeError as error:
            # Only torch.compile may be missing something; it is left out for the cell's rest.
            if not way.how.compiled:
                raise
            self._ways.remove(way)
            self._notes.append(f"{way.name} left out: {str(error).splitlines()[0]}")
            return
        self._audit(HONEST if way.is_alike else UNLIKE, way.name, scene, offer, work)

    def _audit(self, kind: str, case: str, scene: Scene, offer: Offer, work: Recomputed) -> None:
        full = full_audit(scene, offer, work, self._limits)
        self._full.setdefault((kind, case), []).append(full)
        self._spot.setdefault((kind, case), []).extend(
            spot_audit(scene, offer, page, work, self._limits, full) for page in range(scene.pages)
        )

    def cell(self, model: str, window: int) -> Cell:
        rows = [
            Row(case, kind, summary(audits), summary(self._spot[kind, case]))
            for (kind, case), audits in self._full.items()
        ]
        return Cell(model, window, fmean(self._losses), self._seconds, self._notes, rows)


if __name__ == "__main__":
    main()
