"""What a simulation came to: per participant, per kind, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np

from boltzmann.chain.embedded import yuma
from boltzmann.chain.embedded.accounts import RAO_PER_TAO
from boltzmann.simulate.chain import Payment
from boltzmann.simulate.plan import HONEST


@dataclass(frozen=True)
class PeerResult:
    """One miner's.

    `windows`: in which it sent a delta; `accepted`: in how many updates it is; `audits`: all
    validators' together; `rejected`: windows by reason; `pay`: its mean share of the weights over
    the run's windows; `first_cheat` and `caught`: the windows of its first cheat and of the first
    failed audit from then on, None where there was none; `bad_before` and `bad_after`: how many of
    the deltas that it cheated with are in an update, up to that window and later; `work`: how many
    honest windows' work it did, None where nobody counted.
    """

    name: str
    kind: str
    hotkey: str
    windows: int
    accepted: int
    audits: int
    rejected: Mapping[str, int]
    pay: float
    first_cheat: int | None
    caught: int | None
    bad_before: int = 0
    bad_after: int = 0
    work: float | None = None

    @property
    def delay(self) -> int | None:
        """Windows from the first cheat to the first failed audit; None if it never failed one."""
        if self.first_cheat is None or self.caught is None:
            return None
        return self.caught - self.first_cheat


@dataclass(frozen=True)
class KindResult:
    """All peers of one kind. `pay`: as a share of one honest miner's; `work`: honest windows' work,
    None where nobody counted; `bad`: cheating deltas that entered updates, `bad_after` those after
    the first failed audit; delays in windows.

    A cheat that was never caught counts as an infinite delay.
    """

    kind: str
    count: int
    pay: float
    work: float | None
    windows: float
    accepted: float
    bad: float
    bad_after: float
    audits: float
    rejected: int
    delay_median: float | None
    delay_p95: float | None


@dataclass(frozen=True)
class SimulationResult:
    """A whole network's. Losses in nats per token on pages that nobody trains on.

    `updates`: windows whose update was agreed on; `agreed`: whether all honest nodes had the same
    state after each window and at the end; `root`: of the last state; `notes`: what went wrong;
    `dividends`: by kind of validator, see the function of that name, a mean over those of the kind.
    """

    peers: tuple[PeerResult, ...]
    validators: int
    windows: int
    seed: int
    updates: int
    agreed: bool
    root: str
    loss_first: float
    loss_last: float
    losses: tuple[float | None, ...]
    notes: tuple[str, ...]
    dividends: Mapping[str, float] = field(default_factory=dict)

    @property
    def honest_pay(self) -> float:
        """One honest miner's mean share of the weights."""
        return fmean(peer.pay for peer in self.peers if peer.kind == HONEST)

    @property
    def honest_audits(self) -> int:
        """All validators' audits of all honest miners."""
        return sum(peer.audits for peer in self.peers if peer.kind == HONEST)

    @property
    def honest_refused(self) -> tuple[str, ...]:
        """Honest miners of whose work anything was refused."""
        return tuple(p.name for p in self.peers if p.kind == HONEST and p.caught is not None)

    @property
    def is_sound(self) -> bool:
        """Whether all agreed, on something, and no honest work was refused."""
        return self.agreed and self.updates > 0 and not self.honest_refused

    @property
    def kinds(self) -> tuple[KindResult, ...]:
        """Honest miners first, then the cheats by name."""
        names = sorted({peer.kind for peer in self.peers}, key=lambda kind: (kind != HONEST, kind))
        return tuple(self._kind(name) for name in names)

    def _kind(self, kind: str) -> KindResult:
        peers = [peer for peer in self.peers if peer.kind == kind]
        cheats = [peer for peer in peers if peer.first_cheat is not None]
        delays = sorted(math.inf if peer.delay is None else peer.delay for peer in cheats)
        works = [peer.work for peer in peers if peer.work is not None]
        honest = self.honest_pay
        return KindResult(
            kind=kind,
            count=len(peers),
            pay=fmean(peer.pay for peer in peers) / honest if honest else 0.0,
            work=fmean(works) if works else None,
            windows=fmean(peer.windows for peer in peers),
            accepted=fmean(peer.accepted for peer in peers),
            bad=fmean(peer.bad_before + peer.bad_after for peer in peers),
            bad_after=fmean(peer.bad_after for peer in peers),
            audits=fmean(peer.audits for peer in peers),
            rejected=sum(sum(peer.rejected.values()) for peer in peers),
            delay_median=median(delays) if delays else None,
            delay_p95=delays[math.ceil(0.95 * len(delays)) - 1] if delays else None,
        )

    def document(self) -> dict[str, Any]:
        """Everything, as JSON takes it; an infinite delay is "never"."""
        kinds = [
            {name: "never" if value == math.inf else value for name, value in asdict(kind).items()}
            for kind in self.kinds
        ]
        peers = [asdict(peer) | {"delay": peer.delay} for peer in self.peers]
        return {**asdict(self), "peers": peers, "kinds": kinds, "sound": self.is_sound}


def shares_of_pay(payments: Sequence[Payment], blocks: Sequence[int]) -> dict[str, float]:
    """hotkey -> its mean share, over these blocks, of what the chain paid then.

    Blocks before anybody had set weights do not count.
    """
    total: dict[str, float] = {}
    paid = 0
    for block in blocks:
        shares = incentives([payment for payment in payments if payment.block <= block])
        paid += bool(shares)
        for hotkey, share in shares.items():
            total[hotkey] = total.get(hotkey, 0.0) + share
    return {hotkey: share / paid for hotkey, share in total.items()}


def incentives(payments: Sequence[Payment]) -> dict[str, float]:
    """hotkey -> its share of the miners' pay, by the chain's consensus on the newest weights."""
    hotkeys, paid = _paid(payments)
    shares = zip(hotkeys, paid.incentive.tolist(), strict=True)
    return {hotkey: share for hotkey, share in shares if share > 0.0}


def dividends(payments: Sequence[Payment]) -> dict[str, float]:
    """validator -> its share of the validators' pay, by its share of the stake, where it has set
    weights.

    One is what a validator earns whose weights are the consensus. Bonds are those of the newest
    weights alone, without the chain's moving average of earlier ones.
    """
    hotkeys, paid = _paid(payments)
    newest = {payment.validator: payment for payment in payments}
    total = sum(payment.stake for payment in newest.values())
    return {
        hotkey: float(paid.dividends[hotkeys.index(hotkey)]) * total / payment.stake
        for hotkey, payment in newest.items()
    }


def _paid(payments: Sequence[Payment]) -> tuple[list[str], yuma.Outcome]:
    """Every hotkey that pays or is paid, and what consensus makes of each validator's newest."""
    newest = {payment.validator: payment for payment in payments}
    hotkeys = sorted({*newest, *(h for payment in newest.values() for h in payment.shares)})
    places = {hotkey: place for place, hotkey in enumerate(hotkeys)}
    weights, stake = np.zeros((len(hotkeys), len(hotkeys))), np.zeros(len(hotkeys), np.int64)
    for validator, payment in newest.items():
        stake[places[validator]] = round(payment.stake * RAO_PER_TAO)
        for hotkey, share in payment.shares.items():
            weights[places[validator], places[hotkey]] = share
    return hotkeys, yuma.run(weights, stake, np.zeros_like(weights), bonds_alpha=1.0)
