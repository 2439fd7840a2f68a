"""Events to Weights & Biases, from a process of its own.

A thread would not do: with wandb 0.31 and a server that does not answer, a node whose main thread
had ended was kept from exiting for the whole of wandb's init timeout (20 s when set to 20 s; the
default is 90 s), and nothing can end a thread. A process can be killed. It also keeps wandb's
memory out of the node's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import boltzmann
from boltzmann.errors import ConfigError
from boltzmann.ports import Telemetry
from boltzmann.privacy import public_environment
from boltzmann.telemetry.events import ERROR
from boltzmann.telemetry.values import jsonable

_MODES = ("online", "offline", "disabled")
# wandb 0.31 prints this, keeps later rows to itself, and ends with status 0 all the same.
_GIVEN_UP = b"Fatal error while uploading data"


class WandbSink:
    """One W&B run: `run_name` (e.g. "M3", "V0") in the group `group`, resumed by `run_id`.

    `mode` is "online", "offline" (files under `folder`/wandb, for `wandb sync`) or "disabled".
    Metrics are those of `telemetry.metrics.Rows`, against the metric `window`. `event` never
    waits: up to `queue_events` events wait for W&B, then the oldest are dropped and counted. If
    W&B fails, or its server refuses the rows for good, `trouble` gets one error event; what it
    printed is in `folder`/wandb.log. Its process gets no other secrets than W&B's own.

    Raises: ConfigError for another mode, or a folder that cannot be written.
    """

    def __init__(
        self,
        project: str,
        run_name: str,
        *,
        group: str,
        run_id: str,
        mode: str,
        folder: Path,
        config: Mapping[str, object],
        trouble: Telemetry,
        close_seconds: float = 5.0,
        queue_events: int = 4096,
    ) -> None:
        if mode not in _MODES:
            raise ConfigError(f"W&B mode {mode!r} is unknown: use {', '.join(_MODES)}")
        self._trouble = trouble
        self._close_seconds = close_seconds
        self._log = folder.absolute() / "wandb.log"
        self._lines: deque[bytes] = deque(maxlen=queue_events)
        self._changed = threading.Condition()
        self._dropped = 0
        self._closing = False
        self._ended = False
        self._told = False
        self._read = 0  # bytes of the log that have been looked at
        self._feeder: threading.Thread | None = None
        if mode == "disabled":
            return
        init = {"project": project, "name": run_name, "group": group, "id": run_id}
        init |= {"mode": mode, "resume": "allow", "dir": str(folder.absolute())}
        start = _line({"init": init | {"config": config}, "finish_seconds": close_seconds})
        self._process = self._start(folder)
        self._feeder = threading.Thread(target=self._feed, args=(start,), name="wandb", daemon=True)
        self._feeder.start()

    @property
    def dropped(self) -> int:
        """How many events W&B did not get."""
        return self._dropped

    def event(self, name: str, **fields: object) -> None:
        """Queue one event."""
        if self._feeder is None:
            return
        line = _line({"event": name, "fields": fields})
        with self._changed:
            if self._closing or not self._feeder.is_alive():
                self._dropped += 1
                return
            if len(self._lines) == self._lines.maxlen:
                self._dropped += 1
            self._lines.append(line)
            self._changed.notify()

    def close(self) -> None:
        """Let W&B finish for at most `close_seconds`, then end its process."""
        with self._changed:
            if self._feeder is None or self._closing:
                return
            self._closing = True
            self._changed.notify()
        self._feeder.join(self._close_seconds)
        if self._feeder.is_alive():
            self._ended = True
            self._process.kill()
            self._feeder.join()

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
                self._read = log.tell()
                return subprocess.Popen(
                    [sys.executable, "-m", "boltzmann.telemetry.wandb_worker"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C is for the node, which then closes this
                )
        except OSError as error:
            raise ConfigError(
                f"W&B cannot be started in {folder} ({error}): name another folder for it"
            ) from error

    def _feed(self, line: bytes | None) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            while line is not None:
                stdin.write(line)
                stdin.flush()
                self._look()
                line = self._take()
            stdin.close()
        except OSError:
            pass  # the process has ended; its exit status below says how
        status = self._process.wait()
        with self._changed:
            self._dropped += len(self._lines)
            self._lines.clear()
        self._look()
        if status != 0:
            self._tell(self._failure(status))

    def _look(self) -> None:
        """Tell if W&B has given up uploading."""
        try:
            with self._log.open("rb") as log:
                log.seek(self._read)
                said = log.read()
        except OSError:  # somebody cleared it away
            return
        self._read += said.rfind(b"\n") + 1
        if _GIVEN_UP in said:
            self._tell(
                f"its server refuses this run's rows for good (see {self._log}); they are kept in "
                f"{self._log.parent / 'wandb'} for `wandb sync`, and the node goes on"
            )

    def _tell(self, detail: str) -> None:
        if not self._told:
            self._told = True
            self._trouble.event(ERROR, what="W&B", detail=detail)

    def _take(self) -> bytes | None:
        """The next line; None when there will be none. Waits for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closing)
            return self._lines.popleft() if self._lines else None

    def _failure(self, status: int) -> str:
        if self._ended:
            return (
                f"did not finish within {self._close_seconds:g} s and was ended; "
                f"`wandb sync` uploads what lies in {self._log.parent / 'wandb'}"
            )
        said = self._log.read_text(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"exit status {status}"
        return f"gets no more events ({reason}); the node goes on; see {self._log}"


def _environment() -> dict[str, str]:
    """This process's, without secrets that are not W&B's."""
    # miner.py may be run from anywhere, so the process must be told where the package is.
    package = str(Path(boltzmann.__file__).parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = public_environment(os.environ, needs="WANDB_")
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(jsonable(value)).encode() + b"\n"
