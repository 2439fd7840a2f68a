"""Wallets, signatures, and the sentences for those who lack a hotkey or a registration."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest
from bittensor.sp_core import CRYPTO_ED25519, Keypair, save_password_to_environment, ss58_encode
from bittensor.wallet import DEFAULT_WALLET_PATH
from embedded_chain_kit import NETUID, RICH, genesis
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import GenesisNeuron, create_chain
from boltzmann.chain.keys import (
    WalletKeys,
    is_hotkey,
    load_wallet,
    require_registered,
    verify,
)
from boltzmann.errors import ConfigError
from boltzmann.ports import Keys, Verify

PAIR = Keypair.create_from_uri("//somebody")
ADDRESS = str(PAIR.ss58_address)
MESSAGE = b"message"
SIGNATURE = bytes(PAIR.sign(MESSAGE))
PASSWORD = "a password of some length"


def make_wallet(folder: Path, **options: Any) -> bt.Wallet:
    """A wallet on disk, with nothing of it in memory."""
    bt.Wallet("w", "h", str(folder)).create_new_hotkey(suppress=True, **options)
    return load_wallet("w", "h", str(folder))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wallet whose hotkey has a password; making one takes seconds."""
    folder = tmp_path_factory.mktemp("encrypted")
    make_wallet(folder, hotkey_password=PASSWORD)
    return folder


@pytest.fixture
def locked(encrypted: Path, tmp_path: Path) -> bt.Wallet:
    folder = shutil.copytree(encrypted, tmp_path / "wallets")
    return load_wallet("w", "h", str(folder))


def give_password(wallet: bt.Wallet, password: str, environment: pytest.MonkeyPatch) -> None:
    name = wallet.hotkey_file.env_var_name()
    environment.setenv(name, "")  # so that it is taken back after the test
    save_password_to_environment(name, password)


def commands_in(message: str) -> list[list[str]]:
    """The command lines a message quotes, without the program's name."""
    return [shlex.split(line)[1:] for line in re.findall(r"`(btcli [^`]*)`", message)]


def btcli(arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), "TERM": "dumb", "COLUMNS": "200"}
    program = [sys.executable, "-c", "from bittensor.cli.main import main; main()"]
    return subprocess.run(
        [*program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


# Wallets


def test_a_missing_hotkey_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    folder = str(tmp_path / "my wallets")
    with pytest.raises(ConfigError) as raised:
        load_wallet("cold one", "hot", folder)
    assert str(tmp_path / "my wallets" / "cold one" / "hotkeys" / "hot") in str(raised.value)
    (command,) = commands_in(str(raised.value))
    made = btcli(command, tmp_path)
    assert made.returncode == 0, made.stderr
    keys = WalletKeys(load_wallet("cold one", "hot", folder))
    assert verify(keys.hotkey, MESSAGE, keys.sign(MESSAGE))


def test_the_usual_folder_is_not_spelled_out() -> None:
    with pytest.raises(ConfigError, match=r"`btcli wallet new-hotkey -w no -H such`"):
        load_wallet("no", "such", DEFAULT_WALLET_PATH)


def test_a_name_that_names_no_wallet() -> None:
    with pytest.raises(ConfigError, match="'a/b'"):
        load_wallet("a/b", "hot", "nowhere")


def test_a_wallet_signs_what_anybody_can_check(tmp_path: Path) -> None:
    keys: Keys = WalletKeys(make_wallet(tmp_path))
    check: Verify = verify
    signature = keys.sign(MESSAGE)
    assert len(signature) == 64 and is_hotkey(keys.hotkey)
    assert check(keys.hotkey, MESSAGE, signature)
    assert not check(keys.hotkey, MESSAGE + b".", signature)
    assert not check(ADDRESS, MESSAGE, signature)


def test_the_coldkey_is_never_read(tmp_path: Path) -> None:
    wallet = make_wallet(tmp_path)
    Path(wallet.coldkey_file.path).write_text("not a key")
    Path(wallet.coldkeypub_file.path).write_text("not a key")
    assert WalletKeys(wallet).sign(MESSAGE)


def test_an_encrypted_hotkey_is_unlocked_when_it_signs(
    locked: bt.Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = WalletKeys(locked)
    assert is_hotkey(keys.hotkey)
    give_password(locked, "a wrong one", monkeypatch)
    with pytest.raises(ConfigError, match=f"{re.escape(locked.hotkey_file.path)}.*password"):
        keys.sign(MESSAGE)
    give_password(locked, PASSWORD, monkeypatch)
    assert verify(keys.hotkey, MESSAGE, keys.sign(MESSAGE))
    give_password(locked, "forgotten", monkeypatch)
    assert keys.sign(MESSAGE)  # once is enough


def test_an_encrypted_hotkey_of_another_address_than_its_public_file(
    locked: bt.Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = Path(locked.hotkeypub_file.path)
    public.write_text(json.dumps({"ss58Address": ADDRESS, "cryptoType": 1}))
    keys = WalletKeys(locked)
    give_password(locked, PASSWORD, monkeypatch)
    with pytest.raises(ConfigError, match=f"{re.escape(str(public))} says {ADDRESS}"):
        keys.sign(MESSAGE)


@pytest.mark.parametrize(
    "content",
    ["", "garbage", "{}", '{"ss58Address": "zz"}', json.dumps({"ss58Address": ADDRESS})],
    ids=["empty", "garbage", "no-key", "no-address", "address-only"],
)
def test_a_hotkey_file_that_is_none(tmp_path: Path, content: str) -> None:
    wallet = make_wallet(tmp_path)
    Path(wallet.hotkey_file.path).write_text(content)
    with pytest.raises(ConfigError, match=re.escape(wallet.hotkey_file.path)):
        WalletKeys(wallet)


def test_a_key_of_another_scheme(tmp_path: Path) -> None:
    wallet = make_wallet(tmp_path, crypto_type=CRYPTO_ED25519)
    with pytest.raises(ConfigError, match="not an sr25519 key"):
        WalletKeys(wallet)


# Peers' signatures


@given(message=st.binary(max_size=300))
def test_a_signature_is_good_for_its_own_message(message: bytes) -> None:
    assert verify(ADDRESS, message, bytes(PAIR.sign(message)))


@given(bit=st.integers(0, 64 * 8 - 1))
def test_a_signature_with_a_flipped_bit_is_none(bit: int) -> None:
    flipped = bytearray(SIGNATURE)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not verify(ADDRESS, MESSAGE, bytes(flipped))


@given(hotkey=st.text(max_size=60), message=st.binary(), signature=st.binary(max_size=70))
def test_malformed_input_is_false_not_an_error(
    hotkey: str, message: bytes, signature: bytes
) -> None:
    assert verify(hotkey, message, signature) is False
    assert verify(ADDRESS, message, signature) is False
    assert is_hotkey(hotkey) is False


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_has_64_bytes(size: int) -> None:
    assert not verify(ADDRESS, MESSAGE, (SIGNATURE + b"\x00")[:size])


def test_a_key_has_one_spelling() -> None:
    polkadots = str(ss58_encode(bytes(PAIR.public_key), 0))
    assert is_hotkey(ADDRESS) and not is_hotkey(polkadots)
    assert verify(ADDRESS, MESSAGE, SIGNATURE) and not verify(polkadots, MESSAGE, SIGNATURE)
    assert not is_hotkey("0x" + bytes(PAIR.public_key).hex())
    assert not is_hotkey(ADDRESS + " ")


# Registration


async def test_a_registered_hotkey_has_its_neuron(tmp_path: Path) -> None:
    keys = WalletKeys(make_wallet(tmp_path))
    neurons = (GenesisNeuron(RICH.hot, RICH.cold), GenesisNeuron(keys.hotkey, RICH.cold))
    create_chain(tmp_path / "chain", genesis=genesis(neurons=neurons))
    chain = await connect(f"embedded:{tmp_path / 'chain'}", NETUID)
    neuron = await require_registered(chain, keys, NETUID, "test")
    assert (neuron.uid, neuron.hotkey) == (1, keys.hotkey)
    await chain.close()


async def test_an_unregistered_hotkey_gets_the_line_that_registers_it(tmp_path: Path) -> None:
    wallet = make_wallet(tmp_path)
    keys = WalletKeys(wallet)
    create_chain(tmp_path / "chain", genesis=genesis())
    network = f"embedded:{tmp_path / 'chain'}"
    chain = await connect(network, NETUID)
    with pytest.raises(ConfigError) as raised:
        await require_registered(chain, keys, NETUID, "test")
    assert keys.hotkey in str(raised.value)
    (command,) = commands_in(str(raised.value))
    usual = ["subnets", "register", "-w", "w", "-H", "h"]
    place = ["--wallet-path", str(tmp_path)]
    assert command == [*usual, *place, "-n", "test", "--netuid", "220"]
    understood = btcli([*command, "--help"], tmp_path)
    assert understood.returncode == 0, understood.stderr
    with pytest.raises(ConfigError, match="made with the chain") as raised:
        await require_registered(chain, keys, NETUID, network)
    assert commands_in(str(raised.value)) == []
    await chain.close()
