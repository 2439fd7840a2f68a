"""The chain port against the bittensor SDK's client, for real and embedded networks alike."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import bittensor as bt
from bittensor.intents import normalize
from bittensor.metagraph import fetch
from bittensor.result import BittensorError, ChainError, ErrorCode, RpcConnectionError
from websockets.exceptions import WebSocketException

from boltzmann.chain.heads import consecutive_heads
from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.protocol.chainview import Head, Neuron, SubnetRules
from boltzmann.protocol.commitment import MAX_FIELD_BYTES, MAX_FIELDS

T = TypeVar("T")

READ_SECONDS = 30.0
WRITE_BLOCKS = 10  # a call that is not final after this many blocks counts as unanswered
_SILENT_BLOCKS = 5
_U16_MAX = 65535
_PALLET = "SubtensorModule"

# What the SDK's preflight says by code only, and what the pool says in other words.
_NAMES = {
    ErrorCode.NOT_REGISTERED: "HotKeyNotRegisteredInSubNet",
    ErrorCode.RATE_LIMITED: "SettingWeightsTooFast",
}


class SubtensorChain:
    """Implements `boltzmann.ports.Chain` for one netuid; `wallet` signs the writes."""

    def __init__(self, client: bt.Client, netuid: int, wallet: Any = None) -> None:
        self._client = client
        self._substrate = client._substrate
        self._netuid = netuid
        self._wallet = wallet
        self._block_time = 12.0

    async def open(self) -> None:
        """Connect. Raises: ChainUnavailable."""
        # Not the client's own connect: that reads and writes a cache of token symbols in the
        # user's home, under a network's name that an embedded chain would share with others.
        await self._ask(self._substrate.connect())
        self._block_time = float(await self._ask(self._substrate.block_time()))

    async def exists(self) -> bool:
        """Whether the chain has this subnet."""
        return bool(await self._query("NetworksAdded"))

    async def head(self) -> Head:
        number = int(await self._ask(self._client.finalized_block()))
        return Head(number, await self.block_hash(number))

    def heads(self) -> AsyncIterator[Head]:
        silence = max(20.0, _SILENT_BLOCKS * self._block_time)
        return consecutive_heads(self._heights, self.block_hash, silence_s=silence)

    async def block_hash(self, number: int) -> bytes:
        text = await self._ask(self._substrate.block_hash(number))
        if not text:
            raise ChainUnavailable(f"the chain does not know block {number} yet")
        return bytes.fromhex(str(text).removeprefix("0x"))

    async def block_time(self) -> float:
        return self._block_time

    async def neurons(self, block: int) -> tuple[Neuron, ...]:
        snapshot = await self._ask(self._client.at(block))
        graph = await self._ask(fetch(snapshot, self._netuid, commitments=False))
        if graph is None:
            return ()
        return tuple(
            Neuron(
                uid=neuron.uid,
                hotkey=neuron.hotkey,
                stake=neuron.total_stake.rao / 1e9,
                permit=neuron.validator_permit,
                registered_at=neuron.block_at_registration,
                last_update=neuron.last_update,
                incentive=neuron.incentive,
                dividends=neuron.dividends,
                emission=neuron.emission.rao / 1e9,
            )
            for neuron in graph.neurons
        )

    async def rules(self, block: int) -> SubnetRules:
        names = (
            "SubnetOwnerHotkey",
            "Tempo",
            "WeightsSetRateLimit",
            "WeightsVersionKey",
            "MinAllowedWeights",
            "MaxWeightsLimit",
            "CommitRevealWeightsEnabled",
        )
        owner, tempo, rate, version, least, most, reveal = await asyncio.gather(
            *(self._query(name, block=block) for name in names)
        )
        return SubnetRules(
            owner_hotkey=str(owner or ""),
            tempo=int(tempo or 0),
            weights_rate_limit=int(rate or 0),
            weights_version=int(version or 0),
            min_allowed_weights=int(least or 0),
            max_weight=(int(most) if most is not None else _U16_MAX) / _U16_MAX,
            commit_reveal=bool(reveal),
        )

    async def commitments(self, block: int) -> Mapping[str, tuple[bytes, ...]]:
        rows = await self._ask(
            self._client.query_map(("Commitments", "CommitmentOf"), [self._netuid], block=block)
        )
        return {str(hotkey): _raw_fields(record) for hotkey, record in rows}

    async def weights(self, block: int) -> Mapping[int, Mapping[int, int]]:
        rows = await self._ask(
            self._client.query_map((_PALLET, "Weights"), [self._netuid], block=block)
        )
        return {int(uid): {int(to): int(value) for to, value in row} for uid, row in rows if row}

    async def commit(self, fields: Sequence[bytes]) -> int:
        if not 1 <= len(fields) <= MAX_FIELDS:
            raise ValueError(f"a commitment has 1 to {MAX_FIELDS} fields, not {len(fields)}")
        for field in fields:
            if not 1 <= len(field) <= MAX_FIELD_BYTES:
                raise ValueError(f"a field has 1 to {MAX_FIELD_BYTES} bytes, not {len(field)}")
        raw = [{f"Raw{len(field)}": f"0x{field.hex()}"} for field in fields]
        return await self._submit(
            bt.calls.Commitments.set_commitment(netuid=self._netuid, info={"fields": raw})
        )

    async def set_weights(self, weights: Mapping[int, float], version_key: int) -> int:
        intent = bt.SetWeights(
            netuid=self._netuid,
            uids=list(weights),
            weights=list(weights.values()),
            version_key=version_key,
        )
        try:
            result = await self._ask(
                self._client.execute(intent, self._wallet), WRITE_BLOCKS * self._block_time
            )
        except ValueError as error:
            # The preflight reads a storage item that runtimes before spec 440 lack.
            if "SubnetEpochConsensus" not in str(error):
                raise
            return await self._set_weights_raw(weights, version_key)
        return self._included(result)

    async def close(self) -> None:
        await self._client.close()

    async def _set_weights_raw(self, weights: Mapping[int, float], version_key: int) -> int:
        uids, values = normalize(list(weights), list(weights.values()))
        return await self._submit(
            bt.calls.SubtensorModule.set_weights(
                netuid=self._netuid, dests=uids, weights=values, version_key=version_key
            )
        )

    async def _submit(self, call: Any) -> int:
        result = await self._ask(
            self._client.submit_call(call, self._wallet, signer="hotkey"),
            WRITE_BLOCKS * self._block_time,
        )
        return self._included(result)

    def _included(self, result: Any) -> int:
        if not result.success:
            error = result.error
            raise ChainRefused(
                (error and (error.name or _NAMES.get(error.code))) or "Refused", result.message
            )
        return int(str(result.extrinsic_id).partition("-")[0])

    async def _query(self, item: str, *, block: int | None = None) -> Any:
        return await self._ask(self._client.query((_PALLET, item), [self._netuid], block=block))

    async def _heights(self) -> AsyncIterator[int]:
        stream = self._client.blocks(finalized=True)
        async with contextlib.aclosing(stream):
            with _translated():
                async for header in stream:
                    yield header.number

    async def _ask(self, work: Awaitable[T], seconds: float = 0.0) -> T:
        """Await the SDK within a deadline, its errors translated once."""
        with _translated():
            return await asyncio.wait_for(work, max(READ_SECONDS, seconds))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RpcConnectionError, OSError, asyncio.TimeoutError, WebSocketException) as error:
        detail = str(error) or type(error).__name__
        raise ChainUnavailable(f"the chain does not answer: {detail}") from error
    except ChainError as error:
        name = error.name or _NAMES.get(error.code) or error.code.value
        raise ChainRefused(name, error.message) from error
    except BittensorError as error:
        raise ChainRefused(type(error).__name__, str(error)) from error


def _raw_fields(record: Any) -> tuple[bytes, ...]:
    """The bytes of a commitment's Raw fields; hashes and timelocked fields are skipped."""
    fields = ((record or {}).get("info") or {}).get("fields") or []
    raw = []
    for field in fields:
        for variant, value in field.items() if isinstance(field, dict) else ():
            if variant.startswith("Raw") and isinstance(value, str):
                raw.append(bytes.fromhex(value.removeprefix("0x")))
    return tuple(raw)
