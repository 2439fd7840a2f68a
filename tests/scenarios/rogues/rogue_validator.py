"""A validator that lies whenever it leads: a wrong aggregate first, a withheld manifest next.

The real validator with two steps replaced, run as a process of its own.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from boltzmann.app.main import run_node
from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.node import propose, validator
from boltzmann.node.candidate import build
from boltzmann.node.node import Node
from boltzmann.node.publish import publish
from boltzmann.ports import Telemetry
from boltzmann.protocol.commitment import Role

_lies: list[int] = []  # the windows of the wrong aggregate
_vetoed: list[int] = []


class Hearing:
    """The node's telemetry, which tells us when we were voted down."""

    def __init__(self, inner: Telemetry) -> None:
        self._inner = inner

    def event(self, name: str, **fields: object) -> None:
        if name == "vetoed":
            _vetoed.append(int(str(fields["window"])))
        self._inner.event(name, **fields)

    def close(self) -> None:
        self._inner.close()


def build_wrong(node: Node, this: Any, admission: Any, entries: Any, laps: Any) -> Any:
    """Until that is voted down: an update without the last of the accepted deltas."""
    if set(_lies) & set(_vetoed) or len(entries) < 2:
        return build(node, this, admission, entries, laps)
    _lies.append(this.window)
    fewer = dict(list(entries.items())[:-1])
    node.telemetry.event("lied", window=this.window, lie="aggregate")
    return replace(build(node, this, admission, fewer, laps), admission=admission)


async def withhold(node: Node, key: str, body: bytes | Path, *, before: int) -> bool:
    """Later: everything but the manifest, whose digest still goes on chain."""
    window = int(key.split("/")[1])
    if "/manifest/" in key and set(_lies) & set(_vetoed) and window not in _lies:
        node.telemetry.event("lied", window=window, lie="withheld")
        return True
    return await publish(node, key, body, before=before)


async def keep_nothing(node: Node, window: int) -> None:
    """No mirror of what is withheld."""


async def work(node: Node, settings: NodeConfig) -> None:
    await validator.validate(replace(node, telemetry=Hearing(node.telemetry)))


if __name__ == "__main__":
    vars(propose).update(build=build_wrong, publish=withhold)
    vars(validator)["mirror_manifests"] = keep_nothing
    sys.exit(run_node(Role.VALIDATOR, "A validator that lies.", sys.argv[1:], work))
