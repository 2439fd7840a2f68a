"""Who takes part, as the chain says at one block."""

from __future__ import annotations

from dataclasses import dataclass

from boltzmann.ports import Chain
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.commitment import Commitment, Role, decode


@dataclass(frozen=True)
class Peer:
    """A registered hotkey with a commitment to this run."""

    neuron: Neuron
    commitment: Commitment

    @property
    def hotkey(self) -> str:
        return self.neuron.hotkey

    @property
    def bucket(self) -> str:
        return self.commitment.bucket

    @property
    def validates(self) -> bool:
        """Declares to validate, and has the chain's permit for it."""
        return self.commitment.role is Role.VALIDATOR and self.neuron.permit


async def peers_at(chain: Chain, run: str, block: int) -> list[Peer]:
    """Everybody of the run at the end of `block`, sorted by hotkey."""
    neurons = {neuron.hotkey: neuron for neuron in await chain.neurons(block)}
    peers = []
    for hotkey, fields in sorted((await chain.commitments(block)).items()):
        commitment = decode(fields)
        if hotkey in neurons and commitment is not None and commitment.run == run:
            peers.append(Peer(neurons[hotkey], commitment))
    return peers


def miners(peers: list[Peer]) -> list[Peer]:
    """The window's members: those that declare to mine."""
    return [peer for peer in peers if peer.commitment.role is Role.MINER]


def validators(peers: list[Peer]) -> list[Peer]:
    """Those whose receipts and ballots count."""
    return [peer for peer in peers if peer.validates]


def first_validator(peers: list[Peer]) -> str:
    """The validator with the most stake, who may begin a run; ties by hotkey, "" if none."""
    return max(((peer.neuron.stake, peer.hotkey) for peer in validators(peers)), default=(0.0, ""))[
        1
    ]
