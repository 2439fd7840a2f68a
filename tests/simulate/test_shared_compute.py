"""Gradients that all nodes share: the nodes' own, each computed once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from boltzmann.data.tokenizer import ByteTokenizer
from boltzmann.errors import BoltzmannError
from boltzmann.node.worker import Worker
from boltzmann.simulate.clock import run_virtual
from boltzmann.simulate.compute import Engine, SharedWorker
from boltzmann.simulate.helpers import Helpers, Job
from boltzmann.simulate.plan import SimulationPlan
from boltzmann.simulate.text import Loaded, SmallPages
from boltzmann.train.gradients import Delta
from boltzmann.train.model import initial_parameters, parameter_shapes
from boltzmann.train.state import ModelState

RUN = SimulationPlan().run_config()
LOAD = Loaded(SmallPages(2), ByteTokenizer(), RUN.data.sequence_length)


def state(folder: Path) -> ModelState:
    shapes = parameter_shapes(RUN.model)
    made = ModelState(RUN.layout(shapes), shapes, RUN.outer, folder, RUN.exchange.history)
    made.reset(initial_parameters(RUN.model, RUN.key), "head", 0)
    return made


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    worker = Worker(RUN, state(tmp_path / "engine"), LOAD, torch.device("cpu"))
    made = Engine(worker, Helpers(worker, 0))
    yield made
    made.close()


def same(left: Delta, right: Delta) -> bool:
    pairs = zip(left.tensors, right.tensors, strict=True)
    return left.loss == right.loss and all(np.array_equal(a, b) for a, b in pairs)


def test_a_shared_gradient_is_what_a_node_alone_computes(engine: Engine, tmp_path: Path) -> None:
    alone = Worker(RUN, state(tmp_path / "alone"), LOAD, torch.device("cpu"))
    shared = SharedWorker(state(tmp_path / "shared"), engine)
    for pages in ((1, 2), (3,)):
        assert same(shared.compute(pages), alone.compute(pages))
    assert run_virtual(shared.loss((5,))) == alone._loss((5,))
    alone.close()


def test_the_same_question_is_answered_once(engine: Engine, tmp_path: Path) -> None:
    nodes = [SharedWorker(state(tmp_path / str(number)), engine) for number in range(3)]

    async def main() -> list[Delta]:
        return list(await asyncio.gather(*(node.delta((1, 2)) for node in nodes)))

    first, *others = run_virtual(main())
    assert all(other is first for other in others)
    assert nodes[0].compute((1, 2)) is first
    assert engine.computed == 1
    with pytest.raises(ValueError, match="read-only"):
        first.tensors[0][0] = 1.0


def test_other_parameters_or_pages_are_another_question(engine: Engine, tmp_path: Path) -> None:
    one, other = (SharedWorker(state(tmp_path / name), engine) for name in ("one", "other"))
    other.state.theta[0] += np.float32(1.0)
    found = [one.compute((1, 2)), one.compute((2, 1)), one.compute((1,)), other.compute((1, 2))]
    assert engine.computed == 4
    assert not any(same(found[0], each) for each in found[2:])
    assert same(one.compute((1, 2)), found[0])
    assert engine.computed == 4


def test_a_gradient_is_of_the_parameters_as_they_were_when_it_was_asked_for(
    engine: Engine, tmp_path: Path
) -> None:
    node = SharedWorker(state(tmp_path / "node"), engine)
    before = node.state.theta.copy()

    async def main() -> Delta:
        task = asyncio.create_task(node.delta((7,)))
        await asyncio.sleep(0)
        node.state.theta[:] = 0.0
        return await task

    late = run_virtual(main())
    node.state.theta[:] = before
    assert node.compute((7,)) is late


def test_old_parameters_are_forgotten(engine: Engine, tmp_path: Path) -> None:
    node = SharedWorker(state(tmp_path / "node"), engine)
    first = node.compute((1,))
    for _ in range(4):
        node.state.theta[0] += np.float32(1.0)
        node.compute((1,))
    node.state.theta[0] -= np.float32(4.0)
    assert node.compute((1,)) is not first
    assert engine.computed == 6


def test_a_helper_that_died_before_it_was_asked_is_told(tmp_path: Path) -> None:
    worker = Worker(RUN, state(tmp_path / "worker"), LOAD, torch.device("cpu"))
    helpers = Helpers(worker, 1)
    (process,) = helpers._processes
    process.kill()
    process.join()
    theta = worker.state.theta.copy()
    with pytest.raises(BoltzmannError, match="a helping process of the simulation has died"):
        helpers.compute(theta, [Job((1,), None), Job((2,), None)])
    helpers.close()
    worker.close()
