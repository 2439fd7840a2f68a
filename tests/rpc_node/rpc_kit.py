"""The websocket node as tests take it: with caches of its own, and a skip where it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rpc_metadata import NoSdkSource, runtime_metadata
from rpc_running import RunningNode, running


def require_metadata() -> None:
    """Skips the test where the runtime's metadata is not to be had."""
    try:
        runtime_metadata()
    except NoSdkSource as error:
        pytest.skip(f"no runtime metadata for a websocket node: {error}")


@contextmanager
def node_over(
    path: Path, environment: pytest.MonkeyPatch, *, lag: int = 0, newer_items: bool = False
) -> Iterator[RunningNode]:
    """A node over the chain's file; tests that cannot have the runtime's metadata are skipped.

    `environment` keeps the SDK's caches beside the chain: it knows chains by their genesis, which
    chains of one seed share, and networks by their name.
    """
    require_metadata()
    environment.setenv("BITTENSOR_RUNTIME_CACHE_DIR", str(path.with_name("runtime-cache")))
    environment.setenv("BTCLI_TOKEN_SYMBOLS_CACHE", str(path.with_name("symbols.json")))
    with running(path, lag=lag, newer_items=newer_items) as node:
        yield node
