"""Names of the objects of a run: computed from the window, never listed."""

from __future__ import annotations

from boltzmann.config import RunConfig
from boltzmann.protocol.points import count
from boltzmann.protocol.slices import Slice
from boltzmann.protocol.wire import Expected, Kind

MAX_CONFIG_BYTES = 64 * 1024


def config_key(run: str) -> str:
    return f"{run}/run.toml"


def commit_key(run: str, window: int) -> str:
    return f"{run}/{window}/commit"


def delta_key(run: str, window: int) -> str:
    return f"{run}/{window}/delta"


def receipt_key(run: str, window: int) -> str:
    return f"{run}/{window}/receipt"


def alarms_key(run: str, window: int) -> str:
    return f"{run}/{window}/alarms"


def payroll_key(run: str, window: int) -> str:
    return f"{run}/{window}/payroll"


def proposal_key(run: str, window: int) -> str:
    return f"{run}/{window}/proposal"


def ballot_key(run: str, window: int, proposal: str) -> str:
    return f"{run}/{window}/ballot/{proposal}"


# What several validators hold copies of is named by its content.


def update_key(run: str, window: int, sha256: str) -> str:
    """`sha256` is of the update's body."""
    return f"{run}/{window}/update/{sha256}"


def receipt_copy_key(run: str, window: int, sha256: str) -> str:
    """A witness's receipt in the bucket of the leader that names it."""
    return f"{run}/{window}/receipts/{sha256}"


def manifest_key(run: str, window: int, sha256: str) -> str:
    return f"{run}/{window}/manifest/{sha256}"


def descriptor_key(run: str, window: int, sha256: str) -> str:
    return f"{run}/{window}/checkpoint/{sha256}.json"


def shard_key(run: str, window: int, sha256: str) -> str:
    return f"{run}/{window}/checkpoint/{sha256}.safetensors"


def expected(
    config: RunConfig, kind: Kind, hotkey: str, window: int, base_root: bytes, chosen: Slice
) -> Expected:
    """What a reader of a window's delta or update knows before it reads."""
    exchange = config.exchange
    points = count(chosen.layout, config.audit.points) if kind is Kind.DELTA else 0
    return Expected(
        kind=kind,
        run=config.run.id,
        hotkey=hotkey,
        window=window,
        base_root=base_root,
        values=chosen.size,
        codec=exchange.codec,
        limit=exchange.max_magnitude,
        shares=(config.data.pages_per_member, points) if points else (0, 0),
    )
