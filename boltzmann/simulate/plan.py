"""What a simulated network consists of: who takes part, how they behave, and the run's config."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from boltzmann.config import DataConfig, ExchangeConfig, Identity, ModelConfig, RunConfig
from boltzmann.errors import ConfigError
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.council import AgreementConfig
from boltzmann.protocol.outer import OuterConfig
from boltzmann.protocol.rewards import RewardConfig
from boltzmann.protocol.scoring import AuditConfig, GateConfig
from boltzmann.protocol.seeds import derive
from boltzmann.simulate.adversaries import rogue_named
from boltzmann.simulate.rogue import Rogue as Rogue
from boltzmann.simulate.text import PAGE_CHARACTERS

if TYPE_CHECKING:
    from boltzmann.simulate.network import Network

NETUID = 220
HONEST, VALIDATOR = "honest", "validator"
BLOCK_TIME_S = 12.0  # of virtual time


@dataclass(frozen=True)
class Member:
    """One participant. `kind`: validator, honest, or the kind of cheat; `seat`: what its hotkey is
    made from, its name unless told.
    """

    name: str
    kind: str
    stake: float = 0.0
    seat: str = ""

    @property
    def owner(self) -> str:
        """The name that the ring keeps its keys under."""
        return self.seat or self.name


@dataclass(frozen=True)
class SimulationPlan:
    """The options of `boltzmann simulate`.

    `peers`: all miners; `hostile`: how many are of which kind, a name of
    `boltzmann.simulate.adversaries` or of `rogues`; `audit_rate`, `moving_alpha`,
    `dues`, `trust_windows`, `full_rate`, `age_max` and `unverified_max` as in the run's config;
    `pages_per_member`: pages of PAGE_CHARACTERS bytes; `happenings`: what is done to the network as
    a window opens.
    Raises: ConfigError.
    """

    peers: int = 64
    validators: int = 4
    windows: int = 200
    seed: int = 1
    hostile: Mapping[str, int] = field(default_factory=dict)
    audit_rate: float = 0.25
    moving_alpha: float = 0.1
    dues: float = 1.0
    trust_windows: int = 10
    full_rate: float = 0.125
    age_max: int = 16
    unverified_max: float = 0.0
    pages_per_member: int = 4
    rogues: Mapping[str, Rogue] = field(default_factory=dict)
    happenings: Mapping[int, Callable[[Network], Awaitable[None]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("peers", "validators", "windows", "pages_per_member"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"seed must be from 0 to 2^64 - 1, not {self.seed}")
        for kind, count in self.hostile.items():
            if count < 0:
                raise ConfigError(f"there cannot be {count} adversaries of the kind {kind}")
            self.rogue(kind)
        if self.hostile_peers >= self.peers:
            raise ConfigError(
                f"{self.hostile_peers} of {self.peers} peers are hostile: at least one honest "
                f"miner is needed to compare with; use more peers or fewer adversaries"
            )
        try:
            self.run_config()
        except ValueError as error:
            raise ConfigError(f"no run can be made of this plan: {error}") from error

    def rogue(self, kind: str) -> Rogue:
        """How a hostile kind behaves. Raises: ConfigError."""
        if kind in self.rogues:
            return self.rogues[kind]
        return rogue_named(kind)

    @property
    def hostile_peers(self) -> int:
        """Hostile miners; hostile validators are no peers."""
        counts = self.hostile.items()
        return sum(n for kind, n in counts if not self.rogue(kind).stake)

    @property
    def members(self) -> tuple[Member, ...]:
        """Validators, then honest miners, then cheats.

        The n-th cheat has one hotkey whatever it does, so that honest miners train on the same
        pages beside any kinds of cheats, and two such networks can be compared.
        """
        # No two stakes are equal, and no few of them are a majority.
        stakes = [1000.0 + i for i in range(self.validators, 0, -1)]
        found = [Member(f"validator{i}", VALIDATOR, stake) for i, stake in enumerate(stakes)]
        honest = self.peers - self.hostile_peers
        found += [Member(f"honest{i}", HONEST) for i in range(honest)]
        cheats = [(kind, i) for kind, n in sorted(self.hostile.items()) for i in range(n)]
        found += [
            Member(f"{kind}{i}", kind, self.rogue(kind).stake, seat=f"hostile{seat}")
            for seat, (kind, i) in enumerate(cheats)
        ]
        return tuple(found)

    def secret(self, purpose: str, name: str) -> bytes:
        """32 bytes that follow from the seed."""
        return derive(self.seed.to_bytes(32, "big"), purpose, name)

    def clock(self) -> WindowClock:
        """Three turns to propose, and a block in which weights are set while miners train."""
        return WindowClock(train_blocks=3, exchange_blocks=8, upload_blocks=2, turn_blocks=1)

    def run_config(self) -> RunConfig:
        """A Llama of 33,000 parameters on bytes of the text that ships with Python.

        Raises: ValueError if a number is out of range.
        """
        last = max(self.windows, 8)
        return RunConfig(
            run=Identity(f"simulation-{self.seed}"[:32], NETUID, self.secret("run", "seed").hex()),
            windows=self.clock(),
            data=DataConfig(
                source="bundled",
                revision="pieces of it, which the simulation cuts itself",
                rows_per_page=1,
                sequence_length=PAGE_CHARACTERS,
                pages_per_member=self.pages_per_member,
                members_max=self.peers,
                control_pages=2,
            ),
            model=ModelConfig(
                vocab_size=259,
                hidden_size=32,
                intermediate_size=128,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
            ),
            exchange=ExchangeConfig(chunk_size=64, slice_ratio=2, history=3, epoch_windows=20),
            outer=OuterConfig(
                schedule=((0, 0.005), (4, 0.02), (last, 0.005)),
                beta1=0.9,
                beta2=0.95,
                eps=1e-8,
                weight_decay=0.0,
            ),
            # All compute in float32, so honest work differs by nothing but the codec's rounding.
            gate=GateConfig(gate_min=0.9995, tensor_min=0.98, norm_min=0.9, norm_max=1.1),
            agreement=AgreementConfig(unverified_max=self.unverified_max),
            rewards=RewardConfig(
                moving_alpha=self.moving_alpha,
                audit_rate=self.audit_rate,
                trust_windows=self.trust_windows,
                dues=self.dues,
            ),
            audit=AuditConfig(
                points=512,
                full_rate=self.full_rate,
                age_max=self.age_max,
                share_mean_min=0.999,
                doubt=0.25,  # with so few points and tensors, honest work is further off
            ),
        )
