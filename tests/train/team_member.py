"""One process of a team of two, for the tests: everybody computes, and writes what came."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threads_kit import threads
from train_kit import COMPILES, TIED, TINY, Tokens, model_state, token_batch

from boltzmann.errors import BrokenOff, DataError, StateError
from boltzmann.protocol.points import draw
from boltzmann.protocol.slices import select
from boltzmann.train.engine import TeamEngine, assist
from boltzmann.train.how import How
from boltzmann.train.sharded import ShardedModel
from boltzmann.train.team import Team, join_team

BATCHES = (token_batch("one", 5), token_batch("two", 1), token_batch("three", 2))
HOWS = {"plain": How(), "parts": How(sequences=1, checkpointing=True, logits=400)}
ROUNDED = {"bf16": How(precision=torch.bfloat16)}
if COMPILES:
    ROUNDED["bf16-compiled"] = How(precision=torch.bfloat16, compiled=True)
ORDER = (0, 1, 2)
MISSING = 9


@contextmanager
def load(pages: Sequence[int]) -> Iterator[Iterator[Tokens]]:
    def read() -> Iterator[Tokens]:
        for page in pages:
            if page == MISSING:
                raise DataError("page 9 is missing")
            yield BATCHES[page]

    yield read()


def main(out: Path) -> None:
    team = join_team("cpu")
    found = compute(team)
    found["threads-of-team"] = np.array(threads())
    if team.leads:
        lead(team, found)
    else:
        assist(ShardedModel(TINY, How(), team), load, team)
    team.leave()
    found["threads-left"] = np.array(threads())
    np.savez(f"{out}-{team.rank}.npz", **found)


def compute(team: Team) -> dict[str, Any]:
    """What each process computes of the models that all share."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, config in (("untied", TINY), ("tied", TIED)):
            state = model_state(Path(folder) / name, config)
            chosen, points = select(state.layout, bytes(32)), draw(state.layout, bytes(32), 100)
            for label, how in HOWS.items():
                model = ShardedModel(config, how, team)
                model.refresh(state.parameters if team.leads else None)
                loss, tokens, shares = model.gradient(load, ORDER, points)
                key = f"{name}-{label}"
                found[f"{key}-loss"] = np.array([loss, tokens, model.loss(load, ORDER)])
                found[f"{key}-shares"] = shares
                found[f"{key}-slice"] = model.on_slice(chosen)
                found[f"{key}-points"] = model.on_points(points)
                try:
                    model.gradient(load, (0, MISSING), points)
                except DataError as error:
                    found[f"{key}-error"] = np.array([str(error)])
        state = model_state(Path(folder) / "rounded")
        for label, how in ROUNDED.items():
            model = ShardedModel(TINY, how, team)
            model.refresh(state.parameters if team.leads else None)
            model.gradient(load, ORDER, None)
            found[f"{label}-slice"] = model.on_slice(select(state.layout, bytes(32)))
    return found


def lead(team: Team, found: dict[str, Any]) -> None:
    """The same by orders, as a node gives them."""
    engine = TeamEngine(TINY, load, How(), team)
    with tempfile.TemporaryDirectory() as folder:
        state = model_state(Path(folder))
        engine.refresh(state.parameters)
        first = engine.gradient(ORDER, draw(state.layout, bytes(32), 100))
        found["orders-slice"] = first.on_slice(select(state.layout, bytes(32)))
        found["orders-shares"] = first.shares
        found["orders-whole"] = np.concatenate(list(first.tensors))
        found["orders-loss"] = np.array([first.loss, first.tokens, engine.loss(ORDER)])
        try:
            engine.gradient((MISSING,), None)
        except DataError as error:
            found["orders-error"] = np.array([str(error)])
        try:
            engine.gradient(ORDER, None, iter((True, False)).__next__)
        except BrokenOff as error:
            found["orders-broken-off"] = np.array([str(error)])
        found["orders-after"] = engine.gradient(ORDER, None).on_slice(
            select(state.layout, bytes(32))
        )
        state.theta *= np.float32(1.5)
        engine.loss(ORDER)  # a pass forward only leaves nothing of the old parameters
        engine.refresh(state.parameters)
        moved = engine.gradient(ORDER, None)
        found["orders-moved-loss"] = np.array([moved.loss, moved.tokens, engine.loss(ORDER)])
        found["orders-moved-whole"] = np.concatenate(list(moved.tensors))
        try:
            first.on_slice(select(state.layout, bytes(32)))
        except StateError as error:
            found["orders-stale"] = np.array([str(error)])
        engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
