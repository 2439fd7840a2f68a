"""From a network's name to a chain, or to a sentence that says what is wrong with it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import bittensor as bt
import pytest
from embedded_chain_kit import NETUID, RICH, genesis

from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import GenesisNeuron, create_chain
from boltzmann.errors import ChainUnavailable, ConfigError


async def test_an_unknown_network_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'fynney' is unknown.*finney.*local.*test.*embedded:"):
        await connect("fynney", NETUID)


async def test_a_missing_chain_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path / "none")):
        await connect(f"embedded:{tmp_path / 'none'}", NETUID)
    assert not (tmp_path / "none").exists()


async def test_a_file_that_is_no_chain_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a chain " * 1000)
    with pytest.raises(ConfigError, match=str(tmp_path / "text")):
        await connect(f"embedded:{tmp_path / 'text'}", NETUID)


@pytest.mark.parametrize("netuid", [0, 7, -1, 70_000])
async def test_an_unknown_netuid_names_the_one_there_is(tmp_path: Path, netuid: int) -> None:
    create_chain(tmp_path / "chain", genesis=genesis())
    with pytest.raises(ConfigError, match=f"netuid {netuid} on embedded:.*its netuid is {NETUID}"):
        await connect(f"embedded:{tmp_path / 'chain'}", netuid)


async def test_a_refused_connection_is_closed(tmp_path: Path) -> None:
    create_chain(tmp_path / "chain", genesis=genesis())
    before = set(threading.enumerate())
    with pytest.raises(ConfigError):
        await connect(f"embedded:{tmp_path / 'chain'}", NETUID + 1)
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:  # told to end, they may need a moment
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)


async def test_nobody_at_the_endpoint_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        endpoint = f"ws://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ChainUnavailable, match=endpoint):
            await connect(endpoint, NETUID)


async def test_the_users_files_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "symbols.json"
    monkeypatch.setenv("BTCLI_TOKEN_SYMBOLS_CACHE", str(cache))
    create_chain(tmp_path / "chain", genesis=genesis())
    chain = await connect(f"embedded:{tmp_path / 'chain'}", NETUID)
    await chain.neurons(0)
    await chain.close()
    assert not cache.exists()


async def test_a_wallet_from_disk_signs(tmp_path: Path) -> None:
    wallet = bt.Wallet("w", "h", str(tmp_path / "wallets"))
    wallet.create_new_hotkey(suppress=True)
    neuron = GenesisNeuron(wallet.hotkey.ss58_address, RICH.cold)
    create_chain(tmp_path / "chain", genesis=genesis(block_time_s=0.05, neurons=(neuron,)))
    chain = await connect(
        f"embedded:{tmp_path / 'chain'}", NETUID, bt.Wallet("w", "h", str(tmp_path / "wallets"))
    )
    block = await chain.commit([b"from disk"])
    assert await chain.commitments(block) == {neuron.hotkey: (b"from disk",)}
    await chain.close()


def test_the_embedded_chain_is_loaded_only_when_it_is_used() -> None:
    check = (
        "import sys, boltzmann.chain.connect as c; "
        "sys.exit(any(m.startswith('boltzmann.chain.embedded') for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=30)
