"""Trying again, within a bound: what a busy or broken host gets."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from boltzmann.errors import DataUnavailable

PATIENCE_SECONDS = 330.0  # the hub counts requests over five minutes, and says no until they end
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 10.0  # seconds between tries, doubled each time

T = TypeVar("T")


class Transient(Exception):
    """A fault that may be over soon.

    `wait`: the seconds its host asked for, 0 if it did not; `within`: how many seconds of the
    whole time are worth spending on a fault like this.
    """

    def __init__(self, reason: str, *, wait: float = 0.0, within: float = math.inf) -> None:
        super().__init__(reason)
        self.wait = wait
        self.within = within


def persist(what: str, seconds: float, attempt: Callable[[float], T]) -> T:
    """The first success of `attempt(until)` within `seconds` in all, Transient being tried again.

    `until`: the moment of the monotonic clock by which that attempt should give up with Transient;
    one attempt gets a third of all, so that a connection that hardly moves is left for another.
    Raises: DataUnavailable when the time is over; what else `attempt` raises.
    """
    began = time.monotonic()
    deadline = began + seconds
    for tries in count(1):
        try:
            return attempt(min(deadline, time.monotonic() + seconds / 3))
        except Transient as trouble:
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(tries - 1, 10))
            wait = max(trouble.wait, wait * random.uniform(0.5, 1.0))
            most = min(seconds, trouble.within)
            if time.monotonic() + wait >= began + most:
                raise DataUnavailable(
                    f"{what} could not be read within {most:g} s ({tries} tries, at last: "
                    f"{trouble}): try again later, or read the run's data from a copy of it"
                ) from trouble
            time.sleep(wait)
    raise AssertionError("count() has no end")
