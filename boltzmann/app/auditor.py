"""From a subnet's name to what recomputes its windows: no wallet, no bucket, nothing written."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from boltzmann.app.machine import open_data, open_worker
from boltzmann.chain.connect import connect, home_of
from boltzmann.chain.keys import verify
from boltzmann.config import RunConfig
from boltzmann.data.prefetch import Prefetch
from boltzmann.errors import StoreError
from boltzmann.node.blocks import Blocks
from boltzmann.node.node import Node
from boltzmann.node.outbox import Outbox
from boltzmann.node.runconfig import find_run
from boltzmann.ports import Chain, LoadPages, Telemetry
from boltzmann.protocol.pages import PageSchedule
from boltzmann.store.reader import PublicReader

_FETCH_SECONDS = 60.0  # an audit has time
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Target:
    """What to audit and with what. `recompute`: open the run's data and recompute gradients;
    `data_source`: a copy of that data, empty for where the run says.
    """

    network: str
    netuid: int
    run_hash: str = ""
    recompute: bool = False
    device: str = "auto"
    data_source: str = ""


class NoKeys:
    """Implements `boltzmann.ports.Keys` of nobody."""

    @property
    def hotkey(self) -> str:
        return ""

    def sign(self, message: bytes) -> bytes:
        """Raises: StoreError, always."""
        raise StoreError("an audit signs nothing")


class NoBucket(PublicReader):
    """Implements `boltzmann.ports.Store` of somebody who only reads."""

    @property
    def address(self) -> str:
        return ""

    def put(self, key: str, body: bytes) -> None:
        """Raises: StoreError, always."""
        raise StoreError(f"an audit writes nothing, {key} neither")

    def put_file(self, key: str, path: Path) -> None:
        """Raises: StoreError, always."""
        raise StoreError(f"an audit writes nothing, {key} neither")

    def delete(self, key: str) -> None:
        """Raises: StoreError, always."""
        raise StoreError(f"an audit deletes nothing, {key} neither")


@asynccontextmanager
async def open_auditor(target: Target, telemetry: Telemetry) -> AsyncIterator[Node]:
    """A node that can read and compute, but neither sign nor publish; its files are temporary.

    Raises: ConfigError, ChainError or DataError naming the fact, place and mend.
    """
    chain = await connect(target.network, target.netuid)
    try:
        store = NoBucket(home_of(target.network))
        run = await find_run(chain, store, target.netuid, target.run_hash, _FETCH_SECONDS)
        with tempfile.TemporaryDirectory(prefix="boltzmann-audit-") as folder:
            async with auditing(target, run, chain, store, telemetry, Path(folder)) as node:
                yield node
    finally:
        await chain.close()


@asynccontextmanager
async def auditing(
    target: Target,
    run: RunConfig,
    chain: Chain,
    store: NoBucket,
    telemetry: Telemetry,
    folder: Path,
) -> AsyncIterator[Node]:
    """As `open_auditor`, of a run that was found on a chain that is connected."""
    from boltzmann.node.councils import Councils
    from boltzmann.node.manifests import Manifests

    schedule, load = _data(run, target)
    blocks = Blocks(chain, telemetry)
    await blocks.start()
    worker = open_worker(run, load, target.device, folder)
    try:
        yield Node(
            run=run,
            keys=NoKeys(),
            verify=verify,
            chain=chain,
            blocks=blocks,
            store=store,
            schedule=schedule,
            worker=worker,
            outbox=Outbox(folder / "outbox"),
            telemetry=telemetry,
            folder=folder,
            fetch_seconds=_FETCH_SECONDS,
            poll_seconds=_POLL_SECONDS,
            councils=Councils(chain, run),
            manifests=Manifests(store, verify, run.run.id, _FETCH_SECONDS),
        )
    finally:
        await blocks.close()
        worker.close()


def _data(run: RunConfig, target: Target) -> tuple[PageSchedule, LoadPages]:
    """The page schedule and how pages are read. Raises: DataError if they cannot be."""
    if target.recompute:
        return open_data(run, target.data_source)
    data = run.data
    # Who is assigned pages follows from the members alone; which they are does not matter here.
    fewest = data.members_max * data.pages_per_member + data.control_pages
    return run.schedule(fewest), _no_pages


def _no_pages(pages: object) -> Prefetch:
    raise StoreError("without --recompute an audit reads no data")
