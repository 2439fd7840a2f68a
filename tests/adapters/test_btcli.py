"""btcli as people use it, on a local subnet over a websocket."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest
from chain_contract_kit import heads_until
from embedded_chain_kit import MINER, NETUID, OTHER, OWNER, TAO, VALIDATOR
from rpc_running import RunningNode
from websocket_kit import HANG_S, adapter, node_before_a_chain

from boltzmann.chain.keys import WalletKeys, require_registered
from boltzmann.chain.subtensor import SubtensorChain
from boltzmann.errors import ConfigError
from boltzmann.protocol.chainview import Head

BTCLI = Path(sys.executable).with_name("btcli")
Btcli = Callable[..., Any]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with node_before_a_chain(tmp_path, block_time_s=0.25) as running:
        yield running


def carry_out(home: Path, *words: str) -> str:
    """What the command prints, run with a home of its own."""
    done = subprocess.run(
        [str(BTCLI), *words],
        env={**os.environ, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def btcli(node: RunningNode, tmp_path: Path) -> Btcli:
    """Runs a command on the node; what it prints as JSON."""

    def run(*words: str) -> Any:
        return json.loads(carry_out(tmp_path, *words, "--network", node.url, "--json"))

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


async def test_the_line_that_a_node_names_for_its_registration_does_it(tmp_path: Path) -> None:
    wallet = bt.Wallet("w", "h", str(tmp_path / "wallets"))
    wallet.create_new_coldkey(use_password=False, suppress=True)
    wallet.create_new_hotkey(suppress=True)
    keys = WalletKeys(wallet)
    balances = {wallet.coldkeypub.ss58_address: TAO}
    with node_before_a_chain(tmp_path, block_time_s=0.25, balances_rao=balances) as node:
        async with adapter(node) as chain:
            with pytest.raises(ConfigError) as raised:
                await require_registered(chain, keys, NETUID, node.url)
            (line,) = re.findall("`btcli (.*)`", str(raised.value))
            await asyncio.to_thread(carry_out, tmp_path, *shlex.split(line), "--yes")
            # btcli waits for a block; the chain port reads blocks that are final.
            await heads_until(chain, lambda head: is_member(chain, keys, head))
            neuron = await require_registered(chain, keys, NETUID, node.url)
            assert neuron.uid == 4


async def is_member(chain: SubtensorChain, keys: WalletKeys, head: Head) -> bool:
    return keys.hotkey in {neuron.hotkey for neuron in await chain.neurons(head.number)}
