"""A miner that logs all that its libraries say, and then ends by an exception nobody expected.

The exception shows everything a careless message could: the settings, the store, the keys.
"""

from __future__ import annotations

import logging
import sys

from botocore.exceptions import ClientError

from boltzmann.app.main import run_node
from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.node import miner
from boltzmann.node.conduct import Honest, Offer
from boltzmann.node.membership import Peer
from boltzmann.node.node import Node
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.slices import Slice
from boltzmann.train.gradients import Delta

WINDOWS = 2


class Talker(Honest):
    """Honest for some windows."""

    def __init__(self, settings: NodeConfig) -> None:
        self._settings = settings
        self._left = WINDOWS

    async def offer(
        self, node: Node, window: int, chosen: Slice, delta: Delta, members: list[Peer]
    ) -> Offer | None:
        self._left -= 1
        if self._left < 0:
            self._crash(node)
        return await super().offer(node, window, chosen, delta, members)

    def _crash(self, node: Node) -> None:
        config, store, wallet = self._settings, vars(node.store), vars(node.keys)["wallet"]
        shown: list[object] = [config, vars(config), config.secret_key, f"{config.access_key}"]
        shown += [node, node.store, store, vars(store["_own"])]
        shown += [node.keys, vars(node.keys), wallet, wallet.hotkey]
        node.telemetry.event("error", what="everything", detail=repr(shown), shown=shown)
        try:
            vars(store["_own"])["_client"].head_bucket(Bucket="not-there")
        except ClientError as error:
            raise RuntimeError(f"unexpected: {shown!r}", *shown) from error


async def work(node: Node, settings: NodeConfig) -> None:
    await miner.mine(node, Talker(settings))


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    sys.exit(run_node(Role.MINER, "A miner that talks too much.", sys.argv[1:], work))
