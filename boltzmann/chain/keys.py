"""This node's wallet, and signatures of peers: sr25519 keys through the bittensor SDK."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bittensor as bt
from bittensor.sp_core import CRYPTO_SR25519, KeyfileError, Keypair
from bittensor.wallet import DEFAULT_WALLET_PATH
from bittensor.wallets import is_bittensor_address

from boltzmann.errors import ConfigError
from boltzmann.ports import Chain
from boltzmann.protocol.chainview import Neuron

SIGNATURE_BYTES = 64
EMBEDDED = "embedded:"  # how the name of a network that is one file begins


def load_wallet(name: str, hotkey: str, path: str) -> bt.Wallet:
    """The wallet whose hotkey file is there; neither hotkey nor coldkey is read yet.

    Raises: ConfigError naming the missing file and the command that makes it.
    """
    try:
        wallet = bt.Wallet(name, hotkey, path)
    except ValueError as error:
        raise ConfigError(f"--wallet.name {name!r} names no wallet: {error}") from error
    file = Path(wallet.hotkey_file.path)
    if not file.is_file():
        raise ConfigError(
            f"there is no hotkey file {file}: correct --wallet.name, --wallet.hotkey or "
            f"--wallet.path, or make the hotkey with `{_btcli('wallet new-hotkey', wallet)}`"
        )
    return wallet


class WalletKeys:
    """Implements `boltzmann.ports.Keys` with a wallet's hotkey, which is unlocked when it signs.

    Of a plaintext hotkey file, the usual kind, everything is read at once. An encrypted one is
    decrypted by the SDK when the first signature is asked for: until then only its public file is.
    """

    def __init__(self, wallet: bt.Wallet) -> None:
        """Raises: ConfigError if the hotkey's files cannot be read or are of another scheme."""
        self.wallet = wallet
        self._keypair: Any = None
        file = wallet.hotkey_file
        if file.is_encrypted() and wallet.hotkeypub_file.exists_on_device():
            public = self._read(wallet.hotkeypub_file.path, lambda: wallet.hotkeypub)
        else:
            public = self._keypair = self._read(file.path, lambda: _able_to_sign(wallet))
        self._hotkey = str(public.ss58_address)

    @property
    def hotkey(self) -> str:
        return self._hotkey

    def sign(self, message: bytes) -> bytes:
        """Raises: ConfigError if the hotkey cannot be unlocked."""
        if self._keypair is None:
            self._keypair = self._unlocked()
        return bytes(self._keypair.sign(message))

    def _unlocked(self) -> Any:
        path = self.wallet.hotkey_file.path
        keypair = self._read(path, lambda: _able_to_sign(self.wallet))
        if keypair.ss58_address != self._hotkey:
            raise ConfigError(
                f"{path} holds the key of {keypair.ss58_address}, but "
                f"{self.wallet.hotkeypub_file.path} says {self._hotkey}: remove the wrong one"
            )
        return keypair

    @staticmethod
    def _read(path: str, read: Callable[[], Any]) -> Any:
        try:
            keypair = read()
        except (OSError, EOFError, ValueError, KeyfileError) as error:
            detail = str(error) or "no password was given"
            raise ConfigError(
                f"the hotkey in {path} cannot be used: {detail}; check the file and its password"
            ) from error
        if keypair.crypto_type != CRYPTO_SR25519:
            raise ConfigError(
                f"the hotkey in {path} is not an sr25519 key, which signatures here must be of: "
                f"make one with `btcli wallet new-hotkey --crypto-type sr25519`"
            )
        return keypair


def verify(hotkey: str, message: bytes, signature: bytes) -> bool:
    """Implements `boltzmann.ports.Verify`: the hotkey's sr25519 signature over `message`?

    Malformed addresses and signatures are false, not errors; an address is one spelling only.
    """
    if len(signature) != SIGNATURE_BYTES or not is_hotkey(hotkey):
        return False
    return bool(Keypair(ss58_address=hotkey, crypto_type=CRYPTO_SR25519).verify(message, signature))


def is_hotkey(address: str) -> bool:
    """Whether `address` is an ss58 address as the Bittensor chain spells it (format 42)."""
    return bool(is_bittensor_address(address))


async def require_registered(chain: Chain, keys: WalletKeys, netuid: int, network: str) -> Neuron:
    """The neuron of this hotkey at the newest block.

    Raises: ConfigError with the line that registers the hotkey, ChainError.
    """
    head = await chain.head()
    for neuron in await chain.neurons(head.number):
        if neuron.hotkey == keys.hotkey:
            return neuron
    wallet = keys.wallet
    if network.startswith(EMBEDDED):
        mend = "take one of the wallets that were made with the chain"
    else:
        options = f"-n {shlex.quote(network)} --netuid {netuid}"
        mend = f"register it with `{_btcli('subnets register', wallet)} {options}`"
    raise ConfigError(
        f"hotkey {keys.hotkey} ({wallet.name}/{wallet.hotkey_str}) is not registered on netuid "
        f"{netuid} of {network}: {mend}"
    )


def _able_to_sign(wallet: bt.Wallet) -> Any:
    keypair = wallet.hotkey
    keypair.sign(b"")  # a file may hold an address only; better to learn it at the start
    return keypair


def _btcli(command: str, wallet: bt.Wallet) -> str:
    line = f"btcli {command} -w {shlex.quote(wallet.name)} -H {shlex.quote(wallet.hotkey_str)}"
    if Path(wallet.path).expanduser() == Path(DEFAULT_WALLET_PATH):
        return line
    return f"{line} --wallet-path {shlex.quote(str(wallet.path))}"
