"""Signed calls: the payload a key signs, the bytes that travel, and the check of the signature."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from bittensor.sp_core import CRYPTO_SR25519, verify

from boltzmann.chain.embedded.runtime import Call, compose

# Keeps a signature made for this chain from meaning anything elsewhere.
_DOMAIN = b"boltzmann embedded chain extrinsic\n"


@dataclass(frozen=True)
class Extrinsic:
    """A call with its signer's address, nonce and sr25519 signature (64 bytes)."""

    call: Call
    signer: str
    nonce: int
    signature: bytes

    def encode(self) -> bytes:
        return _canonical(
            {
                **_signed_part(self.call, self.signer, self.nonce),
                "signature": "0x" + self.signature.hex(),
            }
        )

    def hash(self) -> str:
        return extrinsic_hash(self.encode())

    def is_signed_for(self, genesis_hash: str) -> bool:
        """Whether the signature is the signer's, over this call and nonce, for that chain."""
        message = payload(self.call, self.signer, self.nonce, genesis_hash)
        try:
            return bool(verify(message, self.signature, self.signer, CRYPTO_SR25519))
        except ValueError:  # not a signature's length, or not an address
            return False


def payload(call: Call, signer: str, nonce: int, genesis_hash: str) -> bytes:
    """The bytes to sign: the call, who calls, the how manieth time, and on which chain."""
    signed = {**_signed_part(call, signer, nonce), "genesis": genesis_hash}
    return _DOMAIN + _canonical(signed)


def decode(data: bytes) -> Extrinsic:
    """The extrinsic whose `encode()` gave `data`; its signature is not checked here.

    Raises: ValueError when `data` is none, or its call is not one the runtime can carry out.
    """
    try:
        body = json.loads(data)
        call = body["call"]
        composed = compose(str(call["module"]), str(call["function"]), dict(call["params"]))
        signature = bytes.fromhex(body["signature"][2:])
        return Extrinsic(composed, str(body["signer"]), int(body["nonce"]), signature)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an extrinsic of the embedded chain: {error!r}") from error


def extrinsic_hash(encoded: bytes) -> str:
    return "0x" + hashlib.blake2b(encoded, digest_size=32).hexdigest()


def _signed_part(call: Call, signer: str, nonce: int) -> dict[str, Any]:
    composed = {"module": call.module, "function": call.function, "params": dict(call.params)}
    return {"call": composed, "signer": signer, "nonce": nonce}


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
