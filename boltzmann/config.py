"""The run's config: what every node of a run shares, hashed, its hash on chain.

`run.toml` has one table per dataclass below. A node that holds another file than the one whose
sha256 the owner committed refuses to take part.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

import tomli_w

from boltzmann.errors import ConfigError
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.codec import Codec
from boltzmann.protocol.outer import OuterConfig
from boltzmann.protocol.pages import PageSchedule
from boltzmann.protocol.rewards import RewardConfig
from boltzmann.protocol.scoring import GateConfig
from boltzmann.protocol.slices import Layout

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMAT = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Identity:
    """Which run this is. `seed`: 64 hexadecimal digits that key the page permutation."""

    id: str
    netuid: int
    seed: str
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"run.format is {self.format}; this version reads format {FORMAT}")
        if len(bytes.fromhex(self.seed)) != 32:
            raise ValueError("run.seed must be 64 hexadecimal digits")


@dataclass(frozen=True)
class DataConfig:
    """The dataset, its pages, and who gets how many per window.

    `source`: "bundled", "parquet:PATH" or "disk:PATH"; `revision`: the fingerprint every node's
    copy must have; `sequence_length` in tokens.
    """

    source: str
    revision: str
    rows_per_page: int
    sequence_length: int
    pages_per_member: int
    members_max: int
    control_pages: int
    tokenizer: str = "byte"
    column: str = "text"

    def __post_init__(self) -> None:
        for name in ("rows_per_page", "pages_per_member", "members_max", "control_pages"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} must be at least 1, not {getattr(self, name)}")
        if self.sequence_length < 2:
            raise ValueError("data.sequence_length must be at least 2 tokens")


@dataclass(frozen=True)
class ModelConfig:
    """A Llama-architecture model; the names are those of transformers' LlamaConfig."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0


@dataclass(frozen=True)
class ExchangeConfig:
    """What travels. `clip_norm`: the global norm a delta is clipped to; `max_magnitude`: the
    largest absolute value a delta may hold; `history`: windows the undo log keeps."""

    codec: Codec = Codec.BF16
    chunk_size: int = 256
    slice_ratio: int = 2
    clip_norm: float = 1.0
    max_magnitude: float = 100.0
    history: int = 8
    epoch_windows: int = 10

    def __post_init__(self) -> None:
        if not (self.clip_norm > 0 and self.max_magnitude > 0):
            raise ValueError("exchange.clip_norm and exchange.max_magnitude must be positive")
        if self.history < 1 or self.epoch_windows < 1:
            raise ValueError("exchange.history and exchange.epoch_windows must be at least 1")


@dataclass(frozen=True)
class RunConfig:
    """Everything the nodes of one run must agree on."""

    run: Identity
    windows: WindowClock
    data: DataConfig
    model: ModelConfig
    exchange: ExchangeConfig
    outer: OuterConfig
    gate: GateConfig
    rewards: RewardConfig
    source: bytes = field(default=b"", compare=False, repr=False)

    @staticmethod
    def parse(source: bytes) -> RunConfig:
        """The config of a run.toml file's bytes. Raises: ConfigError naming table and key."""
        try:
            tables = tomllib.loads(source.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"run.toml is not valid TOML: {error}") from error
        kinds = {name: kind for name, kind in get_type_hints(RunConfig).items() if name != "source"}
        unknown = sorted(set(tables) - set(kinds))
        if unknown:
            raise ConfigError(f"run.toml has unknown tables {unknown}; known: {sorted(kinds)}")
        read = {name: _read(kind, name, tables.get(name, {})) for name, kind in kinds.items()}
        return RunConfig(**read, source=source)

    def encode(self) -> bytes:
        """The run.toml bytes: the file this config was read from, else a fresh spelling."""
        if self.source:
            return self.source
        tables = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "source"}
        return tomli_w.dumps(tables).encode()

    @property
    def sha256(self) -> str:
        """The config's hash, as the owner's commitment names it."""
        return hashlib.sha256(self.encode()).hexdigest()

    @property
    def key(self) -> bytes:
        """The 32-byte key of the page permutation."""
        return bytes.fromhex(self.run.seed)

    def schedule(self, total_pages: int) -> PageSchedule:
        """The page schedule over a dataset of `total_pages`. Raises: ConfigError."""
        data = self.data
        try:
            return PageSchedule(
                self.key,
                total_pages,
                data.members_max,
                data.pages_per_member,
                data.control_pages,
            )
        except ValueError as error:
            raise ConfigError(f"{data.source}: {error}; use fewer or smaller pages") from error

    def layout(self, shapes: Mapping[str, tuple[int, ...]]) -> Layout:
        """How the model's tensors are cut into chunks."""
        return Layout.of(shapes, self.exchange.chunk_size, self.exchange.slice_ratio)


def _read(kind: type[T], table: str, values: object) -> T:
    """One table into its dataclass, types checked, unknown and missing keys named."""
    if not isinstance(values, dict) or not is_dataclass(kind):
        raise ConfigError(f"run.toml: {table} must be a table")
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"run.toml: [{table}] has unknown keys {unknown}; known: {sorted(known)}")
    missing = [n for n, f in known.items() if f.default is MISSING and n not in values]
    if missing:
        raise ConfigError(f"run.toml: [{table}] lacks {missing}")
    try:
        read = {name: _convert(hints[name], value) for name, value in values.items()}
        return kind(**read)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"run.toml: [{table}]: {error}") from error


def _convert(kind: Any, value: Any) -> Any:
    if kind is Codec:
        return Codec(value)
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str, bool):
        if type(value) is not kind:
            raise TypeError(f"{value!r} is not of type {kind.__name__}")
        return value
    if isinstance(value, list):
        return tuple((int(window), float(rate)) for window, rate in value)
    raise TypeError(f"{value!r} is not of type {getattr(kind, '__name__', kind)}")


def _plain(section: Any) -> dict[str, Any]:
    return {
        name: value.value if isinstance(value, Codec) else value
        for name, value in asdict(section).items()
    }
