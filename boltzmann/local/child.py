"""A node's process of the local network: a fork that runs miner.py or validator.py.

Importing torch and transformers costs each node about four seconds of one core. Forking the nodes
from one process that has done so brings five of them up in 6 s instead of 12 s on two cores. What
they run from there on is the same program, with the same settings, as on any other machine.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

PRELOAD = ("boltzmann.app.setup", "boltzmann.node.miner", "boltzmann.node.validator")


def prepare(environment: Mapping[str, str]) -> ForkServerContext:
    """Start the process that nodes are forked from; it imports what they need while we go on.

    `environment`: all it has, such as what libraries read when they are loaded (OMP_NUM_THREADS).
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    with _environment(environment):
        forkserver.ensure_running()
    return context


def run_program(program: str, folder: str, log: str, environment: dict[str, str]) -> None:
    """In the forked process: become `python3 program`, its output going to `log`."""
    from setproctitle import setproctitle

    # First: it finds the title's place in memory by the environment as the process got it.
    setproctitle(f"python3 {Path(program).name} ({Path(folder).name})")
    os.setsid()  # Ctrl-C reaches the launcher, which ends all in order
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.chdir(folder)  # no .env of the user's there
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
