"""The run that `benchmarks.exchange` measures: its config, its keys, its chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from bittensor.sp_core import Keypair

from boltzmann.config import DataConfig, ExchangeConfig, Identity, ModelConfig, RunConfig
from boltzmann.protocol.chainview import Head, Neuron, SubnetRules
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.commitment import Commitment, Role, decode
from boltzmann.protocol.outer import OuterConfig
from boltzmann.protocol.rewards import RewardConfig
from boltzmann.protocol.scoring import GateConfig
from boltzmann.protocol.seeds import derive

PEERS = 8
SLICE_RATIO = 100
SEED = bytes(32)
GENESIS = "0" * 64  # stands for the digest of the genesis manifest
LEADER, MINER = "leader", "miner"
MODELS = {
    "134M": ModelConfig(
        vocab_size=32_000,
        hidden_size=768,
        intermediate_size=2_048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
    ),
    # The shapes of Llama-3.2-1B.
    "1.2B": ModelConfig(
        vocab_size=128_256,
        hidden_size=2_048,
        intermediate_size=8_192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=True,
    ),
}


def run_config(model: ModelConfig) -> RunConfig:
    """Protocol defaults (bf16, chunks of 256), ratio 100; the data is never read."""
    return RunConfig(
        run=Identity("exchange", 1, SEED.hex()),
        windows=WindowClock(train_blocks=1, exchange_blocks=4, upload_blocks=2, order_blocks=1),
        data=DataConfig(
            source="none",
            revision="none",
            rows_per_page=1,
            sequence_length=2,
            pages_per_member=1,
            members_max=PEERS + 1,
            control_pages=1,
        ),
        model=model,
        exchange=ExchangeConfig(slice_ratio=SLICE_RATIO),
        outer=OuterConfig(((0, 0.001),), beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1),
        gate=GateConfig(gate_min=0.995, tensor_min=0.98, norm_min=0.9, norm_max=1.1),
        rewards=RewardConfig(moving_alpha=0.1, audit_rate=1.0, trust_windows=1000),
    )


def peer_names() -> list[str]:
    return [f"peer-{number}" for number in range(1, PEERS + 1)]


class SeedKeys:
    """Implements `boltzmann.ports.Keys` with the sr25519 key that follows from a name."""

    def __init__(self, name: str) -> None:
        self._keypair = Keypair.create_from_seed(derive(SEED, "key", name))

    @property
    def hotkey(self) -> str:
        return str(self._keypair.ss58_address)

    def sign(self, message: bytes) -> bytes:
        return bytes(self._keypair.sign(message))


@dataclass(frozen=True)
class Committed:
    """A leader's manifest digest on chain, from `block` on."""

    block: int
    window: int
    digest: str


@dataclass
class ScriptedChain:
    """Implements `boltzmann.ports.Chain`: blocks come when the benchmark asks for them.

    `buckets`: public address by node name; `committed`: the leader's manifests so far.
    """

    buckets: Mapping[str, str]
    committed: list[Committed] = field(default_factory=list)
    number: int = 0
    _heads: asyncio.Queue[Head] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self._hotkeys = {name: SeedKeys(name).hotkey for name in self.buckets}

    def advance(self, number: int) -> None:
        """Finalize the blocks up to `number`."""
        self.number = number
        self._heads.put_nowait(Head(number, block_hash(number)))

    async def head(self) -> Head:
        return Head(self.number, block_hash(self.number))

    async def heads(self) -> AsyncIterator[Head]:
        while True:
            yield await self._heads.get()

    async def block_hash(self, number: int) -> bytes:
        return block_hash(number)

    async def block_time(self) -> float:
        return 1.0

    async def neurons(self, block: int) -> tuple[Neuron, ...]:
        return tuple(
            Neuron(uid, self._hotkeys[name], float(name == LEADER), name == LEADER, 0, 0)
            for uid, name in enumerate(self.buckets)
        )

    async def rules(self, block: int) -> SubnetRules:
        raise NotImplementedError("the exchange asks for no rules")

    async def commitments(self, block: int) -> Mapping[str, tuple[bytes, ...]]:
        known = [c for c in self.committed if c.block <= block]
        newest = (known[-1].window, known[-1].digest) if known else (0, GENESIS)
        return {
            self._hotkeys[name]: Commitment(
                Role.VALIDATOR if name == LEADER else Role.MINER,
                "exchange",
                address,
                manifest=newest if name == LEADER else None,
            ).encode()
            for name, address in self.buckets.items()
        }

    async def weights(self, block: int) -> Mapping[int, Mapping[int, int]]:
        raise NotImplementedError("the exchange asks for no weights")

    async def commit(self, fields: Sequence[bytes]) -> int:
        commitment = decode(fields)
        if commitment is None or commitment.manifest is None:
            raise ValueError(f"not a manifest's commitment: {fields!r}")
        self.committed.append(Committed(self.number, *commitment.manifest))
        return self.number

    async def set_weights(self, weights: Mapping[int, float], version_key: int) -> int:
        raise NotImplementedError("the exchange sets no weights")

    async def close(self) -> None:
        """Nothing is open."""


def block_hash(number: int) -> bytes:
    """The 32-byte hash of a block."""
    return derive(SEED, "block", number)
