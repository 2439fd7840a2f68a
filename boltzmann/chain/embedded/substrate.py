"""`EmbeddedSubstrate`: the bittensor SDK's chain-access contract, answered from the chain's file.

Source of the contract: `bittensor._substrate.Substrate` of bittensor 11.3. Reads return what the
SDK decodes from a real node; a refused or failed write is a result, as `RpcSubstrate` gives it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import bittensor as bt

from boltzmann.chain.embedded import extrinsic as extrinsics
from boltzmann.chain.embedded import receipts, runtime, views
from boltzmann.chain.embedded.arguments import BadArgument
from boltzmann.chain.embedded.clock import Clock
from boltzmann.chain.embedded.connection import Connection, pause
from boltzmann.chain.embedded.extrinsic import Extrinsic
from boltzmann.chain.embedded.ledger import Ledger, Refused
from boltzmann.chain.embedded.runtime import Call
from boltzmann.chain.embedded.storage import Included

SPEC_VERSION = 1  # of the embedded runtime, which is not upgraded while it runs


class EmbeddedSubstrate:
    """One client's access to the embedded chain at `path`; use it from one event loop."""

    def __init__(self, path: Path) -> None:
        self.token_symbols: dict[int, str] = {}
        self._chain = Connection(path)
        self._signing = asyncio.Lock()

    async def connect(self) -> None:
        """Raises: ConfigError when there is no embedded chain at the path."""
        await self._chain.open()

    async def close(self) -> None:
        await self._chain.close()

    # Blocks

    async def block_hash(self, block: int | None = None) -> str:
        return await self._chain.run(lambda ledger: ledger.hash_of(block))

    async def block_number(self) -> int:
        return await self._chain.run(lambda ledger: ledger.head())

    async def finalized_block_number(self) -> int:
        """The head: with one writer at a time there are no forks to wait out."""
        return await self.block_number()

    async def block_time(self) -> float:
        clock = await self._chain.clock()
        return clock.block_time_s

    async def spec_version(self) -> int:
        return SPEC_VERSION

    async def get_block(
        self, block_number: int | None = None, block_hash: str | None = None
    ) -> dict[str, Any] | None:
        def look(ledger: Ledger) -> dict[str, Any]:
            known = block_hash if block_hash is not None else ledger.hash_of(block_number)
            number = ledger.number_of(known)
            included = ledger.extrinsics(number)
            return {
                "header": _header(number, ledger.clock()),
                "extrinsics": [receipts.decoded(one) for one in included],
            }

        return await self._chain.run(look)

    async def blocks(self, *, finalized: bool = False) -> AsyncIterator[dict[str, Any]]:
        """Every header from the present one on, in order, without gaps; `finalized` is the same."""
        last: int | None = None
        while True:
            head, clock = await self._chain.head()
            for number in range(head if last is None else last + 1, head + 1):
                yield {"header": _header(number, clock)}
            last = head
            await pause(head + 1, clock)

    async def events(self, block_hash: str | None = None) -> list[dict[str, Any]]:
        def look(ledger: Ledger) -> list[dict[str, Any]]:
            included = ledger.extrinsics(ledger.at(block_hash).block)
            return [event for one in included for event in receipts.events(one)]

        return await self._chain.run(look)

    # Storage

    async def query(
        self,
        module: str,
        storage_function: str,
        params: list[Any] | None = None,
        block_hash: str | None = None,
    ) -> Any:
        (value,) = await self.query_batch(module, storage_function, [params or []], block_hash)
        return value

    async def query_batch(
        self,
        module: str,
        storage_function: str,
        param_sets: list[list[Any]],
        block_hash: str | None = None,
    ) -> list[Any]:
        _require_item(module, storage_function)
        return await self._chain.read(
            block_hash,
            lambda state, clock: [
                views.item(state, clock, module, storage_function, key) for key in param_sets
            ],
        )

    async def query_map(
        self,
        module: str,
        storage_function: str,
        params: list[Any] | None = None,
        block_hash: str | None = None,
    ) -> list[tuple[Any, Any]]:
        _require_item(module, storage_function)
        prefix = params or []
        entries = await self._chain.read(
            block_hash, lambda state, clock: state.entries(module, storage_function, *prefix)
        )
        return [(_rest(key[len(prefix) :]), value) for key, value in entries]

    async def map_has_entries(
        self,
        module: str,
        storage_function: str,
        params: list[Any],
        block_hash: str | None = None,
    ) -> bool:
        return bool(await self.query_map(module, storage_function, params, block_hash))

    async def runtime_call(
        self, api: str, method: str, params: list[Any], block_hash: str | None = None
    ) -> Any:
        answer = views.RUNTIME_APIS.get((api, method))
        if answer is None:
            _unsupported(f"runtime API {api}.{method}")
        return await self._chain.read(block_hash, lambda state, clock: answer(state, params))

    async def constant(self, module: str, name: str) -> Any:
        clock = await self._chain.clock()
        try:
            return views.constant(module, name, clock)
        except KeyError as error:
            raise bt.ChainError(f"the embedded chain has no constant {module}.{name}") from error

    def balance(self, rao: int, netuid: int = 0) -> Any:
        """A `Balance` with the token symbol this connection knows for the subnet."""
        return bt.Balance(int(rao), netuid, self.token_symbols.get(netuid) if netuid else None)

    # Calls

    async def compose(self, call: Any) -> Call:
        """A generated (module, function, params) call, checked and encoded.

        Raises: ChainError named CallFiltered for a call the embedded runtime does not have, and
        one that says what is wrong with an argument.
        """
        module, function, params = call
        return _composed(module, function, params)

    async def estimate_fee(self, call: Any, keypair: Any) -> Any:
        """Zero: the embedded chain charges no fees."""
        return self.balance(0)

    async def estimate_weight(self, call: Any, keypair: Any) -> dict[str, int]:
        return {"ref_time": 0, "proof_size": 0}

    async def account_next_index(self, address: str) -> int:
        return await self._chain.run(lambda ledger: ledger.next_nonce(address))

    async def sign_extrinsic(
        self, call: Any, keypair: Any, *, nonce: int, period: int
    ) -> tuple[bytes, str]:
        """The encoded extrinsic and its hash. `period` does not matter: nothing waits in a pool."""
        signed = await self._sign(call, keypair, nonce)
        return signed.encode(), signed.hash()

    async def submit(
        self,
        call: Any,
        keypair: Any,
        *,
        nonce: int | None = None,
        period: int | None = None,
        wait_for_inclusion: bool = True,
        wait_for_finalization: bool = True,
    ) -> Any:
        """Sign and submit a composed call; returns once its block is there, if it is to wait."""
        async with self._signing:  # two calls of one account must not take the same nonce
            if nonce is None:
                nonce = await self.account_next_index(keypair.ss58_address)
            signed = await self._sign(call, keypair, nonce)
            included = await self._include(signed)
        return await self._outcome(included, wait_for_inclusion or wait_for_finalization)

    async def submit_signed(
        self,
        extrinsic: Any,
        keypair: Any,
        *,
        wait_for_inclusion: bool = True,
        wait_for_finalization: bool = True,
    ) -> Any:
        """Submit the bytes of `sign_extrinsic`; the signature in them is what counts."""
        try:
            signed = extrinsics.decode(bytes(extrinsic))
        except ValueError as error:
            return receipts.refused(Refused("BadRequest", str(error)))
        included = await self._include(signed)
        return await self._outcome(included, wait_for_inclusion or wait_for_finalization)

    async def find_extrinsic(self, extrinsic_hash: str, block_hash: str) -> Any:
        def look(ledger: Ledger) -> list[Included]:
            return ledger.extrinsics(ledger.number_of(block_hash))

        found = [one for one in await self._chain.run(look) if one.hash == extrinsic_hash]
        return receipts.result(found[0], block_hash) if found else None

    async def _sign(self, call: Any, keypair: Any, nonce: int) -> Extrinsic:
        if not isinstance(call, Call):
            raise bt.ChainError(f"{call!r} is not composed; pass it through compose() first")
        clock = await self._chain.clock()
        message = extrinsics.payload(call, keypair.ss58_address, nonce, clock.hash(0))
        signature = keypair.sign(message)
        if inspect.isawaitable(signature):
            signature = await signature
        return Extrinsic(call, keypair.ss58_address, nonce, bytes(signature))

    async def _include(self, signed: Extrinsic) -> Included | Refused:
        try:
            return await self._chain.run(lambda ledger: ledger.include(signed))
        except Refused as refusal:
            return refusal

    async def _outcome(self, included: Included | Refused, wait: bool) -> Any:
        if isinstance(included, Refused):
            return receipts.refused(included)
        if not wait:
            return bt.ExtrinsicResult(success=True, message="Submitted (not waiting).")
        clock = await self._chain.reach(included.block)
        return receipts.result(included, clock.hash(included.block))

    # What an embedded chain has no use for

    async def decode_scale(self, type_string: str, data: Any) -> Any:
        _unsupported("SCALE types to decode by")

    async def mev_next_key(self) -> bytes | None:
        _unsupported("MEV shield", "; submit the call in the clear, with Client.submit_call")

    async def prepare(self, call: Any, *, address: str, **options: Any) -> Any:
        _unsupported("extrinsics to be signed elsewhere")

    async def submit_signature(self, unsigned: Any, signature: Any, **options: Any) -> Any:
        _unsupported("extrinsics to be signed elsewhere")

    def multisig_account(self, signatories: list[str], threshold: int) -> Any:
        _unsupported("multisig accounts")

    async def submit_multisig(
        self, call: Any, keypair: Any, multisig_account: Any, **options: Any
    ) -> Any:
        _unsupported("multisig accounts")


def _composed(module: str, function: str, params: Any) -> Call:
    try:
        return runtime.compose(module, function, params)
    except KeyError as error:
        known = ", ".join(".".join(call) for call in runtime.CALLS)
        raise bt.ChainError(
            f"the embedded chain has no call {module}.{function}; it has {known}", "CallFiltered"
        ) from error
    except BadArgument as error:
        raise bt.ChainError(f"{module}.{function} cannot be encoded: {error}") from error


def _require_item(module: str, item: str) -> None:
    """An item that the runtime's metadata does not have is an error, not an empty answer."""
    if not hasattr(getattr(bt.storage, module, None), item):
        raise bt.ChainError(f"there is no storage item {module}.{item}")


def _header(number: int, clock: Clock) -> dict[str, Any]:
    return {
        "number": number,
        "hash": clock.hash(number),
        "parentHash": clock.hash(number - 1),
    }


def _rest(key: Sequence[Any]) -> Any:
    return key[0] if len(key) == 1 else tuple(key)


def _unsupported(what: str, mend: str = "") -> NoReturn:
    raise bt.ChainError(f"the embedded chain has no {what}{mend}")
