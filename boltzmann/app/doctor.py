"""What a node needs, checked one by one: each finding is a line, with the mend where one is due."""

from __future__ import annotations

import asyncio
import shutil
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.app.settings import KNOWN_NAMES, stored_settings
from boltzmann.app.setup import open_store, refuse_owner
from boltzmann.chain.connect import connect
from boltzmann.chain.keys import WalletKeys, load_wallet, require_registered
from boltzmann.config import RunConfig
from boltzmann.errors import BoltzmannError
from boltzmann.node.runconfig import find_run, is_local
from boltzmann.privacy import shown
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.commitment import Role
from boltzmann.store.s3 import S3Store

if TYPE_CHECKING:
    from boltzmann.chain.subtensor import SubtensorChain

_READ_SECONDS = 30.0
_SKEW_SECONDS = 60.0  # S3 refuses requests that are signed 15 minutes off
# What a check needs of the settings, by the names of their fields.
_NEEDS = {
    "chain": frozenset({"netuid"}),
    "bucket": frozenset({"bucket", "endpoint", "access_key", "secret_key"}),
}
_LIKENESS = 0.8  # of 1, from which on a name in .env was probably meant for a setting's
_STATE_BYTES = 12  # per parameter: θ, m, v in float32


class Mark(Enum):
    """How a check went; SKIPPED where one before it has to be mended first."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it went, and what was found or is to be done."""

    name: str
    mark: Mark
    detail: str


@dataclass
class _Found:
    """What later checks need of earlier ones."""

    keys: WalletKeys | None = None
    chain: SubtensorChain | None = None
    neuron: Neuron | None = None
    store: S3Store | None = None
    run: RunConfig | None = None


async def examine(
    settings: NodeConfig, role: Role, unset: frozenset[str] = frozenset()
) -> AsyncIterator[Finding]:
    """Every check, in the order in which a node meets them; nothing raises, nothing is changed
    but the probe object in the own bucket. `unset`: fields that hold nothing of use: what needs
    them is skipped."""
    found = _Found()
    try:
        for check in (_wallet, _chain, _registration, _bucket, _bucket_details, _run):
            async for finding in _findings(check, settings, found, unset):
                yield finding
        yield _permit(role, found)
        for local in (_data, _device, _disk):
            yield await asyncio.to_thread(local, settings, found)
    finally:
        if found.chain is not None:
            await found.chain.close()


async def examine_bucket(
    settings: NodeConfig, unset: frozenset[str] = frozenset()
) -> AsyncIterator[Finding]:
    """The checks of the own bucket only."""
    found = _Found()
    for check in (_bucket, _bucket_details):
        async for finding in _findings(check, settings, found, unset):
            yield finding


def examine_file(env_file: Path) -> Iterator[Finding]:
    """A finding if others may read it, and one for each name that was probably meant for a
    setting's. Raises: ConfigError if it cannot be read."""
    if env_file.exists() and env_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            "env_file",
            Mark.WARNING,
            f"others on this machine may read {env_file.resolve()}, which holds keys: chmod 600 it",
        )
    for name in sorted(stored_settings(env_file).keys() - KNOWN_NAMES):
        for meant in get_close_matches(name, sorted(KNOWN_NAMES), n=1, cutoff=_LIKENESS):
            yield Finding(
                "env_file",
                Mark.WARNING,
                f"{name} in {env_file.resolve()} is the name of no setting, and nobody reads it: "
                f"is {meant} meant?",
            )


async def _findings(
    check: Callable[[NodeConfig, _Found], AsyncIterator[Finding]],
    settings: NodeConfig,
    found: _Found,
    unset: frozenset[str],
) -> AsyncIterator[Finding]:
    name = check.__name__.strip("_")
    if _NEEDS.get(name, frozenset()) & unset:
        yield Finding(name, Mark.SKIPPED, "needs the settings named above")
        return
    try:
        async for finding in check(settings, found):
            yield finding
    except BoltzmannError as error:
        yield Finding(name, Mark.FAILED, str(error))


async def _wallet(settings: NodeConfig, found: _Found) -> AsyncIterator[Finding]:
    wallet = load_wallet(settings.wallet_name, settings.wallet_hotkey, settings.wallet_path)
    found.keys = WalletKeys(wallet)
    yield Finding("wallet", Mark.OK, f"hotkey {found.keys.hotkey}")


async def _chain(settings: NodeConfig, found: _Found) -> AsyncIterator[Finding]:
    begun = time.monotonic()
    found.chain = await connect(settings.network, settings.netuid)
    head = await found.chain.head()
    taken = time.monotonic() - begun
    yield Finding(
        "chain",
        Mark.OK,
        f"{shown(settings.network)} at block {head.number}, answers in {taken:.1f} s",
    )


async def _registration(settings: NodeConfig, found: _Found) -> AsyncIterator[Finding]:
    if found.keys is None or found.chain is None:
        yield Finding("registration", Mark.SKIPPED, "needs the wallet and the chain")
        return
    found.neuron = await require_registered(
        found.chain, found.keys, settings.netuid, settings.network
    )
    await refuse_owner(found.chain, found.keys)
    yield Finding("registration", Mark.OK, f"uid {found.neuron.uid} on netuid {settings.netuid}")


async def _bucket(settings: NodeConfig, found: _Found) -> AsyncIterator[Finding]:
    store = open_store(settings)
    await asyncio.to_thread(store.check)
    found.store = store
    read = f"read with the published {settings.read_key}" if settings.read_key else "read without"
    yield Finding("bucket", Mark.OK, f"{shown(store.address)}: written with the keys, {read}")


async def _bucket_details(settings: NodeConfig, found: _Found) -> AsyncIterator[Finding]:
    if found.store is None:
        yield Finding("bucket_details", Mark.SKIPPED, "needs the bucket")
        return
    facts = await asyncio.to_thread(found.store.facts)
    if facts.open_to_all:
        yield Finding(
            "bucket_writes",
            # Local networks' servers take any keys.
            Mark.WARNING if is_local(found.store.address) else Mark.FAILED,
            f"anybody may write to {shown(found.store.address)} without keys: take public write "
            f"access away, or others put their work, or none, in the place of yours",
        )
    else:
        yield Finding("bucket_writes", Mark.OK, "refused without keys")
    if facts.creates_only:
        yield Finding("bucket_overwrites", Mark.OK, "refused by the server on request")
    else:
        yield Finding(
            "bucket_overwrites",
            Mark.WARNING,
            "the server ignores If-None-Match: the node reads before each write; never run two "
            "processes under this hotkey",
        )
    yield _clock(facts.skew_seconds)


def _clock(skew: float | None) -> Finding:
    if skew is None:
        return Finding("clock", Mark.WARNING, "the bucket's server does not tell its time")
    if abs(skew) > _SKEW_SECONDS:
        return Finding(
            "clock",
            Mark.FAILED,
            f"this machine's clock is {-skew:.0f} s ahead of the bucket's server: set it by NTP; "
            f"from 15 minutes on S3 refuses signatures",
        )
    return Finding("clock", Mark.OK, f"within {max(1.0, abs(skew)):.0f} s of the bucket's server")


async def _run(settings: NodeConfig, found: _Found) -> AsyncIterator[Finding]:
    if found.chain is None or found.store is None:
        yield Finding("run", Mark.SKIPPED, "needs the chain and the bucket")
        return
    found.run = await find_run(
        found.chain, found.store, settings.netuid, settings.run_hash, _READ_SECONDS
    )
    yield Finding("run", Mark.OK, f"{found.run.run.id}, config {found.run.sha256[:16]}")


def _permit(role: Role, found: _Found) -> Finding:
    if role is not Role.VALIDATOR:
        return Finding("permit", Mark.SKIPPED, "a miner needs none")
    if found.neuron is None:
        return Finding("permit", Mark.SKIPPED, "needs the registration")
    if not found.neuron.permit:
        return Finding(
            "permit",
            Mark.FAILED,
            f"uid {found.neuron.uid} has no validator permit: stake more to the hotkey and wait "
            f"for the subnet's next epoch",
        )
    return Finding("permit", Mark.OK, "this hotkey may set weights")


def _data(settings: NodeConfig, found: _Found) -> Finding:
    if found.run is None:
        return Finding("data", Mark.SKIPPED, "needs the run")
    from boltzmann.app.machine import open_data

    try:
        schedule, load = open_data(found.run, settings.data_source)
        with load((0,)) as batches:
            tokens = next(batches).tokens.size
    except BoltzmannError as error:
        return Finding("data", Mark.FAILED, str(error))
    return Finding(
        "data",
        Mark.OK,
        f"{found.run.data.source}: {schedule.total_pages} pages, the first of {tokens} tokens",
    )


def _device(settings: NodeConfig, found: _Found) -> Finding:
    import torch

    from boltzmann.node.worker import pick_device
    from boltzmann.train.how import multiplies

    try:
        device = pick_device(settings.device)
    except BoltzmannError as error:
        return Finding("device", Mark.FAILED, str(error))
    if device.type == "cpu":
        detail = f"CPU, {torch.get_num_threads()} threads; no GPU in use"
    else:
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        detail = f"{name}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"
    if found.run is not None and not multiplies(device, found.run.model.precision):
        slow = (
            f"{detail}; the run computes in {found.run.model.precision.value}, for which this "
            f"device has no instructions: it may be late in every window, take one that has them"
        )
        return Finding("device", Mark.WARNING, slow)
    return Finding("device", Mark.OK, detail)


def _disk(settings: NodeConfig, found: _Found) -> Finding:
    place = Path(settings.workdir).expanduser().absolute()
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if found.run is None:
        return Finding("disk", Mark.OK, f"{free / 1e9:.1f} GB free in {there}")
    from math import prod

    from boltzmann.train.model import parameter_shapes

    parameters = sum(prod(shape) for shape in parameter_shapes(found.run.model).values())
    # The saved state, the next one beside it, the undo log, and two epochs' checkpoints.
    need = _STATE_BYTES * parameters * 5
    detail = f"{free / 1e9:.1f} GB free in {there}, about {need / 1e9:.1f} GB needed"
    if free < need:
        return Finding("disk", Mark.FAILED, f"{detail}: make room, or name another --workdir")
    return Finding("disk", Mark.OK, detail)
