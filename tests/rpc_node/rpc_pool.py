"""Extrinsics on their way into a block: signatures, nonces, and what became of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from bittensor.sp_core import verify
from rpc_chain import Chain
from rpc_codec import BadEncoding, Codec, Opened
from rpc_faults import Faults, RpcError, invalid_transaction
from rpc_shield import CARRIER, Shield

from boltzmann.chain.embedded.arguments import BadArgument
from boltzmann.chain.embedded.extrinsic import Extrinsic
from boltzmann.chain.embedded.ledger import Refused
from boltzmann.chain.embedded.runtime import CALLS, Call, compose
from boltzmann.chain.embedded.storage import Included

MOST_WAITING = 64  # extrinsics of one account whose nonces are still to come


@dataclass(frozen=True)
class WireExtrinsic(Extrinsic):
    """One that came in SCALE: its signature is over the real payload, its hash over its bytes."""

    wire: bytes
    codec: Codec
    opened: Opened
    birth_hash: str

    def encode(self) -> bytes:
        """The embedded chain's own record of it, with the bytes that travelled."""
        body = json.loads(super().encode())
        return json.dumps({**body, "wire": "0x" + self.wire.hex()}).encode()

    def hash(self) -> str:
        return "0x" + blake2b(self.wire, digest_size=32).hexdigest()

    def is_signed_for(self, genesis_hash: str) -> bool:
        opened = self.opened
        message = self.codec.payload(opened, _raw(genesis_hash), _raw(self.birth_hash))
        return bool(verify(message, opened.signature, opened.signer, opened.crypto_type))


class Pool:
    """Puts extrinsics into the ledger; those whose nonce is too high wait for the ones before."""

    def __init__(self, chain: Chain, codec: Codec, faults: Faults, shield: Shield) -> None:
        self._chain = chain
        self._codec = codec
        self._faults = faults
        self._shield = shield
        self._waiting: dict[str, dict[int, bytes]] = {}  # signer -> nonce -> extrinsic
        self.included: dict[str, Included] = {}  # by the extrinsic's hash

    def submit(self, wire: bytes) -> str:
        """The extrinsic's hash, once it is in the ledger's open block or waits for its turn.

        Raises: RpcError as the transaction pool of a node says it.
        """
        if self._faults.pool_refusal is not None:
            raise invalid_transaction(self._faults.pool_refusal)
        extrinsic = self._read(wire)
        try:
            self._include(extrinsic)
        except Refused as refusal:
            if refusal.name != "Future" or not self._wait(extrinsic):
                raise invalid_transaction(str(refusal)) from refusal
        return extrinsic.hash()

    def next_nonce(self, address: str) -> int:
        return self._chain.ledger.next_nonce(address)

    def bytes_of(self, included: Included) -> bytes:
        """The extrinsic in SCALE. One that another client put into the file never was in SCALE: it
        is encoded as an immortal one, with the signature it came with."""
        body: dict[str, Any] = json.loads(included.body)
        if "wire" in body:
            return _raw(body["wire"])
        call = body["call"]
        return self._codec.signed(
            Opened(
                signer=body["signer"],
                signature=_raw(body["signature"]),
                crypto_type=1,
                period=None,
                phase=0,
                nonce=body["nonce"],
                tip=0,
                checks_metadata=False,
                call=self._codec.compose(call["module"], call["function"], call["params"]),
                module=call["module"],
                function=call["function"],
                params=call["params"],
            )
        )

    def _read(self, wire: bytes) -> WireExtrinsic:
        try:
            opened = self._codec.open(wire)
            call = _call(opened)
        except (BadEncoding, BadArgument) as error:
            raise RpcError(1002, "Verification Error", f"Runtime error: {error}") from error
        # The block it would be in decides which one its era began with.
        birth = min(opened.birth(self._chain.best() + 1), self._chain.best())
        birth_hash = str(self._chain.hash_of(birth))
        return WireExtrinsic(
            call,
            opened.signer,
            opened.nonce,
            opened.signature,
            wire,
            self._codec,
            opened,
            birth_hash,
        )

    def _include(self, extrinsic: WireExtrinsic) -> None:
        """Raises: Refused."""
        included = self._chain.ledger.include(extrinsic)
        self.included[included.hash] = included
        if (extrinsic.call.module, extrinsic.call.function) == CARRIER:
            self._unseal(extrinsic)
        wire = self._waiting.get(extrinsic.signer, {}).pop(extrinsic.nonce + 1, None)
        if wire is not None:
            with suppress(Refused):  # its time may be over since; nobody waits for an answer
                self._include(self._read(wire))

    def _unseal(self, carrier: WireExtrinsic) -> None:
        wire = self._shield.open(carrier.call.params["ciphertext"])
        if wire is not None:
            with suppress(RpcError):  # it gets into no block, and nobody waits for an answer
                self.submit(wire)

    def _wait(self, extrinsic: WireExtrinsic) -> bool:
        waiting = self._waiting.setdefault(extrinsic.signer, {})
        if len(waiting) >= MOST_WAITING or extrinsic.nonce in waiting:
            return False
        waiting[extrinsic.nonce] = extrinsic.wire
        return True


def _call(opened: Opened) -> Call:
    """The call as the embedded runtime has it; one that it does not have, it refuses itself."""
    params = _plain(opened.params)
    if (opened.module, opened.function) not in CALLS:
        return Call(opened.module, opened.function, params)
    return compose(opened.module, opened.function, params)


def _plain(value: Any) -> Any:
    """Decoded arguments as JSON values; an empty Raw field is decoded as an empty list."""
    if isinstance(value, Mapping):
        return {str(name): "0x" if name == "Raw0" else _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
