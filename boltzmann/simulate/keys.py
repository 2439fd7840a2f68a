"""Keys of a simulation: their signatures cost a hash, and the same message has the same one.

sr25519 signatures are randomised, so no two runs would have equal bytes. Nobody outside of a
simulation could check these: the ring that verifies them holds every secret.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from boltzmann.protocol.seeds import derive

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SS58_LENGTH = 48


@dataclass(frozen=True)
class MemoryKeys:
    """Implements `boltzmann.ports.Keys`."""

    hotkey: str
    secret: bytes = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`."""
        return hashlib.blake2b(message, key=self.secret).digest()


class Keyring:
    """All keys of a simulation, made from its seed (32 bytes) and the owners' names."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._keys: dict[str, MemoryKeys] = {}

    def keys(self, name: str) -> MemoryKeys:
        """The keys of one participant; the same name gives the same keys."""
        keys = MemoryKeys(
            _address(derive(self._seed, "hotkey", name)), derive(self._seed, "secret", name)
        )
        return self._keys.setdefault(keys.hotkey, keys)

    def verify(self, hotkey: str, message: bytes, signature: bytes) -> bool:
        """Implements `boltzmann.ports.Verify` for the keys that were made here."""
        keys = self._keys.get(hotkey)
        return keys is not None and hmac.compare_digest(keys.sign(message), signature)


def _address(public: bytes) -> str:
    """A hotkey of the length and alphabet that the chain's have; no chain would take it."""
    number, digits = int.from_bytes(public, "big"), ""
    for _ in range(_SS58_LENGTH - 1):
        number, digit = divmod(number, len(_BASE58))
        digits += _BASE58[digit]
    return "5" + digits
