"""The validators of each window, as the chain has them at its closing block."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from boltzmann.config import RunConfig
from boltzmann.node.membership import Peer, peers_at, validators
from boltzmann.ports import Chain
from boltzmann.protocol.budget import charge
from boltzmann.protocol.chainview import CommitSpace
from boltzmann.protocol.commitment import ANY_DIGEST, Commitment
from boltzmann.protocol.council import leaders, witnesses

_RAO = 1e9  # to one token
_KEPT = 16


@dataclass(frozen=True)
class Council:
    """One window's validators. `stakes` in rao; `order`: who may propose, in turn."""

    window: int
    validators: Mapping[str, Peer]
    stakes: Mapping[str, int]
    witnesses: Mapping[str, int]
    order: tuple[str, ...]

    def place(self, leader: str) -> int:
        """When it is a validator's turn, 0 being the first; 0 for who has none."""
        return self.order.index(leader) if leader in self.order else 0


class Councils:
    """Reads each window's council, and who takes part at a block, once."""

    def __init__(self, chain: Chain, run: RunConfig) -> None:
        self._chain = chain
        self._run = run
        self._known: OrderedDict[int, Council] = OrderedDict()
        self._peers: OrderedDict[int, list[Peer]] = OrderedDict()

    async def peers(self, block: int) -> list[Peer]:
        """Everybody of the run at a final block. Raises: ChainError."""
        if block not in self._peers:
            self._peers[block] = await peers_at(self._chain, self._run.run.id, block)
            while len(self._peers) > _KEPT:
                self._peers.popitem(last=False)
        return self._peers[block]

    async def at(self, window: int) -> Council:
        """The council of a window that has closed. Raises: ChainError."""
        if window not in self._known:
            block = self._run.windows.close(window)
            seats = validators(await self.peers(block))
            self._known[window] = seat(
                self._run,
                window,
                await self._chain.block_hash(block),
                seats,
                await self._chain.commit_space(block),
            )
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[window]


def seat(
    run: RunConfig, window: int, close_hash: bytes, seats: list[Peer], space: CommitSpace
) -> Council:
    """The council that follows from what the chain says at close(window)."""
    stakes = {peer.hotkey: round(peer.neuron.stake * _RAO) for peer in seats}
    if not any(stakes.values()):  # a chain without stake: everybody counts alike
        stakes = dict.fromkeys(stakes, 1)
    exhausted = {peer.hotkey for peer in seats if not _may_order(peer, window, space)}
    return Council(
        window=window,
        validators={peer.hotkey: peer for peer in seats},
        stakes=stakes,
        witnesses=witnesses(close_hash, stakes, run.agreement.witnesses),
        order=leaders(close_hash, stakes, exhausted),
    )


def _may_order(peer: Peer, window: int, space: CommitSpace) -> bool:
    """Whether this validator can put the digest of the window's manifest on chain."""
    taken = record_charge(peer, window)
    return taken is not None and taken <= space.room(peer.hotkey)


def record_charge(peer: Peer, window: int) -> int | None:
    """Bytes of the chain's budget that this validator's record of a manifest takes.

    None if its other words leave no room for a manifest: anybody may put such a record on chain,
    and it must not stop those who read it.
    """
    held = peer.commitment
    record = Commitment(held.role, held.run, held.bucket, manifest=(window, ANY_DIGEST))
    try:
        return charge(record.encode())
    except ValueError:
        return None
