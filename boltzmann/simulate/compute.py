"""Gradients of a simulation: one model for all nodes, and nothing is computed twice.

A gradient is a function of the parameters and the pages. Whoever asks first computes it with the
nodes' own worker; an audit of honest work then costs a look-up.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from boltzmann.node.worker import Worker
from boltzmann.train.gradients import Delta
from boltzmann.train.state import ModelState

T = TypeVar("T")

_THETAS_KEPT = 4  # this window's parameters, the last one's, and candidates that are tried


class Engine:
    """The one worker that computes for all. `computed` and `found`: how often it did, or had it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._known: OrderedDict[bytes, dict[Hashable, Any]] = OrderedDict()
        self.computed = 0
        self.found = 0

    def ask(self, theta: NDArray[np.float32], what: Hashable, work: Callable[[Worker], T]) -> T:
        """`work` of a worker whose parameters are `theta`; `what` names the question."""
        key = hashlib.blake2b(theta.data, digest_size=16).digest()
        answers = self._known.setdefault(key, {})
        self._known.move_to_end(key)
        while len(self._known) > _THETAS_KEPT:
            self._known.popitem(last=False)
        if what in answers:
            self.found += 1
            return cast(T, answers[what])
        self._worker.state.theta[:] = theta
        self.computed += 1
        answers[what] = answer = work(self._worker)
        return answer

    def close(self) -> None:
        """End the worker."""
        self._worker.close()


class SharedWorker(Worker):
    """One node's worker: a state of its own, the gradients of the engine, and no thread."""

    def __init__(self, state: ModelState, engine: Engine) -> None:
        self.state = state
        self._engine = engine

    async def run(self, work: Callable[[], T]) -> T:
        """`work()`, here and now."""
        return work()

    def compute(self, pages: Sequence[int]) -> Delta:
        """See `Worker.compute`. The tensors are everybody's: they cannot be written to."""
        return self._engine.ask(
            self.state.theta, ("delta", tuple(pages)), lambda worker: _locked(worker.compute(pages))
        )

    def _loss(self, pages: Sequence[int]) -> float:
        return self._engine.ask(
            self.state.theta, ("loss", tuple(pages)), lambda worker: worker._loss(pages)
        )

    def close(self) -> None:
        """Nothing runs."""


def _locked(delta: Delta) -> Delta:
    for tensor in delta.tensors:
        tensor.flags.writeable = False
    return delta
