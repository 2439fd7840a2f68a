"""Gradients of a simulation: one model for all nodes, and nothing is computed twice.

A gradient is a function of the parameters and the pages. Whoever asks first has it computed by the
nodes' own worker; an audit of honest work then costs a look-up. What many ask for at one moment is
computed at the end of that moment, by all helpers together.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from boltzmann.node.worker import Worker
from boltzmann.protocol.points import Points
from boltzmann.simulate.clock import when_idle
from boltzmann.simulate.helpers import Helpers, Job
from boltzmann.train.engine import IsWanted, always
from boltzmann.train.gradients import Delta
from boltzmann.train.state import ModelState

Floats = NDArray[np.float32]
T = TypeVar("T")

_THETAS_KEPT = 4  # this window's parameters, the last one's, and candidates that are tried


@dataclass(frozen=True)
class _Wanted:
    """A gradient that somebody waits for. `key` names `theta`, which is a copy."""

    key: bytes
    theta: Floats
    job: Job
    future: asyncio.Future[Delta]


class Engine:
    """What computes for all. `computed` and `found`: how often it had to, and how often not."""

    def __init__(self, worker: Worker, helpers: Helpers) -> None:
        self._worker = worker
        self._helpers = helpers
        self._known: OrderedDict[bytes, dict[Hashable, Any]] = OrderedDict()
        self._wanted: list[_Wanted] = []
        self.computed = 0
        self.found = 0

    async def delta(
        self, theta: Floats, pages: Sequence[int], points: Points | None = None
    ) -> Delta:
        """The gradient on these pages from the present value of `theta`."""
        key, job = _name(theta), Job(tuple(pages), points)
        known = self._answers(key).get(job.name)
        if known is not None:
            self.found += 1
            return cast(Delta, known)
        if not self._wanted:
            when_idle(self._compute_all)
        future: asyncio.Future[Delta] = asyncio.get_running_loop().create_future()
        self._wanted.append(_Wanted(key, theta.copy(), job, future))
        return await future

    def compute(self, theta: Floats, pages: Sequence[int], points: Points | None = None) -> Delta:
        """As `delta`, at once."""
        name = Job(tuple(pages), points).name
        return self._ask(theta, name, lambda worker: _locked(worker.compute(pages, points)))

    def loss(self, theta: Floats, pages: Sequence[int]) -> float:
        """The mean loss on these pages."""
        return self._ask(theta, ("loss", tuple(pages)), lambda worker: worker._loss(pages))

    def close(self) -> None:
        """End the worker and its helpers."""
        self._helpers.close()
        self._worker.close()

    def _ask(self, theta: Floats, what: Hashable, work: Callable[[Worker], T]) -> T:
        """`work` of a worker whose parameters are `theta`; `what` names the question."""
        answers = self._answers(_name(theta))
        if what in answers:
            self.found += 1
            return cast(T, answers[what])
        self._worker.state.theta[:] = theta
        self.computed += 1
        answers[what] = answer = work(self._worker)
        return answer

    def _compute_all(self) -> None:
        """Everything that is waited for, each once, whoever asked first coming first."""
        wanted, self._wanted = self._wanted, []
        by_theta: dict[bytes, dict[Hashable, _Wanted]] = {}
        for each in wanted:
            by_theta.setdefault(each.key, {}).setdefault(each.job.name, each)
        for key, jobs in by_theta.items():
            theta = next(iter(jobs.values())).theta
            found = self._helpers.compute(theta, [each.job for each in jobs.values()])
            self.computed += len(found)
            answers = self._answers(key)
            for name, delta in zip(jobs, found, strict=True):
                answers[name] = _locked(delta)
        for each in wanted:
            if not each.future.done():
                each.future.set_result(self._answers(each.key)[each.job.name])

    def _answers(self, key: bytes) -> dict[Hashable, Any]:
        answers = self._known.setdefault(key, {})
        self._known.move_to_end(key)
        while len(self._known) > _THETAS_KEPT:
            self._known.popitem(last=False)
        return answers


class SharedWorker(Worker):
    """One node's worker: a state of its own, the gradients of the engine, and no thread.

    The tensors of a gradient are everybody's: they cannot be written to.
    """

    def __init__(self, state: ModelState, engine: Engine) -> None:
        self.state = state
        self._engine = engine

    async def run(self, work: Callable[[], T]) -> T:
        """`work()`, here and now."""
        return work()

    async def delta(self, pages: Sequence[int], points: Points | None = None) -> Delta:
        """See `Worker.delta`."""
        return await self._engine.delta(self.state.theta, pages, points)

    def compute(
        self, pages: Sequence[int], points: Points | None = None, is_wanted: IsWanted = always
    ) -> Delta:
        """See `Worker.compute`. No block comes meanwhile, so nothing is ever broken off."""
        return self._engine.compute(self.state.theta, pages, points)

    def _loss(self, pages: Sequence[int]) -> float:
        return self._engine.loss(self.state.theta, pages)

    def close(self) -> None:
        """Nothing runs."""


def _name(theta: Floats) -> bytes:
    return hashlib.blake2b(theta.data, digest_size=16).digest()


def _locked(delta: Delta) -> Delta:
    for tensor in (*delta.tensors, delta.shares):
        tensor.flags.writeable = False
    return delta
