"""The run a subnet's owner has put on chain: finding it, and publishing it."""

from __future__ import annotations

import asyncio
import hashlib
from urllib.parse import urlsplit

from boltzmann.config import RunConfig
from boltzmann.errors import ConfigError
from boltzmann.node.objects import MAX_CONFIG_BYTES, config_key
from boltzmann.ports import Chain, Reader, Store
from boltzmann.privacy import shown
from boltzmann.protocol.commitment import Commitment, Role, decode
from boltzmann.protocol.rejection import Rejection


async def publish_run(chain: Chain, store: Store, config: RunConfig) -> None:
    """Put run.toml into the owner's bucket, and its sha256 on chain as the owner."""
    await asyncio.to_thread(store.put, config_key(config.run.id), config.encode())
    record = Commitment(Role.OWNER, config.run.id, store.address, config=config.sha256)
    await chain.commit(record.encode())


async def record_of(chain: Chain, hotkey: str, block: int) -> Commitment | None:
    """What this hotkey has committed on chain as of `block`; None if nothing that a node reads."""
    return decode((await chain.commitments(block)).get(hotkey, ()))


async def find_run(
    chain: Chain, store: Reader, netuid: int, pinned: str, seconds: float
) -> RunConfig:
    """The run of this subnet, checked against the owner's commitment and the pinned hash.

    Raises: ConfigError naming what does not fit.
    """
    head = await chain.head()
    owner = (await chain.rules(head.number)).owner_hotkey
    record = await record_of(chain, owner, head.number)
    if record is None or record.config is None:
        raise ConfigError(
            f"netuid {netuid} has no Boltzmann run: its owner's hotkey {owner} has committed no "
            f"run config on chain; check --netuid, or ask the subnet's owner"
        )
    if pinned and pinned.lower() != record.config:
        raise ConfigError(
            f"netuid {netuid} runs a config with sha256 {record.config}, but --run.hash (RUN_HASH) "
            f"pins {pinned}: update the pin if you trust the change, or leave the run"
        )
    data = await asyncio.to_thread(
        store.get,
        record.bucket,
        config_key(record.run),
        max_bytes=MAX_CONFIG_BYTES,
        seconds=seconds,
    )
    if isinstance(data, Rejection):
        mend = (
            "a local network's buckets are there while it runs"
            if is_local(record.bucket)
            else "check the network, or tell the subnet's owner"
        )
        raise ConfigError(
            f"run.toml of run {record.run} cannot be read from the owner's bucket "
            f"{shown(record.bucket)}: {data}; {mend}"
        )
    found = hashlib.sha256(data).hexdigest()
    if found != record.config:
        raise ConfigError(
            f"run.toml in {shown(record.bucket)} has sha256 {found}, the owner committed "
            f"{record.config}: somebody changed the file; do not join before the owner has mended "
            f"it"
        )
    config = RunConfig.parse(data)
    if config.run.netuid != netuid or config.run.id != record.run:
        raise ConfigError(
            f"run.toml is for run {config.run.id} on netuid {config.run.netuid}, the owner "
            f"committed it as run {record.run} on netuid {netuid}: tell the subnet's owner"
        )
    return config


def is_local(address: str) -> bool:
    """Whether only this machine reaches it, as the S3 servers that local networks start."""
    return urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1")
