"""Wallets and signatures, through the bittensor SDK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bittensor as bt
from bittensor.sp_core import Keypair

from boltzmann.errors import ConfigError
from boltzmann.ports import Chain
from boltzmann.protocol.chainview import Neuron

SIGNATURE_BYTES = 64


def load_wallet(name: str, hotkey: str, path: str) -> bt.Wallet:
    """The wallet, its hotkey readable. The coldkey is never touched.

    Raises: ConfigError with the command that makes the missing hotkey.
    """
    wallet = bt.Wallet(name, hotkey, path)
    file = Path(wallet.hotkey_file.path)
    if not file.exists():
        raise ConfigError(
            f"there is no hotkey {hotkey!r} of wallet {name!r} in {file}: set --wallet.name, "
            f"--wallet.hotkey and --wallet.path, or make one with "
            f"`btcli wallet new-hotkey -w {name} -H {hotkey}`"
        )
    return wallet


class WalletKeys:
    """Implements `boltzmann.ports.Keys` with a wallet's hotkey."""

    def __init__(self, wallet: Any) -> None:
        """Raises: ConfigError if the hotkey file cannot be read or decrypted."""
        self.wallet = wallet
        try:
            self._keypair = wallet.hotkey
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"the hotkey file of {wallet!r} cannot be read: {error}; check the file and the "
                f"password (BT_WALLET_PASSWORD)"
            ) from error

    @property
    def hotkey(self) -> str:
        return str(self._keypair.ss58_address)

    def sign(self, message: bytes) -> bytes:
        return bytes(self._keypair.sign(message))


def verify(hotkey: str, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the hotkey's sr25519 signature over `message`; never raises."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        return bool(Keypair(ss58_address=hotkey).verify(message, signature))
    except (ValueError, TypeError):
        return False


async def require_registered(chain: Chain, keys: WalletKeys, netuid: int, network: str) -> Neuron:
    """The neuron of this hotkey. Raises: ConfigError with the line that registers it."""
    head = await chain.head()
    for neuron in await chain.neurons(head.number):
        if neuron.hotkey == keys.hotkey:
            return neuron
    wallet = keys.wallet
    raise ConfigError(
        f"hotkey {keys.hotkey} ({wallet.name}/{wallet.hotkey_str}) is not registered on netuid "
        f"{netuid} of {network}: register it with `btcli subnets register -w {wallet.name} "
        f"-H {wallet.hotkey_str} -n {network} --netuid {netuid}`"
    )
