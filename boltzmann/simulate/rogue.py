"""How a hostile kind of participant differs from an honest one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from boltzmann.node.conduct import Conduct
from boltzmann.node.node import Node
from boltzmann.ports import Keys, Store
from boltzmann.simulate.store import Buckets, Serve


def _same_store(store: Store, buckets: Buckets) -> Store:
    return store


def _same_keys(keys: Keys) -> Keys:
    return keys


@dataclass(frozen=True)
class Rogue:
    """A kind of hostile participant.

    `conduct`: what each of them does with its pages, made from its name. A conduct may say in
    attributes `first_cheat` (a window or None) when it began to cheat, if later than it began to
    send; `cheated`, in which windows it did; and `work`, how many honest windows' work it did.
    `store` and `keys` wrap what the honest node would have; `serve` answers for its bucket, made
    from its name; `stake` above 0 makes it a validator, beside the honest ones; `drive` runs its
    node in the place of the miner's or validator's loop.
    """

    conduct: Callable[[str], Conduct]
    store: Callable[[Store, Buckets], Store] = _same_store
    keys: Callable[[Keys], Keys] = _same_keys
    serve: Callable[[str], Serve] | None = None
    stake: float = 0.0
    drive: Callable[[Node, Conduct], Coroutine[Any, Any, None]] | None = None
