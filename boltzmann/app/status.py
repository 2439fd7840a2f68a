"""Where a run stands, from the chain and the owner's bucket: no wallet, nothing written."""

from __future__ import annotations

from dataclasses import dataclass

from boltzmann.app.outside import looking
from boltzmann.node.membership import Peer, miners, validators
from boltzmann.privacy import shown
from boltzmann.protocol.clock import WindowClock


@dataclass(frozen=True)
class MinerStatus:
    """`incentive`: the share of the subnet's pay that the chain gave it last."""

    uid: int
    hotkey: str
    bucket: str
    incentive: float


@dataclass(frozen=True)
class ValidatorStatus:
    """`stake` in the subnet's alpha; `manifest`: the window of the newest one it has ordered, None
    before its first; `weights_age`: blocks since it set weights."""

    uid: int
    hotkey: str
    bucket: str
    stake: float
    manifest: int | None
    weights_age: int


@dataclass(frozen=True)
class RunStatus:
    """`phase`: of the window that `block` lies in; `blocks_left`: to the end of it; `agreed`: the
    newest window whose manifest some validator has ordered, None before the first."""

    run: str
    config: str
    netuid: int
    block: int
    window: int
    phase: str
    blocks_left: int
    agreed: int | None
    miners: tuple[MinerStatus, ...]
    validators: tuple[ValidatorStatus, ...]


async def run_status(network: str, netuid: int, run_hash: str) -> RunStatus:
    """The run of a subnet as the chain has it at its newest block.

    Raises: ConfigError, ChainError naming the fact, place and mend.
    """
    async with looking(network, netuid, run_hash) as seen:
        run, block, peers = seen.run, seen.block, seen.peers
    window = run.windows.window(block)
    phase, end = phase_of(run.windows, window, block)
    judges = tuple(_validator(peer, block) for peer in validators(peers))
    ordered = [judge.manifest for judge in judges if judge.manifest is not None]
    return RunStatus(
        run=run.run.id,
        config=run.sha256,
        netuid=netuid,
        block=block,
        window=window,
        phase=phase,
        blocks_left=end - block,
        agreed=max(ordered, default=None),
        miners=tuple(_miner(peer) for peer in sorted(miners(peers), key=_uid)),
        validators=tuple(sorted(judges, key=lambda judge: judge.uid)),
    )


def phase_of(clock: WindowClock, window: int, block: int) -> tuple[str, int]:
    """What is done at a block, and the block at which that ends."""
    ends = (
        ("training", clock.close(window)),
        ("commits", clock.commit_by(window)),
        ("uploads", clock.upload_by(window)),
        ("receipts", clock.receipts_by(window)),
        ("agreement", clock.decide(window)),
        ("order", clock.open(window + 1)),
    )
    return next((name, end) for name, end in ends if block < end)


def _uid(peer: Peer) -> int:
    return peer.neuron.uid


def _miner(peer: Peer) -> MinerStatus:
    neuron = peer.neuron
    return MinerStatus(neuron.uid, neuron.hotkey, shown(peer.bucket), neuron.incentive)


def _validator(peer: Peer, block: int) -> ValidatorStatus:
    neuron, manifest = peer.neuron, peer.commitment.manifest
    return ValidatorStatus(
        uid=neuron.uid,
        hotkey=neuron.hotkey,
        bucket=shown(peer.bucket),
        stake=neuron.stake,
        manifest=None if manifest is None else manifest[0],
        weights_age=block - neuron.last_update,
    )
