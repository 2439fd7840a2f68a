"""An event loop whose time jumps: nobody waits, and everything happens in one order.

When no coroutine can go on, the clock is set to the next timer. What would run in a thread runs in
place, in the same order every time. Both together make a simulation a function of its inputs.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from boltzmann.errors import BoltzmannError

T = TypeVar("T")

_RESOLUTION_S = 1e-6  # above the rounding of any time that is reached, or a timer never comes


class SimulationStuck(BoltzmannError):
    """Every coroutine waits for another one, and there is no timer to jump to."""


class _Jumping(selectors.BaseSelector):
    """Looks at the real files without waiting; where nothing happens, time passes at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.idle: list[Callable[[], None]] = []
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self._real.select(0)
        if events or timeout == 0.0:
            return events
        if self.idle:
            calls, self.idle = self.idle, []
            for call in calls:
                call()
            return []
        if timeout is None:
            raise SimulationStuck(
                f"nothing can happen any more at virtual second {self.now:g}: all coroutines wait "
                f"for each other and none for a time; look for a future that nobody sets"
            )
        self.now += max(0.0, timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual seconds, which begin at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = _RESOLUTION_S
        self._spent_s = 0.0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call `func` here and now; the future is done, or will be after what the call has spent.

        Its exceptions are the future's, but those that end a program go through.
        """
        outer, self._spent_s = self._spent_s, 0.0
        done: asyncio.Future[T] = self.create_future()
        try:
            settle: Callable[[], None] = _setting(done, func(*args))
        except Exception as error:  # noqa: BLE001 - as an executor, it hands on whatever comes
            settle = _raising(done, error)
        finally:
            spent, self._spent_s = self._spent_s, outer
        if spent > 0.0:
            self.call_later(spent, settle)
        else:
            settle()
        return done

    def spend(self, seconds: float) -> None:
        """Let the call that runs in an executor now take so many virtual seconds more."""
        self._spent_s += seconds

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call this once nobody can go on at the present moment; time stands still meanwhile."""
        self._jumping.idle.append(call)


def spend(seconds: float) -> None:
    """As `VirtualLoop.spend`, in the loop that runs now. Raises: RuntimeError in no such loop."""
    _running().spend(seconds)


def when_idle(call: Callable[[], None]) -> None:
    """As `VirtualLoop.when_idle`, in the same way."""
    _running().when_idle(call)


def _running() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise RuntimeError("this loop has no virtual time: run it in a VirtualLoop")
    return loop


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`, run to its end in virtual time; what it leaves behind is cancelled.

    Raises: SimulationStuck if it can never end.
    """
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _setting(done: asyncio.Future[T], value: T) -> Callable[[], None]:
    def settle() -> None:
        if not done.done():  # whoever awaited it may have been cancelled meanwhile
            done.set_result(value)

    return settle


def _raising(done: asyncio.Future[T], error: Exception) -> Callable[[], None]:
    def settle() -> None:
        if not done.done():
            done.set_exception(error)

    return settle
