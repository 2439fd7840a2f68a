"""The options that say which run a command looks at, from outside of it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class WhichRun:
    """A chain's name or endpoint, a subnet on it, and the config's sha256 if one was asked for."""

    network: str
    netuid: int
    run_hash: str


def add_which_run(parser: argparse.ArgumentParser) -> None:
    """The options; each may also stand in the environment or in `.env`."""
    parser.add_argument("--netuid", metavar="N", help="the run's subnet [NETUID]")
    parser.add_argument(
        "--subtensor.network",
        dest="network",
        metavar="NET",
        help="finney, test, archive, a ws:// endpoint, or embedded:FILE [SUBTENSOR_NETWORK] "
        "(default: finney)",
    )
    parser.add_argument(
        "--run.hash",
        dest="run_hash",
        metavar="HASH",
        help="refuse any run whose config has another sha256 [RUN_HASH]",
    )


def which_run(options: argparse.Namespace) -> WhichRun:
    """What they say, or else the environment or `.env`. Raises: ConfigError."""
    from boltzmann.app.nodeconfig import require_netuid
    from boltzmann.app.settings import chosen_setting

    netuid: int = chosen_setting("netuid", options.netuid)
    require_netuid(netuid)
    return WhichRun(
        network=chosen_setting("network", options.network),
        netuid=netuid,
        run_hash=chosen_setting("run_hash", options.run_hash),
    )
