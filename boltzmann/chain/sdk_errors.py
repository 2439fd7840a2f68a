"""The bittensor SDK's exceptions as this package's: the one place where they are caught."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from bittensor.result import ChainError, ConnectionNotReady, ErrorCode, RpcConnectionError

from boltzmann.errors import ChainRefused, ChainUnavailable


@dataclass(frozen=True)
class Names:
    """The pallet's names for errors of one call that arrive under another name, or a code only."""

    by_code: Mapping[ErrorCode, str] = field(default_factory=dict)
    by_name: Mapping[str, str] = field(default_factory=dict)

    def of(self, error: ChainError) -> str | None:
        """The pallet's name, None for an error that has neither a name nor a known code."""
        if error.name:
            return self.by_name.get(error.name, str(error.name))
        return self.by_code.get(error.code)


WEIGHT_NAMES = Names(
    # SetWeights finds these before it signs.
    by_code={
        ErrorCode.NOT_REGISTERED: "HotKeyNotRegisteredInSubNet",
        ErrorCode.RATE_LIMITED: "SettingWeightsTooFast",
        ErrorCode.INVALID_ARGUMENT: "WeightVecLengthIsLow",
        ErrorCode.NOT_AUTHORIZED: "NeuronNoValidatorPermit",
    },
    # The pool refuses with a number that stands for several errors; the SDK's table of them
    # (`bittensor.error_map.CUSTOM_TRANSACTION_ERRORS`) says which of these concern weights. Where
    # the subnet has commit-reveal on, the same rate limit has a third name.
    by_name={
        "RateLimitExceeded": "SettingWeightsTooFast",
        "CommittingWeightsTooFast": "SettingWeightsTooFast",
        "StakeAmountTooLow": "NotEnoughStakeToSetWeights",
    },
)


# What may happen to a call on its way into a final block, a fork above all: no rule was broken, and
# a new transaction for the same call may get in.
LOST_ON_THE_WAY = frozenset(
    {
        "AlreadyImported",
        "AncientBirthBlock",
        "Dropped",
        "ExhaustsResources",
        "FinalityTimeout",
        "Future",
        "Invalid",
        "PriorityTooLow",
        "Retracted",
        "Stale",
        "Usurped",
    }
)


@contextmanager
def translated(names: Names | None = None) -> Iterator[None]:
    """`names`: what the call's errors are called, where the SDK calls them otherwise.

    Raises: ChainUnavailable when nothing answers, ChainRefused when the chain says no.
    """
    try:
        yield
    except (RpcConnectionError, ConnectionNotReady, OSError, asyncio.TimeoutError) as error:
        detail = str(error) or type(error).__name__
        raise ChainUnavailable(f"the chain does not answer: {detail}") from error
    except ChainError as error:
        name = (names or Names()).of(error)
        if name is None and error.code is ErrorCode.UNKNOWN:
            # Not a rule of the chain: a dropped connection, or a block that is not there (yet).
            raise ChainUnavailable(f"the chain gives no answer: {error.message}") from error
        if name in LOST_ON_THE_WAY:
            raise ChainUnavailable(f"the call got lost: {name}: {error.message}") from error
        raise ChainRefused(name or error.code.value, error.message) from error
