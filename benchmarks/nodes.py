"""A real node for benchmarks: worker, store, journal and keys are the ones of a running node."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

from benchmarks.scripted import ScriptedChain, SeedKeys
from boltzmann.chain.keys import verify
from boltzmann.config import RunConfig
from boltzmann.node.blocks import Blocks
from boltzmann.node.councils import Councils
from boltzmann.node.manifests import Manifests
from boltzmann.node.node import Node
from boltzmann.node.outbox import Outbox
from boltzmann.node.stages import Trip, nothing
from boltzmann.node.worker import Worker, pick_device
from boltzmann.ports import Store, Telemetry, TokenBatch
from boltzmann.protocol.rejection import Rejection
from boltzmann.store.s3 import S3Store
from boltzmann.train.model import parameter_shapes
from boltzmann.train.state import ModelState

_FETCH_SECONDS = 60.0
_TROUBLES = frozenset(
    {"error", "waiting", "rejected", "refused", "withheld", "vetoed", "undone", "abandoned"}
)


class Events:
    """Implements `boltzmann.ports.Telemetry`: keeps phase timings, and ends at any trouble.

    `latest` and `total`: seconds by "event.phase", of the newest event and of all of them.
    """

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}
        self.total: dict[str, float] = defaultdict(float)

    def event(self, name: str, **fields: object) -> None:
        if name in _TROUBLES:
            raise RuntimeError(f"{name}: {fields}")
        spent = fields.get("seconds")
        phases = spent if isinstance(spent, dict) else {}
        if isinstance(spent, float):
            phases = {"": spent}
        for phase, seconds in phases.items():
            label = f"{name}.{phase}" if phase else name
            self.latest[label] = float(seconds)
            self.total[label] += float(seconds)

    def close(self) -> None:
        """Nothing is open."""


class Counted:
    """Implements `boltzmann.ports.Store` around another: bytes and seconds of reads by kind.

    Kinds are those of `boltzmann.node.objects`: "manifest", "update", "checkpoint". Bytes are the
    bodies that arrived whole; reads of what is not there count their seconds only.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.bytes: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)

    @property
    def address(self) -> str:
        return self._store.address

    def get(self, address: str, key: str, *, max_bytes: int, seconds: float) -> bytes | Rejection:
        began = time.monotonic()
        data = self._store.get(address, key, max_bytes=max_bytes, seconds=seconds)
        self._count(key, began, 0 if isinstance(data, Rejection) else len(data))
        return data

    def download(
        self, address: str, key: str, path: Path, *, exact_bytes: int, seconds: float
    ) -> Rejection | None:
        began = time.monotonic()
        refusal = self._store.download(address, key, path, exact_bytes=exact_bytes, seconds=seconds)
        self._count(key, began, 0 if refusal else path.stat().st_size)
        return refusal

    def put(self, key: str, body: bytes) -> None:
        self._store.put(key, body)

    def put_file(self, key: str, path: Path) -> None:
        self._store.put_file(key, path)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def _count(self, key: str, began: float, count: int) -> None:
        kind = key.split("/")[2]
        with self._lock:
            self.bytes[kind] += count
            self.seconds[kind] += time.monotonic() - began


@asynccontextmanager
async def open_node(
    run: RunConfig,
    chain: ScriptedChain,
    store: Store,
    folder: Path,
    telemetry: Telemetry,
    *,
    trip: Trip = nothing,
    make_worker: type[Worker] = Worker,
) -> AsyncIterator[Node]:
    """The node whose chain this is, in `folder`; its state holds nothing yet."""
    state = open_state(run, folder)
    blocks = Blocks(chain, telemetry)
    await blocks.start()
    worker = make_worker(run, state, _no_pages, pick_device("cpu"))
    try:
        yield Node(
            run=run,
            keys=SeedKeys(chain.name),
            verify=verify,
            chain=chain,
            blocks=blocks,
            store=store,
            schedule=run.schedule(1_000_000),
            worker=worker,
            outbox=Outbox(folder / "outbox"),
            telemetry=telemetry,
            folder=folder,
            fetch_seconds=_FETCH_SECONDS,
            poll_seconds=0.05,
            councils=Councils(chain, run),
            manifests=Manifests(store, verify, run.run.id, _FETCH_SECONDS),
            trip=trip,
        )
    finally:
        await blocks.close()
        worker.close()


def open_state(run: RunConfig, folder: Path) -> ModelState:
    """The run's state, holding nothing yet."""
    shapes = parameter_shapes(run.model)
    return ModelState(run.layout(shapes), shapes, run.outer, folder / "undo", run.exchange.history)


async def reach(node: Node, chain: ScriptedChain, block: int) -> None:
    """Finalize the blocks up to `block`, as the node sees it."""
    chain.advance(block)
    await node.blocks.until(block)


def resident() -> int:
    """Bytes resident now, after what earlier work freed went back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


def peak() -> int:
    """The most bytes resident since the start of the process, or since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Begin the kernel's high-water mark anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(field_name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field_name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field_name}: memory is measured on Linux only")


def _no_pages(pages: Sequence[int]) -> AbstractContextManager[Iterator[TokenBatch]]:
    raise NotImplementedError("nothing is trained here")
