"""From a network's name to the chain port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bittensor as bt
from bittensor.settings import NETWORKS

from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.errors import ConfigError

EMBEDDED = "embedded:"


async def connect(network: str, netuid: int, wallet: Any = None) -> SubtensorChain:
    """One subnet of a chain: a network the SDK knows, a ws(s):// endpoint, or `embedded:FILE`.

    Raises: ConfigError for an unknown network or netuid, ChainUnavailable.
    """
    chain = SubtensorChain(_client(network), netuid, wallet)
    await chain.open()
    if not await chain.exists():
        await chain.close()
        raise ConfigError(
            f"there is no subnet with netuid {netuid} on {network}: "
            f"`btcli subnets list -n {network}` shows those there are"
        )
    return chain


def _client(network: str) -> bt.Client:
    if network.startswith(EMBEDDED):
        from boltzmann.chain.embedded import EmbeddedSubstrate

        path = Path(network[len(EMBEDDED) :])
        if not path.is_file():
            raise ConfigError(
                f"there is no chain file {path}: start a local network with `bash scripts/run.sh`, "
                f"or correct --subtensor.network"
            )
        return bt.Client("local", substrate=EmbeddedSubstrate(path))
    if network not in NETWORKS and not network.startswith(("ws://", "wss://")):
        raise ConfigError(
            f"--subtensor.network {network} is unknown: use one of {', '.join(sorted(NETWORKS))}, "
            f"a ws:// or wss:// endpoint, or embedded:FILE"
        )
    return bt.Client(network)
