"""The end of a network that was hurt: do its nodes come to stand together?"""

from __future__ import annotations

import asyncio

from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.local.histories import History, read_history
from boltzmann.local.network import Network

SETTLE_WINDOWS = 20  # at most


async def settle(network: Network, chain: SubtensorChain) -> None:
    """Until all stand together after a window that everybody lived through."""
    clock = network.plan.clock()
    limit = clock.open(network.plan.windows + 1 + SETTLE_WINDOWS)
    while (await chain.head()).number < limit:
        histories = histories_of(network).values()
        last = [max(history.line, default=0) for history in histories]
        if min(last) > network.plan.windows and len({h.head for h in histories}) == 1:
            return
        await asyncio.sleep(0.3)


def histories_of(network: Network) -> dict[str, History]:
    """Every node's, by its name, from its event file."""
    return {item.member.name: read_history([item.events]) for item in network.processes}
