"""The chain port, written against the bittensor SDK's client for real and embedded networks alike.

Values come from the generated storage catalogue of bittensor 11.3 (`bittensor.storage`). The SDK's
exceptions become this package's in `sdk_errors`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import bittensor as bt
from bittensor.intents.weights import clip_to_max_weight, normalize
from bittensor.result import ConnectionNotReady

from boltzmann.chain.heads import consecutive_heads
from boltzmann.chain.line import Line
from boltzmann.chain.sdk_errors import WEIGHT_NAMES, Names, translated
from boltzmann.chain.values import commit_space, neuron, raw_fields
from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.protocol.chainview import CommitSpace, Head, Neuron, SubnetRules, epoch_index
from boltzmann.protocol.commitment import MAX_FIELD_BYTES, MAX_FIELDS

T = TypeVar("T")
U16_MAX = 65535


@dataclass(frozen=True)
class Deadlines:
    """How long the chain may take, in seconds and in blocks, before it counts as unavailable.

    Windows are blocks, so what costs a node its windows is measured in blocks where it can be.

    A write has `write_blocks` blocks to become final, and at least `read_s`. The block stream is
    subscribed anew after `silence_blocks` blocks without a head, and at least `silence_s`; before
    that the connection must answer a question within `probe_s`, or else it is made anew.
    """

    read_s: float = 30.0
    probe_s: float = 5.0
    write_blocks: int = 10
    silence_blocks: int = 3
    silence_s: float = 5.0


class SubtensorChain:
    """Implements `boltzmann.ports.Chain` for one netuid of the chain behind `substrate`."""

    def __init__(
        self,
        substrate: bt.Substrate,
        netuid: int,
        signer: Any = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        """`signer`: a wallet, or a hotkey's keypair, for the writes; None for reads only."""
        self._substrate = substrate
        self._line = Line(substrate)
        # The client only labels explorer links with its network, and is never connected by its own
        # `connect`: that one keeps token symbols in a file under the user's home, by this label.
        self._client = bt.Client("local", substrate=substrate)
        self._netuid = netuid
        self._signer = signer
        self._deadlines = deadlines or Deadlines()
        self._block_time = 0.0

    async def open(self) -> None:
        """Connect. Raises: ChainError, and ConfigError of an embedded chain without a file."""
        await self._line.open(self._deadlines.read_s)
        self._block_time = float(await self._ask(self._substrate.block_time()))

    async def close(self) -> None:
        """Raises: ChainUnavailable if the connection does not let go."""
        await self._line.close(self._deadlines.read_s)

    async def netuids(self) -> list[int]:
        """The subnets the chain has now, in order, without the root network: nobody mines there."""
        rows = await self._ask(self._client.query_map(bt.storage.SubtensorModule.NetworksAdded))
        return sorted(int(netuid) for netuid, added in rows if added and int(netuid) != 0)

    # Blocks

    async def head(self) -> Head:
        number = int(await self._ask(self._client.finalized_block()))
        return Head(number, await self.block_hash(number))

    def heads(self) -> AsyncIterator[Head]:
        limits = self._deadlines
        silence_s = max(limits.silence_s, limits.silence_blocks * self._block_time)
        return consecutive_heads(self._finalized, self.block_hash, silence_s=silence_s)

    async def block_hash(self, number: int) -> bytes:
        return bytes.fromhex((await self._hash_text(number)).removeprefix("0x"))

    async def block_time(self) -> float:
        return self._block_time

    # State

    async def neurons(self, block: int) -> tuple[Neuron, ...]:
        graph = await self._ask(
            self._client.subnets.metagraph(self._netuid, block=block, commitments=False)
        )
        if graph is None:
            raise self._no_subnet(block)
        rows = sorted(graph.neurons, key=lambda row: row.uid)
        return tuple(neuron(row) for row in rows)

    async def rules(self, block: int) -> SubnetRules:
        items = bt.storage.SubtensorModule
        exists, owner, tempo, rate_limit, version, fewest, largest, commit_reveal = await self._at(
            block,
            items.NetworksAdded,
            items.SubnetOwnerHotkey,
            items.Tempo,
            items.WeightsSetRateLimit,
            items.WeightsVersionKey,
            items.MinAllowedWeights,
            items.MaxWeightsLimit,
            items.CommitRevealWeightsEnabled,
        )
        if not exists:  # the other items have defaults for any netuid
            raise self._no_subnet(block)
        return SubnetRules(
            owner_hotkey=str(owner),
            tempo=int(tempo),
            weights_rate_limit=int(rate_limit),
            weights_version=int(version),
            min_allowed_weights=int(fewest),
            max_weight=int(largest) / U16_MAX,
            commit_reveal=bool(commit_reveal),
        )

    async def commitments(self, block: int) -> Mapping[str, tuple[bytes, ...]]:
        item = bt.storage.Commitments.CommitmentOf
        rows = await self._ask(self._client.query_map(item, [self._netuid], block=block))
        return {str(hotkey): raw_fields(record) for hotkey, record in rows}

    async def commit_space(self, block: int) -> CommitSpace:
        items = bt.storage.Commitments
        limit, epoch, rows = await asyncio.gather(
            self._ask(self._client.query(items.MaxSpace, block=block)),
            self._epoch(block),
            self._ask(self._client.query_map(items.UsedSpaceOf, [self._netuid], block=block)),
        )
        return commit_space(limit, rows, epoch)

    async def weights(self, block: int) -> Mapping[int, Mapping[int, int]]:
        item = bt.storage.SubtensorModule.Weights
        rows = await self._ask(self._client.query_map(item, [self._netuid], block=block))
        return {int(uid): {int(to): int(value) for to, value in row} for uid, row in rows if row}

    # Writes

    async def commit(self, fields: Sequence[bytes]) -> int:
        """Raises: ValueError for fields the chain's format does not have, ChainError."""
        if not 1 <= len(fields) <= MAX_FIELDS:
            raise ValueError(f"a commitment has 1 to {MAX_FIELDS} fields, not {len(fields)}")
        for position, field in enumerate(fields):
            if not 1 <= len(field) <= MAX_FIELD_BYTES:
                raise ValueError(
                    f"field {position} of the commitment has {len(field)} bytes; "
                    f"the chain takes 1 to {MAX_FIELD_BYTES}"
                )
        info = {"fields": [{f"Raw{len(field)}": bytes(field)} for field in fields]}
        call = bt.calls.Commitments.set_commitment(netuid=self._netuid, info=info)
        return await self._write(self._client.submit_call(call, self._hotkey(), signer="hotkey"))

    async def set_weights(self, weights: Mapping[int, float], version_key: int) -> int:
        """Raises: ValueError for weights that are negative, not finite or all zero, ChainError."""
        if not any(weights.values()) or not all(map(_is_weight, weights.items())):
            raise ValueError(
                f"weights must be 0 or more, finite, not all 0, and for uids: {dict(weights)}"
            )
        intent = bt.SetWeights(netuid=self._netuid, weights=dict(weights), version_key=version_key)
        try:
            return await self._write(self._client.execute(intent, self._hotkey()), WEIGHT_NAMES)
        except ValueError as error:
            # Its preflight reads a storage item that older runtimes do not have.
            if "SubnetEpochConsensus" not in str(error):
                raise
        return await self._set_weights_raw(weights, version_key)

    async def _set_weights_raw(self, weights: Mapping[int, float], version_key: int) -> int:
        """The plain call, conformed as the intent does it; the chain itself checks the rest."""
        (limit,) = await self._at(None, bt.storage.SubtensorModule.MaxWeightsLimit)
        shares = list(weights.values())
        if int(limit) < U16_MAX:
            shares = clip_to_max_weight(shares, int(limit) / U16_MAX)
        uids, values = normalize(list(weights), shares)
        call = bt.calls.SubtensorModule.set_weights(
            netuid=self._netuid, dests=uids, weights=values, version_key=version_key
        )
        work = self._client.submit_call(call, self._hotkey(), signer="hotkey")
        return await self._write(work, WEIGHT_NAMES)

    async def _write(self, work: Awaitable[Any], names: Names | None = None) -> int:
        """The height of the block that includes a call, once it is final.

        After ChainUnavailable the call may still get in; both calls may be repeated all the same.
        """
        limits = self._deadlines
        seconds = max(limits.read_s, limits.write_blocks * self._block_time)
        try:
            result = await self._line.ask(work, seconds, names)
        except (ChainUnavailable, asyncio.CancelledError):
            self._forget_nonce()
            raise
        with translated(names):
            result.raise_for_failure()
        if result.extrinsic_id is None:
            raise ChainUnavailable("the chain took the call but did not say in which block it is")
        return int(result.extrinsic_id.partition("-")[0])

    def _forget_nonce(self) -> None:
        """The SDK counts nonces by itself; after a call that was cut off its count may be ahead of
        the chain's, and every later call would wait for one that never comes."""
        if isinstance(self._substrate, bt.RpcSubstrate):
            with suppress(ConnectionNotReady):
                self._substrate.raw.clear_nonce_cache_for_account(self._hotkey().ss58_address)

    def _hotkey(self) -> Any:
        """The keypair of the hotkey. The SDK would decrypt a wallet's file anew for each call."""
        if self._signer is None:
            raise ValueError("this chain was opened without a wallet, so it can only be read")
        return getattr(self._signer, "hotkey", self._signer)

    # Plumbing

    async def _ask(self, work: Awaitable[T]) -> T:
        return await self._line.ask(work, self._deadlines.read_s)

    async def _hash_text(self, number: int) -> str:
        return str(await self._ask(self._substrate.block_hash(number)))

    async def _at(self, block: int | None, *items: tuple[str, str]) -> list[Any]:
        """The subnet's values of several storage items at one block, the newest if None."""
        block_hash = None if block is None else await self._hash_text(block)
        reads = (
            self._substrate.query(pallet, name, [self._netuid], block_hash=block_hash)
            for pallet, name in items
        )
        return await self._ask(asyncio.gather(*reads))

    async def _epoch(self, block: int) -> int:
        """The number of the subnet's epoch that `block` lies in, as the chain counts them."""
        items = bt.storage.SubtensorModule
        try:
            (index,) = await self._at(block, items.SubnetEpochIndex)
        except ValueError as error:
            # An older runtime: its epochs lie on a fixed grid, and none is counted.
            if "SubnetEpochIndex" not in str(error):
                raise
        else:
            return int(index)
        (tempo,) = await self._at(block, items.Tempo)
        return epoch_index(block, self._netuid, int(tempo))

    async def _finalized(self) -> AsyncIterator[int]:
        # A subscription shows nothing of why it is silent: this finds a dead connection.
        await self._line.ask(self._client.block(), self._deadlines.probe_s)
        async with aclosing(self._client.blocks(finalized=True)) as headers:
            while True:
                with translated():
                    header = await anext(headers, None)
                if header is None:
                    return
                yield int(header.number)

    def _no_subnet(self, block: int) -> ChainRefused:
        return ChainRefused("SubnetNotExists", f"there is no netuid {self._netuid} at {block}")


def _is_weight(item: tuple[int, float]) -> bool:
    uid, weight = item
    return 0 <= uid <= U16_MAX and math.isfinite(weight) and weight >= 0
