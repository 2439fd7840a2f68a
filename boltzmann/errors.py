"""This node's own troubles. A peer's misdeed is a value (`protocol.rejection`), not an exception.

    BoltzmannError
    ├── ConfigError          a flag, variable, run.toml or wallet this node cannot start with
    ├── ChainError
    │   ├── ChainUnavailable the chain does not answer; state is kept and the call may be repeated
    │   └── ChainRefused     the chain said no, by its own error name (`name`)
    ├── StoreError
    │   ├── StoreUnavailable the bucket does not answer; the call may be repeated
    │   └── StoreConflict    the key already holds other bytes; uploads are create-only
    ├── DataError            a dataset, page or tokenizer that is not what the run's config says
    │   ├── DataUnavailable  the data's host does not answer; the call may be repeated
    │   └── BrokenOff        nobody waits for what was to be computed any more
    └── StateError
        ├── NoRoom           the disk did not take a file; what was there before is whole
        ├── Divergence       an agreed update gives this node another root than the manifest names
        └── CorruptState     a local file or checkpoint whose digest is not the expected one

Every message names the fact, the place and the mend, in one sentence a person can act on. Keys that
stand in a place's address are left out of it.
"""

from __future__ import annotations

from boltzmann.privacy import shown


class BoltzmannError(Exception):
    """Root of every error this package raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


class ConfigError(BoltzmannError):
    """A flag, variable, run config or wallet this node cannot start with."""


class ChainError(BoltzmannError):
    """Trouble with the chain."""


class ChainUnavailable(ChainError):
    """The chain did not answer in time; nothing was changed."""


class ChainRefused(ChainError):
    """The chain refused a call; `name` is its own error name, e.g. SettingWeightsTooFast."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class StoreError(BoltzmannError):
    """Trouble with this node's own bucket."""


class StoreUnavailable(StoreError):
    """The bucket did not answer in time; nothing was changed."""


class StoreConflict(StoreError):
    """The key already holds other bytes; an upload is never overwritten."""


class DataError(BoltzmannError):
    """The data is not what the run's config says."""


class DataUnavailable(DataError):
    """The data's host did not answer in time; nothing was changed."""


class BrokenOff(DataError):
    """What was being computed came too late for what it was wanted for; nothing was changed."""


class StateError(BoltzmannError):
    """Trouble with the model state."""


class NoRoom(StateError):
    """The disk did not take a file; what was there before is whole, and the work can be redone."""


class Divergence(StateError):
    """The agreed update gives this node another state root than the manifest names."""


class CorruptState(StateError):
    """A local file or a checkpoint does not have the digest it should have."""
