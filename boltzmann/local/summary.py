"""What a local network came to: for people, and as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from boltzmann.local.network import Network
from boltzmann.local.plan import Plan
from boltzmann.local.progress import PeerLine, Progress
from boltzmann.node.outbox import write_whole
from boltzmann.ports import Chain
from boltzmann.protocol.rejection import ABSENCES


@dataclass(frozen=True)
class PeerOutcome:
    """One miner's. `weight`: its share of the weights on chain; `rejected`: reason -> count.

    `gate` is the last audit's, `gate_min` and `gate_max` are over all audits.
    """

    hotkey: str
    uid: int
    name: str
    role: str
    score: float
    gate: float
    gate_min: float | None
    gate_max: float | None
    weight: float
    incentive: float
    rejected: dict[str, int]
    bytes_up: int


@dataclass(frozen=True)
class Outcome:
    """A network's. `windows`: with an update, of `windows_past`; losses in nats per token, times in
    seconds from the launch."""

    windows: int
    windows_past: int
    loss_first: float | None
    loss_last: float | None
    roots_equal: bool
    final_root: str
    weights_set: int
    time_to_first_window_s: float | None
    time_to_first_update_s: float | None
    time_to_first_weights_s: float | None
    peers: tuple[PeerOutcome, ...]
    notes: tuple[str, ...]

    @property
    def honest_refused(self) -> list[str]:
        """Honest miners of whose work anything but an absence was refused."""
        return [p.name for p in self.peers if p.role == "honest" and set(p.rejected) - ABSENCES]

    @property
    def advice(self) -> str:
        """What to do about a network that hardly made an update; "" if nothing."""
        if 2 * self.windows >= self.windows_past:
            return ""
        return "most windows had no update: if uploads came too late, try --block-time 3"

    @property
    def exit_code(self) -> int:
        """0 only if the roots agree, something was learnt from, and no honest work was refused."""
        return 0 if self.roots_equal and self.windows and not self.honest_refused else 1


async def summarise(network: Network, chain: Chain, progress: Progress, launched: float) -> Outcome:
    """The outcome, with weights and incentives read from the chain's head."""
    head = await chain.head()
    neurons = {neuron.hotkey: neuron for neuron in await chain.neurons(head.number)}
    rows = await chain.weights(head.number)
    weights: dict[int, float] = defaultdict(float)
    for row in rows.values():  # the mean over the validators, as each weighs its own
        for uid, value in row.items():
            weights[uid] += value / sum(row.values()) / len(rows)
    peers = []
    for item in network.processes:
        if item.member.is_miner:
            neuron, line = neurons[item.hotkey], progress.peers[item.hotkey]
            peers.append(
                _peer(item.member.name, item.member.role, neuron.hotkey, neuron.uid, line)
                | {"weight": weights.get(neuron.uid, 0.0), "incentive": neuron.incentive}
            )
    closed, losses = sorted(w for w, by in progress.accepted.items() if by), progress.losses
    return Outcome(
        windows=len(closed),
        windows_past=max(progress.closed_round, *closed[-1:], 0),
        loss_first=losses[min(losses)] if losses else None,
        loss_last=losses[max(losses)] if losses else None,
        roots_equal=progress.roots_equal and progress.nodes_at_end() == len(network.processes),
        final_root=next(iter(progress.roots[closed[-1]].values()), "") if closed else "",
        weights_set=progress.weights_set,
        time_to_first_window_s=_since(launched, progress.first_open_at),
        time_to_first_update_s=_since(launched, progress.first_update_at),
        time_to_first_weights_s=_since(launched, progress.first_weights_at),
        peers=tuple(PeerOutcome(**peer) for peer in peers),
        notes=tuple(progress.notes),
    )


def write_summary(plan: Plan, outcome: Outcome) -> None:
    """summary.json in the working folder, and where `--summary` says."""
    data = json.dumps(asdict(outcome), indent=1).encode()
    for path in (plan.workdir / "summary.json", plan.summary):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)


def _peer(name: str, role: str, hotkey: str, uid: int, line: PeerLine) -> dict[str, Any]:
    return {
        "hotkey": hotkey,
        "uid": uid,
        "name": name,
        "role": role,
        "score": line.score,
        "gate": line.gate,
        "gate_min": min(line.gates) if line.gates else None,
        "gate_max": max(line.gates) if line.gates else None,
        "rejected": dict(line.rejected),
        "bytes_up": line.bytes_up,
    }


def _since(start: float, moment: float | None) -> float | None:
    return None if moment is None else round(moment - start, 2)
