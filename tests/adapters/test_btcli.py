"""btcli as people use it, on a local subnet over a websocket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded_chain_kit import MINER, NETUID, OTHER, OWNER, TAO, VALIDATOR
from rpc_running import RunningNode
from websocket_kit import HANG_S, node_before_a_chain

BTCLI = Path(sys.executable).with_name("btcli")
Btcli = Callable[..., Any]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with node_before_a_chain(tmp_path, block_time_s=0.25) as running:
        yield running


@pytest.fixture
def btcli(node: RunningNode, tmp_path: Path) -> Btcli:
    """Runs a command on the node, with a home of its own; what it prints as JSON."""

    def run(*words: str) -> Any:
        command = [str(BTCLI), *words, "--network", node.url, "--json"]
        done = subprocess.run(
            command,
            env={**os.environ, "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def test_the_list_of_subnets(btcli: Btcli) -> None:
    (row,) = btcli("subnets", "list")
    assert (row["netuid"], row["neurons"], row["tempo"]) == (NETUID, 4, 5000)
    assert row["symbol"] == "α"


def test_a_subnet(btcli: Btcli) -> None:
    shown = btcli("subnets", "show", str(NETUID))
    assert OWNER.cold in json.dumps(shown) and OWNER.hot in json.dumps(shown)


def test_its_metagraph(btcli: Btcli) -> None:
    graph = btcli("subnets", "metagraph", str(NETUID))
    assert graph["hotkeys"] == [OWNER.hot, VALIDATOR.hot, MINER.hot, OTHER.hot]
    assert graph["total_stake"] == [3000 * TAO, 2000 * TAO, 0, 999 * TAO]
    assert graph["validator_permit"] == [True, True, False, False]


def test_its_rules(btcli: Btcli) -> None:
    rules = json.dumps(btcli("subnets", "hyperparameters", str(NETUID)))
    assert '"tempo"' in rules and "5000" in rules
