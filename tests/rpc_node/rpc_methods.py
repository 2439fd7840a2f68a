"""The node's JSON-RPC methods that are one question and one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rpc_chain import Chain
from rpc_codec import BadEncoding, Codec
from rpc_faults import RpcError, invalid_params
from rpc_metadata import SPEC_NAME
from rpc_pool import Pool
from rpc_reads import Reads

Method = Callable[[Sequence[Any]], Any]


class Methods:
    """Answers requests by name; what is pushed to subscribers is the server's."""

    def __init__(self, chain: Chain, codec: Codec, pool: Pool, reads: Reads) -> None:
        self._chain = chain
        self._codec = codec
        self._pool = pool
        self._reads = reads
        self._table: Mapping[str, Method] = {
            "chain_getHead": lambda given: chain.head_hash(),
            "chain_getFinalizedHead": lambda given: chain.finalized_hash(),
            "chain_getBlockHash": self._block_hash,
            "chain_getHeader": self._header,
            "chain_getBlock": self._block,
            "state_getStorage": self._storage,
            "state_getStorageAt": self._storage,
            "state_queryStorageAt": self._storage_of_many,
            "state_getKeysPaged": self._keys,
            "state_call": self._call,
            "state_getMetadata": lambda given: _hex(codec.metadata.v14),
            "state_getRuntimeVersion": self._runtime_version,
            "author_submitExtrinsic": self._submit,
            "account_nextIndex": lambda given: pool.next_nonce(given[0]),
            "system_accountNextIndex": lambda given: pool.next_nonce(given[0]),
            "system_chain": lambda given: "Boltzmann test chain",
            "system_name": lambda given: SPEC_NAME,
            "system_version": lambda given: "0.0.0",
            "system_health": lambda given: {
                "peers": 0,
                "isSyncing": False,
                "shouldHavePeers": False,
            },
            "system_properties": lambda given: {
                "ss58Format": 42,
                "tokenDecimals": 9,
                "tokenSymbol": "TAO",
            },
            "rpc_methods": lambda given: {"methods": sorted(self._table)},
        }

    def answer(self, method: str, given: Sequence[Any]) -> Any:
        """Raises: RpcError."""
        answer = self._table.get(method)
        if answer is None:
            raise RpcError(-32601, "Method not found")
        try:
            return answer(given)
        except BadEncoding as error:
            raise invalid_params(str(error)) from error

    def _block_hash(self, given: Sequence[Any]) -> str | None:
        number = _at(given, 0)
        return self._chain.head_hash() if number is None else self._chain.hash_of(int(number))

    def _header(self, given: Sequence[Any]) -> Any:
        block_hash = _at(given, 0) or self._chain.head_hash()
        try:
            return self._chain.header(block_hash)
        except RpcError:
            return None

    def _block(self, given: Sequence[Any]) -> Any:
        block_hash = _at(given, 0) or self._chain.head_hash()
        header = self._header([block_hash])
        if header is None:
            return None
        found = [_hex(self._pool.bytes_of(one)) for one in self._reads.extrinsics(block_hash)]
        return {"block": {"header": header, "extrinsics": found}, "justifications": None}

    def _storage(self, given: Sequence[Any]) -> str | None:
        value = self._reads.storage(_bytes(given[0]), _at(given, 1))
        return None if value is None else _hex(value)

    def _storage_of_many(self, given: Sequence[Any]) -> Any:
        block_hash = _at(given, 1) or self._chain.head_hash()
        changes = [[key, self._storage([key, block_hash])] for key in given[0]]
        return [{"block": block_hash, "changes": changes}]

    def _keys(self, given: Sequence[Any]) -> list[str]:
        start = _at(given, 2)
        after = None if start is None else _bytes(start)
        return list(map(_hex, self._reads.keys(_bytes(given[0]), given[1], after, _at(given, 3))))

    def _call(self, given: Sequence[Any]) -> str:
        return _hex(self._reads.call(given[0], _bytes(given[1]), _at(given, 2)))

    def _runtime_version(self, given: Sequence[Any]) -> Any:
        block_hash = _at(given, 0)
        if block_hash is not None:
            self._chain.number_of(block_hash)
        metadata = self._codec.metadata
        return {
            "specName": SPEC_NAME,
            "implName": SPEC_NAME,
            "specVersion": metadata.spec_version,
            "implVersion": 1,
            "authoringVersion": 1,
            "transactionVersion": metadata.transaction_version,
            "stateVersion": 1,
            "apis": [],
        }

    def _submit(self, given: Sequence[Any]) -> str:
        return self._pool.submit(_bytes(given[0]))


def _at(given: Sequence[Any], position: int) -> Any:
    return given[position] if len(given) > position else None


def _bytes(text: Any) -> bytes:
    try:
        return bytes.fromhex(str(text).removeprefix("0x"))
    except ValueError as error:
        raise invalid_params(f"{text!r} is not hex") from error


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
