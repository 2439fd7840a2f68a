"""A run onto the chain, by its subnet's owner: all that can be checked is, before anything is
written, as nothing in it can be corrected later."""

from __future__ import annotations

import asyncio

from boltzmann.app.machine import open_data
from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.app.setup import open_store
from boltzmann.chain.connect import connect
from boltzmann.chain.keys import WalletKeys, load_wallet, require_registered
from boltzmann.config import RunConfig
from boltzmann.errors import ConfigError, StoreConflict
from boltzmann.node.runconfig import find_run, publish_run, record_of
from boltzmann.ports import Chain

EXAMPLE_SEED = "00112233445566778899aabbccddeeff" * 2  # of docs/owner.md
_READ_SECONDS = 30.0


async def publish(settings: NodeConfig, config: RunConfig, *, replaces: bool = False) -> None:
    """Put the config into the owner's bucket and its sha256 on chain, and find it as nodes do.

    `replaces`: whether another run of the subnet may end by it. Raises: ConfigError, DataError,
    ChainError or StoreError naming what does not fit.
    """
    if config.run.seed == EXAMPLE_SEED:
        raise ConfigError(
            "run.seed is the documentation's example: take your own, as `openssl rand -hex 32` "
            "prints it, so that no other run has its first model and the order of its pages"
        )
    await asyncio.to_thread(open_data, config, settings.data_source)
    wallet = load_wallet(settings.wallet_name, settings.wallet_hotkey, settings.wallet_path)
    keys, netuid = WalletKeys(wallet), config.run.netuid
    chain = await connect(settings.network, netuid, wallet)
    try:
        await require_registered(chain, keys, netuid, settings.network)
        await _require_owner(chain, keys.hotkey, config, replaces)
        store = open_store(settings)
        await asyncio.to_thread(store.check)
        try:
            await publish_run(chain, store, config)
        except StoreConflict as error:
            raise ConfigError(
                f"this bucket holds another run.toml of run {config.run.id}, and a run's config "
                f"cannot be changed: give the new run another run.id"
            ) from error
        await find_run(chain, store, netuid, config.sha256, _READ_SECONDS)
    finally:
        await chain.close()


async def _require_owner(chain: Chain, hotkey: str, config: RunConfig, replaces: bool) -> None:
    """Raises: ConfigError if nodes would not look at this hotkey's record, or another run ends."""
    head = await chain.head()
    owner = (await chain.rules(head.number)).owner_hotkey
    if hotkey != owner:
        raise ConfigError(
            f"hotkey {hotkey} is not the owner's of netuid {config.run.netuid}, which is {owner}: "
            f"nodes read the run from that one's record; name its wallet"
        )
    held = await record_of(chain, hotkey, head.number)
    if held is None or held.config in (None, config.sha256):
        return
    if held.run == config.run.id:
        raise ConfigError(
            f"run {held.run} has begun with the config {held.config}, and a run's config cannot be "
            f"changed: give the new run another run.id"
        )
    if replaces:
        return
    raise ConfigError(
        f"netuid {config.run.netuid} runs {held.run} with the config {held.config}, which would "
        f"end: say --replace if it is to"
    )
