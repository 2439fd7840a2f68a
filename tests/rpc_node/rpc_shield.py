"""The MEV shield, without which btcli registers nobody: calls that travel sealed to the node's key.

A carrier holds an encrypted extrinsic of its signer's next nonce. The node opens it, as a block's
author does, and puts the extrinsic behind the carrier. Its key stays the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from Crypto.Cipher import ChaCha20_Poly1305
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from boltzmann.chain.embedded.arguments import byte_string
from boltzmann.chain.embedded.rules import Event
from boltzmann.chain.embedded.runtime import CallType
from boltzmann.chain.embedded.storage import View

CARRIER = ("MevShield", "submit_encrypted")
NEXT_KEY = ("MevShield", "NextKey")
_MOST_BYTES = 8192
_KEY_HASH, _LENGTH, _NONCE, _TAG = 16, 2, 24, 16


def _accept(state: View, signer: str, arguments: Mapping[str, Any]) -> list[Event]:
    digest = hashlib.blake2b(_raw(arguments["ciphertext"]), digest_size=32).hexdigest()
    return [(CARRIER[0], "EncryptedSubmitted", {"id": "0x" + digest, "who": signer})]


CARRIER_TYPE = CallType({"ciphertext": byte_string(_MOST_BYTES)}, _accept)


class Shield:
    """A key pair, and what was sealed with it."""

    def __init__(self) -> None:
        self._key = MLKEM768PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes_raw()

    def open(self, ciphertext: str) -> bytes | None:
        """The extrinsic in a carrier; None if it was not sealed for this key."""
        rest = _raw(ciphertext)[_KEY_HASH:]
        size = int.from_bytes(rest[:_LENGTH], "little")
        sealed_secret, rest = rest[_LENGTH : _LENGTH + size], rest[_LENGTH + size :]
        nonce, body, tag = rest[:_NONCE], rest[_NONCE:-_TAG], rest[-_TAG:]
        try:
            secret = self._key.decapsulate(sealed_secret)
            cipher = ChaCha20_Poly1305.new(key=secret, nonce=nonce)
            return bytes(cipher.decrypt_and_verify(body, tag))
        except ValueError:
            return None


def _raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
