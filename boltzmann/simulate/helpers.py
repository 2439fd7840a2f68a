"""Processes that compute gradients beside this one: a window's are many and independent."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np
from numpy.typing import NDArray

from boltzmann.errors import BoltzmannError
from boltzmann.node.worker import Worker
from boltzmann.protocol.points import Points
from boltzmann.train.gradients import Delta


@dataclass(frozen=True, eq=False)
class Job:
    """A gradient to compute. `name` is the same for the same pages and points."""

    pages: tuple[int, ...]
    points: Points | None

    @property
    def name(self) -> Hashable:
        """What it is looked up by."""
        if self.points is None:
            return self.pages
        chosen = hashlib.blake2b(digest_size=16)
        for places in self.points.chosen:
            chosen.update(places.data)
        return self.pages, chosen.digest()


class Helpers:
    """Forks of this process, whose workers have the same memory and so round in the same way.

    To be made before this process computes anything, where a build of torch knows of GPUs.
    """

    def __init__(self, worker: Worker, count: int) -> None:
        """Raises: ValueError where processes cannot be forked."""
        self._worker = worker
        self._lines: list[Connection] = []
        self._processes: list[BaseProcess] = []
        if not count:
            return
        context = multiprocessing.get_context("fork")
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve, args=(worker, there, [*self._lines, here]), daemon=True
            )
            process.start()
            there.close()
            self._lines.append(here)
            self._processes.append(process)

    def compute(self, theta: NDArray[np.float32], jobs: Sequence[Job]) -> list[Delta]:
        """The gradient of each job's pages, in order. Raises: BoltzmannError if a helper died."""
        shares = len(self._lines) + 1
        with _helped():
            for place, line in enumerate(self._lines):
                line.send((theta, jobs[place + 1 :: shares]))
        found: list[list[Delta]] = [gradients(self._worker, theta, jobs[::shares])]
        with _helped():
            found += [line.recv() for line in self._lines]
        return [found[number % shares][number // shares] for number in range(len(jobs))]

    def close(self) -> None:
        """End the processes."""
        for line in self._lines:
            line.close()
        for process in self._processes:
            process.join()


@contextmanager
def _helped() -> Iterator[None]:
    """Around what is sent to helpers or read from them. Raises: BoltzmannError if one died."""
    try:
        yield
    except (EOFError, OSError) as error:
        raise BoltzmannError(
            "a helping process of the simulation has died; see what it said, or do without "
            "helpers (--processes 1)"
        ) from error


def gradients(worker: Worker, theta: NDArray[np.float32], jobs: Sequence[Job]) -> list[Delta]:
    """What the nodes' own worker computes from these parameters."""
    worker.state.theta[:] = theta
    return [worker.compute(job.pages, job.points) for job in jobs]


def _serve(worker: Worker, line: Connection, inherited: Sequence[Connection]) -> None:
    """The helper's loop, until the other end of its line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the simulation ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in inherited:
        other.close()
    while True:
        try:
            theta, jobs = line.recv()
        except EOFError:
            return
        line.send(gradients(worker, theta, jobs))
