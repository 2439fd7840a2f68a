"""What a local network consists of, from its options: keys, run config, chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from boltzmann.chain.embedded import Genesis, GenesisNeuron
from boltzmann.config import (
    DataConfig,
    ExchangeConfig,
    Identity,
    ModelConfig,
    RunConfig,
)
from boltzmann.data.open import fingerprint
from boltzmann.errors import ConfigError
from boltzmann.node.cheats import CHEATS
from boltzmann.protocol.clock import INCLUSION_BLOCKS, WindowClock
from boltzmann.protocol.outer import OuterConfig
from boltzmann.protocol.rewards import RewardConfig
from boltzmann.protocol.scoring import AuditConfig, GateConfig
from boltzmann.protocol.seeds import derive

NETUID = 220
TAO = 10**9
OWNER, GUEST = "owner", "guest"


@dataclass(frozen=True)
class Member:
    """One process of the network. `role`: validator, honest, or the kind of cheat."""

    name: str
    role: str

    @property
    def program(self) -> str:
        return "validator.py" if self.role == "validator" else "miner.py"

    @property
    def is_miner(self) -> bool:
        return self.role != "validator"


@dataclass(frozen=True)
class Plan:
    """The options of `boltzmann local`. Times in blocks; `block_time` in seconds.

    `windows` 0 runs until interrupted. `balances_rao`: the purses of coldkeys that are no part of
    the network yet. Raises: ConfigError.
    """

    miners: int = 3
    validators: int = 3
    adversaries: Mapping[str, int] = field(default_factory=lambda: {"random": 1})
    windows: int = 30
    train_blocks: int = 4
    exchange_blocks: int = 8
    block_time: float = 1.0
    epoch_windows: int = 10
    seed: int = 1
    workdir: Path = Path(".boltzmann/local")
    summary: Path | None = None
    keep: bool = False
    balances_rao: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.adversaries) - set(CHEATS))
        if unknown:
            raise ConfigError(f"--adversary {unknown[0]} is unknown: use {', '.join(CHEATS)}")
        if (
            min(self.miners, self.validators, self.epoch_windows) < 1
            or min(self.windows, self.seed) < 0
        ):
            raise ConfigError(
                "--miners and --validators must be at least 1, --windows and --seed at least 0"
            )
        if not self.block_time > 0:
            raise ConfigError(f"--block-time must be above 0 seconds, not {self.block_time}")
        try:
            self.clock()
        except ValueError as error:
            raise ConfigError(f"--train-blocks, --exchange-blocks: {error}") from error

    @property
    def members(self) -> tuple[Member, ...]:
        """Validators first, then honest miners, then cheats."""
        named = [Member(f"validator{i}", "validator") for i in range(self.validators)]
        named += [Member(f"miner{i}", "honest") for i in range(self.miners)]
        for kind, count in sorted(self.adversaries.items()):
            named += [Member(f"{kind}{i}", kind) for i in range(count)]
        return tuple(named)

    def secret(self, purpose: str, name: str) -> bytes:
        """32 bytes that follow from the seed: the same seed gives the same keys and hashes."""
        return derive(self.seed.to_bytes(32, "big"), purpose, name)

    def clock(self) -> WindowClock:
        """One block each to commit and to order, up to two to upload; the rest in halves: to audit
        newcomers, and to agree."""
        upload = 2 if self.exchange_blocks >= 8 else 1
        return WindowClock(
            self.train_blocks,
            self.exchange_blocks,
            upload_blocks=upload,
            receipt_blocks=max(0, (self.exchange_blocks - 2 - upload) // 2),
            turn_blocks=1,
        )

    def run_config(self) -> RunConfig:
        """A Llama of 0.86M parameters on bytes of the text that ships with Python."""
        last = max(self.windows, 8)
        return RunConfig(
            run=Identity(f"local-{self.seed}", NETUID, self.secret("run", "seed").hex()),
            windows=self.clock(),
            data=DataConfig(
                source="bundled",
                revision=fingerprint("bundled"),
                rows_per_page=3,
                sequence_length=256,
                pages_per_member=2,
                members_max=max(8, len(self.members) + 1),
                control_pages=2,
            ),
            model=ModelConfig(
                vocab_size=259,
                hidden_size=128,
                intermediate_size=344,
                num_hidden_layers=4,
                num_attention_heads=4,
                num_key_value_heads=4,
            ),
            exchange=ExchangeConfig(
                chunk_size=256, slice_ratio=2, epoch_windows=self.epoch_windows
            ),
            outer=OuterConfig(
                schedule=((0, 0.0025), (4, 0.01), (last, 0.0025)),
                beta1=0.9,
                beta2=0.95,
                eps=1e-8,
                weight_decay=0.0,
            ),
            # Those of an fp32 run whose machines compute alike: docs/gate.md.
            gate=GateConfig(gate_min=0.9995, tensor_min=0.95, norm_min=0.9, norm_max=1.1),
            audit=AuditConfig(share_mean_min=0.999),
            rewards=RewardConfig(moving_alpha=0.1, audit_rate=1.0, trust_windows=10),
        )

    def genesis(self, hotkeys: Mapping[str, str], coldkeys: Mapping[str, str]) -> Genesis:
        """The chain's first state, held just before the block that decides window 0.

        Everybody is registered, the validators have stake, and the initial checkpoint closes
        window 0, so training begins with window 1 as soon as the chain is released.
        """
        clock = self.clock()
        names = [OWNER, *(member.name for member in self.members), GUEST]
        stake = {member.name: 10_000 * TAO for member in self.members if not member.is_miner}
        return Genesis(
            seed=self.secret("chain", "blocks"),
            netuid=NETUID,
            owner_hotkey=hotkeys[OWNER],
            owner_coldkey=coldkeys[OWNER],
            block_time_s=self.block_time,
            held_at=clock.decide(0) - INCLUSION_BLOCKS,
            tempo=2 * clock.length - 1,
            weights_rate_limit=clock.length,
            balances_rao=self.balances_rao,
            neurons=tuple(
                GenesisNeuron(hotkeys[name], coldkeys[name], stake.get(name, 0)) for name in names
            ),
        )
