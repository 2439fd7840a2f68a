"""One telemetry made of several."""

from __future__ import annotations

import threading

from boltzmann.errors import BoltzmannError
from boltzmann.ports import Telemetry
from boltzmann.telemetry.events import ERROR

# What a sink may meet: its file, terminal or process (OSError, RuntimeError), a field of a kind it
# did not expect (the others), or trouble this package names itself.
_SINK_TROUBLE = (
    ArithmeticError,
    AttributeError,
    BoltzmannError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Fanout:
    """Hands each event to every sink, in order.

    Sinks should not raise; one that does is detached and closed, and the others get one error
    event about it. Without sinks, events go nowhere. Calls may come from several threads.
    """

    def __init__(self, *sinks: Telemetry) -> None:
        self._sinks = sinks
        self._lock = threading.Lock()

    def event(self, name: str, **fields: object) -> None:
        """Hand one event to every sink."""
        for sink in self._sinks:
            try:
                sink.event(name, **fields)
            except _SINK_TROUBLE as error:
                self._detach(sink, error)

    def close(self) -> None:
        """Close every sink; one that raises does not keep the next from being closed."""
        for sink in self._sinks:
            self._close(sink)

    def _detach(self, sink: Telemetry, error: Exception) -> None:
        with self._lock:
            if all(known is not sink for known in self._sinks):
                return
            self._sinks = tuple(known for known in self._sinks if known is not sink)
        self._close(sink)
        self.event(
            ERROR,
            what="telemetry",
            detail=f"{type(sink).__name__} gets no more events, because it raised "
            f"{type(error).__name__}: {error}",
        )

    def _close(self, sink: Telemetry) -> None:
        try:
            sink.close()
        except _SINK_TROUBLE as error:
            self._detach(sink, error)
