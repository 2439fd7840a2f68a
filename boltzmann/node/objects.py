"""Names of the objects of a run: computed from the window, never listed."""

from __future__ import annotations

from boltzmann.config import RunConfig
from boltzmann.protocol.slices import Slice
from boltzmann.protocol.wire import Expected, Kind

MAX_CONFIG_BYTES = 64 * 1024


def config_key(run: str) -> str:
    return f"{run}/run.toml"


def delta_key(run: str, window: int) -> str:
    return f"{run}/{window}/delta"


def update_key(run: str, window: int) -> str:
    return f"{run}/{window}/update"


def manifest_key(run: str, window: int) -> str:
    return f"{run}/{window}/manifest"


def checkpoint_key(run: str, window: int) -> str:
    return f"{run}/{window}/checkpoint"


def expected(
    config: RunConfig, kind: Kind, hotkey: str, window: int, base_root: bytes, chosen: Slice
) -> Expected:
    """What a reader of a window's delta or update knows before it reads."""
    exchange = config.exchange
    return Expected(
        kind=kind,
        run=config.run.id,
        hotkey=hotkey,
        window=window,
        base_root=base_root,
        values=chosen.size,
        codec=exchange.codec,
        limit=exchange.max_magnitude,
    )
