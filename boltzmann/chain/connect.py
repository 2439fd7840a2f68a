"""From a network's name to the chain port."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bittensor as bt
from bittensor.settings import (
    NETWORKS,
    default_archive_endpoints,
    default_fallback_endpoints,
    resolve_endpoint,
)

from boltzmann.chain.keys import EMBEDDED
from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.errors import ChainUnavailable, ConfigError


async def connect(network: str, netuid: int, wallet: Any = None) -> SubtensorChain:
    """One subnet of a chain: a network the SDK knows, a ws(s):// endpoint, or `embedded:FILE`.

    `wallet` signs the writes; without one the chain can only be read.
    Raises: ConfigError for an unknown network, chain file or netuid, ChainUnavailable.
    """
    chain = SubtensorChain(_substrate(network), netuid, wallet)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(chain.close)
        try:
            await chain.open()
        except ChainUnavailable as error:
            raise ChainUnavailable(f"{network}: {error}") from error
        await _require_subnet(chain, network, netuid)
        undo.pop_all()
    return chain


def home_of(network: str) -> str:
    """The host where a chain answers, if `network` says: this machine for one in a file, "" for a
    network that has a name. Who only reads peers' buckets is at home there (`store.reach`)."""
    return "localhost" if network.startswith(EMBEDDED) else urlsplit(network).hostname or ""


async def _require_subnet(chain: SubtensorChain, network: str, netuid: int) -> None:
    known = await chain.netuids()
    if netuid in known:
        return
    if network.startswith(EMBEDDED):
        mend = f"its netuid is {', '.join(map(str, known))}"
    else:
        mend = f"`btcli subnets list -n {network}` shows those there are"
    raise ConfigError(f"there is no subnet with netuid {netuid} on {network}: {mend}")


def _substrate(network: str) -> Any:
    if network.startswith(EMBEDDED):
        from boltzmann.chain.embedded import EmbeddedSubstrate

        return EmbeddedSubstrate(Path(network[len(EMBEDDED) :]).expanduser())
    try:
        label, endpoint = resolve_endpoint(network)
    except ValueError as error:
        raise ConfigError(
            f"--subtensor.network {network!r} is unknown: use one of {', '.join(sorted(NETWORKS))},"
            f" a ws:// or wss:// endpoint, or {EMBEDDED}FILE for a local chain"
        ) from error
    return bt.RpcSubstrate(
        endpoint,
        fallback_endpoints=default_fallback_endpoints(label),
        archive_endpoints=default_archive_endpoints(label),
    )
