"""What can be made to go wrong on the node, and errors as JSON-RPC has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Faults:
    """Set its fields while the node runs; each holds until it is set back.

    Calls that happen once (drop the connections, begin or end a fork) are methods of the node.
    """

    silent: bool = False  # connections are taken and kept, and nothing is said on any of them
    silenced: set[int] = field(default_factory=set)  # connections on which nothing more is said
    mute: bool = False  # requests are answered, but subscriptions say nothing
    http_status: int | None = None  # handshakes are answered with this, such as 429
    heads_twice: bool = False  # each head is announced twice
    heads_every: int = 1  # only heads whose number divides by this are announced
    pool_refusal: str | None = None  # "Custom error: 6": what the pool says to every extrinsic


class RpcError(Exception):
    """An answer that is an error, in JSON-RPC's shape."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message if data is None else f"{message}: {data}")
        self.body: dict[str, Any] = {"code": code, "message": message}
        if data is not None:
            self.body["data"] = data


def invalid_transaction(why: str) -> RpcError:
    return RpcError(1010, "Invalid Transaction", why)


def invalid_params(why: str) -> RpcError:
    return RpcError(-32602, "Invalid params", why)


def unknown_block(block_hash: str) -> RpcError:
    return RpcError(
        4003, f"Client error: UnknownBlock: Header was not found in the database: {block_hash}"
    )
