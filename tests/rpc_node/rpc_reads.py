"""What the chain's state is at a block, in SCALE: storage, events and runtime API calls."""

from __future__ import annotations

from typing import Any

from rpc_apis import RUNTIME_APIS
from rpc_chain import Chain
from rpc_codec import BadEncoding, Codec, compact
from rpc_faults import RpcError, invalid_params
from rpc_metadata import NEWER_ITEM
from rpc_shield import NEXT_KEY, Shield

from boltzmann.chain.embedded import views
from boltzmann.chain.embedded.storage import Included

MOST_KEYS = 1000  # of one page, as a node limits it
_EVENTS = ("System", "Events")


class Reads:
    def __init__(self, chain: Chain, codec: Codec, shield: Shield) -> None:
        self._chain = chain
        self._codec = codec
        self._shield = shield

    def storage(self, key: bytes, block_hash: str | None) -> bytes | None:
        """A key's value, None where there is none. Raises: RpcError."""
        item = self._codec.item(key)
        if item is None:
            return None
        if (item.pallet, item.name) == _EVENTS:
            return self._events(block_hash)
        if (item.pallet, item.name) == NEXT_KEY:
            return self._codec.value(item, self._shield.public_key)
        if item.name == NEWER_ITEM.decode():
            return None  # its stand-in's type is not the embedded chain's
        params = self._codec.params(item, key)
        if len(params) != item.keys:
            return None
        value = self._chain.read(
            block_hash,
            lambda state, clock: views.item(state, clock, item.pallet, item.name, params),
        )
        return None if value is None else self._codec.value(item, value)

    def keys(
        self, prefix: bytes, count: int, after: bytes | None, block_hash: str | None
    ) -> list[bytes]:
        """Up to `count` keys with this prefix, in order, from the first one after `after` on."""
        if count > MOST_KEYS:
            raise RpcError(4002, f"count exceeds maximum value. value: {count}, max: {MOST_KEYS}")
        item = self._codec.item(prefix)
        if item is None or item.keys == 0:
            return []
        entries = self._chain.read(
            block_hash, lambda state, clock: state.entries(item.pallet, item.name)
        )
        every = sorted(self._codec.keys(item, [key for key, _ in entries]))
        found = [key for key in every if key.startswith(prefix)]
        return [key for key in found if after is None or key > after][:count]

    def call(self, name: str, data: bytes, block_hash: str | None) -> bytes:
        """A runtime API's answer. Raises: RpcError."""
        if name == "Metadata_metadata_at_version":
            return self._metadata(int.from_bytes(data, "little"))
        found = self._codec.api_method(name)
        answer = None if found is None else RUNTIME_APIS.get(found)
        if found is None or answer is None:
            raise RpcError(
                4003, f"Client error: Execution failed: Exported method {name} is not found"
            )
        try:
            arguments = self._codec.arguments(*found, data)
        except (BadEncoding, ValueError) as error:
            raise invalid_params(f"{name}: {error}") from error
        value = self._chain.read(block_hash, lambda state, clock: answer(state, arguments))
        return self._codec.answer(*found, value)

    def extrinsics(self, block_hash: str) -> list[Included]:
        if self._chain.is_forked(block_hash):
            return []
        return self._chain.ledger.extrinsics(self._chain.number_of(block_hash))

    def _events(self, block_hash: str | None) -> bytes:
        at = self._chain.head_hash() if block_hash is None else block_hash
        records = [(one.position, *event) for one in self.extrinsics(at) for event in self._of(one)]
        return self._codec.events(records)

    def _of(self, included: Included) -> list[tuple[str, str, Any]]:
        did = [
            (event["module_id"], event["event_id"], event["attributes"])
            for event in included.events
        ]
        return [*did, self._codec.verdict(included.failure)]

    def _metadata(self, wanted: int) -> bytes:
        metadata = self._codec.metadata
        blob = {14: metadata.v14, 15: metadata.v15}.get(wanted)
        return b"\x00" if blob is None else b"\x01" + compact(len(blob)) + blob
