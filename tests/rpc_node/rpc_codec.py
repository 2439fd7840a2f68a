"""One runtime's SCALE: storage keys and values, events, runtime API calls, signed extrinsics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import bittensor_core
from bittensor.sp_core import CRYPTO_ED25519, CRYPTO_SR25519
from rpc_metadata import SPEC_NAME, RuntimeMetadata
from rpc_types import TypeRegistry

SS58_FORMAT = 42
_PREFIX_BYTES = 32  # the hashes of the pallet's and the item's name, with which every key begins
_SIGNED_V4, _ADDRESS_ID = 0x84, 0x00
_SIGNATURE_BYTES = 64
_SCHEMES = {0: CRYPTO_ED25519, 1: CRYPTO_SR25519}
_HASHED_ABOVE_BYTES = 256
# The attributes of events that the metadata gives no names for, in their order.
_UNNAMED_EVENTS: Mapping[tuple[str, str], tuple[str | None, ...]] = {
    ("SubtensorModule", "WeightsSet"): ("netuid", "uid"),
    ("SubtensorModule", "NeuronRegistered"): ("netuid", "uid", "hotkey"),
    ("SubtensorModule", "TimelockedWeightsCommitted"): ("who", "netuid", "hash", "round"),
    # alpha is bought at a price of one, for no fee
    ("SubtensorModule", "StakeAdded"): ("coldkey", "hotkey", "tao", "tao", "netuid", None),
}
_DISPATCH_INFO = {
    "weight": {"ref_time": 0, "proof_size": 0},
    "class": "Normal",
    "pays_fee": "No",
}


class BadEncoding(ValueError):
    """Bytes that are not what the runtime's types say."""


@dataclass(frozen=True)
class StorageItem:
    pallet: str
    name: str
    value_type: str
    keys: int  # how many parameters its key has


@dataclass(frozen=True)
class Opened:
    """A signed extrinsic taken apart; `call` is SCALE, `params` its arguments as plain values."""

    signer: str
    signature: bytes
    crypto_type: int
    period: int | None  # of a mortal one, in blocks
    phase: int
    nonce: int
    tip: int
    checks_metadata: bool
    call: bytes
    module: str
    function: str
    params: Mapping[str, Any]

    def birth(self, block: int) -> int:
        """The block whose hash is signed, if the extrinsic is carried out in `block`."""
        if self.period is None:
            return 0
        return max(0, (block - self.phase) // self.period * self.period + self.phase)


class Codec:
    """What the node knows of its runtime. All methods raise BadEncoding for what does not fit."""

    def __init__(self, metadata: RuntimeMetadata) -> None:
        self.metadata = metadata
        self._runtime = bittensor_core.Runtime(
            metadata.v15, metadata.spec_version, metadata.transaction_version, SS58_FORMAT
        )
        self._types = TypeRegistry(json.loads(self._runtime.registry_json())["types"])
        self._apis: Mapping[str, Any] = self._runtime.runtime_api_map()
        self._items: dict[bytes, StorageItem] = {}
        self._errors: dict[tuple[str, str], tuple[int, int]] = {}
        for pallet in self._runtime.metadata_ir()["pallets"]:
            for error in pallet["errors"]:
                index = (int(pallet["index"]), int(error["index"]))
                self._errors[str(pallet["name"]), str(error["name"])] = index
            for item in pallet["storage"]:
                self._note_item(str(pallet["name"]), str(item["name"]))

    def _note_item(self, pallet: str, name: str) -> None:
        entry = self._runtime.storage_entry(pallet, name)
        prefix = bytes(self._runtime.storage_key(pallet, name, []))
        self._items[prefix] = StorageItem(pallet, name, entry.value_type, len(entry.param_types))

    # Storage

    def item(self, key: bytes) -> StorageItem | None:
        """The item that a key, or the beginning of one, is of."""
        return self._items.get(key[:_PREFIX_BYTES])

    def key(self, item: StorageItem, params: Sequence[Any]) -> bytes:
        return bytes(self._runtime.storage_key(item.pallet, item.name, list(params)))

    def keys(self, item: StorageItem, params: Sequence[Sequence[Any]]) -> list[bytes]:
        every = [list(one) for one in params]
        return [
            bytes(key) for key in self._runtime.storage_key_batch(item.pallet, item.name, every)
        ]

    def params(self, item: StorageItem, key: bytes) -> list[Any]:
        try:
            return list(self._runtime.decode_storage_key_params(item.pallet, item.name, key, 0))
        except (ValueError, IndexError) as error:
            raise BadEncoding(f"no key of {item.pallet}.{item.name}: {error}") from error

    def value(self, item: StorageItem, value: Any) -> bytes:
        return self._encode(item.value_type, value)

    # Runtime API calls

    def arguments(self, api: str, method: str, data: bytes) -> list[Any]:
        found: list[Any] = []
        for _, kind in self._method(api, method)["inputs"]:
            value = self._runtime.decode(kind, data, False)
            found.append(value)
            data = data[len(self._encode(kind, value)) :]
        return found

    def answer(self, api: str, method: str, value: Any) -> bytes:
        """`value` as the method's result, what it lacks as zero."""
        kind = self._method(api, method)["output"]
        return self._encode(kind, self._types.fit(kind, value))

    def api_method(self, name: str) -> tuple[str, str] | None:
        """The API and method that `state_call` names in one word."""
        api, _, method = name.partition("_")
        return (api, method) if method in self._apis.get(api, {}) else None

    def _method(self, api: str, method: str) -> Mapping[str, Any]:
        return dict(self._apis[api][method])

    # Events

    def events(self, records: Sequence[tuple[int, str, str, Any]]) -> bytes:
        """`System.Events`; a record: its extrinsic's position, pallet, name and attributes."""
        entry = self._runtime.storage_entry("System", "Events")
        listed = [
            {
                "phase": {"ApplyExtrinsic": position},
                "event": {pallet: {name: _attributes(pallet, name, attributes)}},
                "topics": [],
            }
            for position, pallet, name, attributes in records
        ]
        return self._encode(entry.value_type, listed)

    def verdict(self, failure: tuple[str, str] | None) -> tuple[str, str, Any]:
        """System's event for an extrinsic: a success, or a module's error by its index."""
        if failure is None:
            return "System", "ExtrinsicSuccess", {"dispatch_info": _DISPATCH_INFO}
        pallet, error = self._errors[failure]
        module = {"index": pallet, "error": "0x" + bytes([error, 0, 0, 0]).hex()}
        cause = {"dispatch_error": {"Module": module}, "dispatch_info": _DISPATCH_INFO}
        return "System", "ExtrinsicFailed", cause

    # Extrinsics

    def open(self, data: bytes) -> Opened:
        """Take a signed extrinsic apart; its signature is not checked here."""
        body = data[_length_bytes(data) :]
        try:
            plain = self._runtime.decode_extrinsic(data, True)
        except ValueError as error:
            raise BadEncoding(f"not an extrinsic of this runtime: {error}") from error
        if len(body) < 99 or body[0] != _SIGNED_V4 or body[1] != _ADDRESS_ID:
            raise BadEncoding("not a signed extrinsic of version 4 by an account id")
        scheme = _SCHEMES.get(body[34])
        if scheme is None:
            raise BadEncoding(f"signatures of kind {body[34]} are not known here")
        era = plain["era"]
        period, phase = (None, 0) if isinstance(era, str) else (int(era[0]), int(era[1]))
        opened = Opened(
            signer=str(plain["address"]),
            signature=body[35 : 35 + _SIGNATURE_BYTES],
            crypto_type=scheme,
            period=period,
            phase=phase,
            nonce=int(plain["nonce"]),
            tip=int(plain["tip"]),
            checks_metadata=plain["mode"] == {"mode": "Enabled"},
            call=b"",
            module=str(plain["call"]["call_module"]),
            function=str(plain["call"]["call_function"]),
            params={one["name"]: one["value"] for one in plain["call"]["call_args"]},
        )
        rest = body[35 + _SIGNATURE_BYTES :]
        extra, _ = self._signed_parts(opened, bytes(32), bytes(32))
        if not rest.startswith(extra):
            raise BadEncoding("the signed extensions are not those of this runtime")
        return Opened(**{**vars(opened), "call": rest[len(extra) :]})

    def payload(self, opened: Opened, genesis_hash: bytes, birth_hash: bytes) -> bytes:
        """The bytes that must be signed: call, extensions, and what this runtime and chain are."""
        extra, additional = self._signed_parts(opened, genesis_hash, birth_hash)
        payload = opened.call + extra + additional
        if len(payload) > _HASHED_ABOVE_BYTES:
            return blake2b(payload, digest_size=32).digest()
        return payload

    def signed(self, opened: Opened) -> bytes:
        """The extrinsic's bytes."""
        data, _ = self._runtime.encode_signed_extrinsic(
            opened.call,
            public_key=bytes(bittensor_core.ss58_decode(opened.signer)),
            signature=opened.signature,
            signature_version=1,
            era=_era(opened),
            nonce=opened.nonce,
            tip=opened.tip,
            tip_asset_id=None,
            metadata_hash_enabled=opened.checks_metadata,
        )
        return bytes(data)

    def compose(self, module: str, function: str, params: Mapping[str, Any]) -> bytes:
        return bytes(self._runtime.compose_call(module, function, dict(params)))

    def _signed_parts(
        self, opened: Opened, genesis_hash: bytes, birth_hash: bytes
    ) -> tuple[bytes, bytes]:
        extra, additional = self._runtime.signature_payload_parts(
            era=_era(opened),
            nonce=opened.nonce,
            tip=opened.tip,
            tip_asset_id=None,
            genesis_hash=genesis_hash,
            era_block_hash=birth_hash,
            metadata_hash=self._metadata_hash() if opened.checks_metadata else None,
        )
        return bytes(extra), bytes(additional)

    def _metadata_hash(self) -> bytes:
        metadata = self.metadata
        return bytes(bittensor_core.metadata_digest(metadata.v15, metadata.spec_version, SPEC_NAME))

    def _encode(self, kind: str, value: Any) -> bytes:
        if value is None:
            return b"\x00"  # an Option without a value
        try:
            return bytes(self._runtime.encode(kind, value))
        except (ValueError, TypeError) as error:
            raise BadEncoding(f"{value!r} does not fit {kind}: {error}") from error


def compact(value: int) -> bytes:
    """A SCALE compact integer below 2^30."""
    for mode, limit, size in ((0, 1 << 6, 1), (1, 1 << 14, 2), (2, 1 << 30, 4)):
        if value < limit:
            return (value << 2 | mode).to_bytes(size, "little")
    raise BadEncoding(f"{value} is too long for what this node serves")


def _length_bytes(data: bytes) -> int:
    if not data or data[0] & 3 == 3:
        raise BadEncoding("not an extrinsic: it does not begin with its length")
    return (1, 2, 4)[data[0] & 3]


def _era(opened: Opened) -> str | dict[str, int]:
    return "00" if opened.period is None else {"period": opened.period, "phase": opened.phase}


def _attributes(pallet: str, name: str, attributes: Any) -> Any:
    order = _UNNAMED_EVENTS.get((pallet, name))
    if order is None:
        return attributes
    return [0 if field is None else attributes[field] for field in order]
