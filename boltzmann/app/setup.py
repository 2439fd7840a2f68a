"""From settings to a running node: every check in the order in which a mistake is cheapest."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING

from boltzmann.app.lock import only_process
from boltzmann.app.machine import open_data, open_worker
from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.chain.connect import connect
from boltzmann.chain.keys import WalletKeys, load_wallet, require_registered, verify
from boltzmann.config import RunConfig
from boltzmann.errors import ConfigError, CorruptState
from boltzmann.node.blocks import Blocks
from boltzmann.node.endure import to_the_end
from boltzmann.node.keepsake import save_state
from boltzmann.node.node import Node
from boltzmann.node.outbox import Outbox, write_whole
from boltzmann.node.patience import Patient
from boltzmann.node.runconfig import find_run, record_of
from boltzmann.node.stages import Crash
from boltzmann.ports import Chain, Store, Telemetry
from boltzmann.privacy import shown
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.commitment import ANY_DIGEST, Commitment, Role
from boltzmann.protocol.pages import PageSchedule
from boltzmann.store.s3 import S3Store
from boltzmann.telemetry.console import Console, Show
from boltzmann.telemetry.fanout import Fanout
from boltzmann.telemetry.jsonl import JsonLines

if TYPE_CHECKING:
    from boltzmann.node.worker import Worker
    from boltzmann.train.team import Team

_READERS = 64  # buckets that are read at the same time
_START_SECONDS = 30.0  # for the one read of run.toml
_LAST_BLOCK = 2**32 - 1  # a subtensor chain counts them in 32 bits


@asynccontextmanager
async def open_node(
    settings: NodeConfig, role: Role, team: Team | None = None
) -> AsyncIterator[Node]:
    """The node these settings describe; closed, with its state saved, at the end. The processes of
    a `team`, which this one leads, compute for it.

    Raises: ConfigError, ChainError, StoreError or DataError naming the fact, place and mend.
    """
    wallet = load_wallet(settings.wallet_name, settings.wallet_hotkey, settings.wallet_path)
    keys = WalletKeys(wallet)
    chain = await connect(settings.network, settings.netuid, wallet)
    try:
        neuron = await require_registered(chain, keys, settings.netuid, settings.network)
        store = open_store(settings)
        await asyncio.to_thread(store.check)
        run = await find_run(chain, store, settings.netuid, settings.run_hash, _START_SECONDS)
        await refuse_owner(chain, keys)
        _require_permit(role, neuron, settings.netuid)
        telemetry = _telemetry(settings, role, neuron, run)
        with closing(telemetry), only_process(settings.folder / run.run.id):
            computing = _machine(settings, run, telemetry, team)
            async with _running(settings, role, run, keys, chain, store, *computing) as node:
                telemetry.event(
                    "started",
                    role=role.name.lower(),
                    hotkey=keys.hotkey,
                    uid=neuron.uid,
                    run=run.run.id,
                    config=run.sha256,
                    bucket=shown(store.address),
                )
                yield node
    finally:
        await chain.close()


def open_store(settings: NodeConfig) -> S3Store:
    """The own bucket, and everybody's to read; nothing is sent yet. Raises: ConfigError."""
    try:
        keys = settings.read_keys
    except ValueError as error:
        raise ConfigError(
            f"the read key of this node's bucket cannot be published: {error}; see docs/buckets.md"
        ) from error
    return S3Store(
        settings.endpoint,
        settings.bucket,
        settings.access_key.reveal(),
        settings.secret_key.reveal(),
        region=settings.region,
        public_url=settings.public_url or None,
        read_keys=keys,
    )


@asynccontextmanager
async def _running(
    settings: NodeConfig,
    role: Role,
    run: RunConfig,
    keys: WalletKeys,
    chain: Chain,
    store: Store,
    telemetry: Telemetry,
    schedule: PageSchedule,
    worker: Worker,
) -> AsyncIterator[Node]:
    from boltzmann.node.councils import Councils
    from boltzmann.node.ingest import fetch_seconds
    from boltzmann.node.manifests import Manifests
    from boltzmann.node.updates import drop_downloads

    folder = settings.folder / run.run.id
    drop_downloads(folder)
    # Reads wait for others most of the time; the usual few threads would wait for silent ones only.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_READERS, "readers"))
    chain = Patient(chain, telemetry)
    blocks = Blocks(chain, telemetry)
    await blocks.start()
    read_seconds = fetch_seconds(run.windows, await chain.block_time())
    node = Node(
        run=run,
        keys=keys,
        verify=verify,
        chain=chain,
        blocks=blocks,
        store=store,
        schedule=schedule,
        worker=worker,
        outbox=Outbox(folder / "outbox"),
        telemetry=telemetry,
        folder=folder,
        fetch_seconds=read_seconds,
        poll_seconds=await _poll_seconds(chain),
        councils=Councils(chain, run),
        manifests=Manifests(store, verify, run.run.id, read_seconds),
        trip=Crash.parse(settings.crash_at),
    )
    try:
        at = worker.state.position
        telemetry.event("restored", window=at.window, head=at.head)
        await _announce(node, role)
        yield node
    finally:
        await to_the_end(_end(node))


async def _end(node: Node) -> None:
    worker = node.worker
    await node.blocks.close()
    if not worker.state.position.head and worker.state.can_undo:
        await worker.run(worker.state.undo)  # a candidate that was not agreed on yet
    if worker.state.position.head:
        await save_state(node, worker.state.position.window + 1)
    worker.close()


def _machine(
    settings: NodeConfig, run: RunConfig, telemetry: Telemetry, team: Team | None
) -> tuple[Telemetry, PageSchedule, Worker]:
    """Data, model and state as this node left them. Raises: ConfigError, DataError."""
    from boltzmann.train import checkpoint

    schedule, load = open_data(run, settings.data_source)
    folder = settings.folder / run.run.id
    write_whole(folder / "run.toml", run.encode())  # for whoever exports the state beside it
    worker = open_worker(run, load, settings.device, folder, settings, team)
    try:
        checkpoint.read(worker.state, folder / "state", run.run.id)
    except CorruptState as error:  # what the validators hold takes its place
        telemetry.event("error", what="the saved state", detail=str(error))
    return telemetry, schedule, worker


async def refuse_owner(chain: Chain, keys: WalletKeys) -> None:
    """A hotkey has one record on chain, and the owner's is the run. Raises: ConfigError."""
    head = await chain.head()
    held = await record_of(chain, keys.hotkey, head.number)
    if held is not None and held.config is not None:
        raise ConfigError(
            f"hotkey {keys.hotkey} holds the config of run {held.run} on chain as the subnet's "
            f"owner, and a node's record would replace it: take another hotkey for this node"
        )


def _require_permit(role: Role, neuron: Neuron, netuid: int) -> None:
    """Raises: ConfigError for a validator that could only turn a miner's record into its own."""
    if role is Role.VALIDATOR and not neuron.permit:
        raise ConfigError(
            f"hotkey {neuron.hotkey} (uid {neuron.uid}) has no validator permit on netuid "
            f"{netuid}: stake more to it and wait for the subnet's next epoch, or mine with it"
        )


async def _poll_seconds(chain: Chain) -> float:
    """An eighth of a block: agreeing takes a few looks at the others' buckets per block."""
    return min(1.0, max(0.05, await chain.block_time() / 8))


async def _announce(node: Node, role: Role) -> None:
    """Commit this node's role, run and bucket unless the chain holds them already.

    Raises: ConfigError if a record has no room for them, or a validator's none for a manifest too.
    """
    mine = Commitment(role, node.run.run.id, node.store.address)
    _require_room(mine, node.clock.window(_LAST_BLOCK))
    head = await node.chain.head()
    held = await record_of(node.chain, node.hotkey, head.number)
    if held is not None and (held.role, held.run) == (role, mine.run):
        if held.bucket == mine.bucket:
            return
        # A validator that moves to another bucket still stands by its last manifest.
        mine = replace(mine, manifest=held.manifest)
    await node.chain.commit(mine.encode())


def _require_room(record: Commitment, last_window: int) -> None:
    """Raises: ConfigError. A validator's record must hold any window's manifest as well."""
    validates = record.role is Role.VALIDATOR
    fullest = replace(record, manifest=(last_window, ANY_DIGEST)) if validates else record
    try:
        fullest.encode()
    except ValueError as error:
        beside = " and a manifest's digest" if validates else ""
        raise ConfigError(
            f"this node's record on chain cannot hold its bucket{beside} ({error}): choose a "
            f"bucket with a shorter name or public address, a shorter read key, or a domain of its "
            f"own with --s3.public_url"
        ) from error


def _telemetry(settings: NodeConfig, role: Role, neuron: Neuron, run: RunConfig) -> Telemetry:
    name = f"{role.value.upper()}{neuron.uid}"
    folder = settings.folder / run.run.id
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--workdir {settings.workdir} cannot hold this node's files ({error}): name another "
            f"folder"
        ) from error
    show = Show.JSON if settings.trace else Show.ALL if settings.debug else Show.NOTABLE
    console = Console(sys.stdout, name, show)
    sinks: list[Telemetry] = [JsonLines(folder / "events.jsonl"), console]
    if settings.use_wandb:
        from boltzmann.telemetry.wandb_sink import WandbSink

        sinks.append(
            WandbSink(
                settings.project,
                name,
                group=run.run.id,
                mode=settings.wandb_mode,
                folder=folder,
                config={"run": run.encode().decode(), "netuid": settings.netuid},
                run_id=f"{run.run.id}-{neuron.hotkey}",
                trouble=console,
            )
        )
    return Fanout(*sinks)
