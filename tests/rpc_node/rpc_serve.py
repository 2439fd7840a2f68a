"""The node as a process: prints its URL, and serves until its standard input ends.

python tests/rpc_node/rpc_serve.py CHAINFILE [--lag BLOCKS] [--newer-items]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from rpc_server import RpcNode


async def main(chain: Path, lag: int, newer_items: bool) -> None:
    node = RpcNode(chain, lag=lag, newer_items=newer_items)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ready() -> None:
        sys.stdout.write(node.url + "\n")
        sys.stdout.flush()

    waiting = loop.run_in_executor(None, sys.stdin.read)
    waiting.add_done_callback(lambda _: stop.set())
    await node.run(ready, stop)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("chain", type=Path)
    arguments.add_argument("--lag", type=int, default=0)
    arguments.add_argument("--newer-items", action="store_true")
    given = arguments.parse_args()
    asyncio.run(main(given.chain, given.lag, given.newer_items))
