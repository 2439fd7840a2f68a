"""The bittensor SDK's exceptions as this package's: the one place where they are caught."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bittensor.result import ChainError, ConnectionNotReady, ErrorCode, RpcConnectionError

from boltzmann.errors import ChainRefused, ChainUnavailable

# SetWeights finds these before it signs and says them by code; the chain would say them by name.
PREFLIGHT_NAMES = {
    ErrorCode.NOT_REGISTERED: "HotKeyNotRegisteredInSubNet",
    ErrorCode.RATE_LIMITED: "SettingWeightsTooFast",
    ErrorCode.INVALID_ARGUMENT: "WeightVecLengthIsLow",
    ErrorCode.NOT_AUTHORIZED: "NeuronNoValidatorPermit",
}


@contextmanager
def translated(names: Mapping[ErrorCode, str] | None = None) -> Iterator[None]:
    """`names`: the chain's own names for errors that come with a code only.

    Raises: ChainUnavailable when nothing answers, ChainRefused when the chain says no.
    """
    try:
        yield
    except (RpcConnectionError, ConnectionNotReady, OSError, asyncio.TimeoutError) as error:
        detail = str(error) or type(error).__name__
        raise ChainUnavailable(f"the chain does not answer: {detail}") from error
    except ChainError as error:
        name = error.name or (names or {}).get(error.code)
        if name is None and error.code is ErrorCode.UNKNOWN:
            # Not a rule of the chain: a dropped connection, or a block that is not there (yet).
            raise ChainUnavailable(f"the chain gives no answer: {error.message}") from error
        raise ChainRefused(name or error.code.value, error.message) from error
