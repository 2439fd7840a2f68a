"""The run's config: what every node of a run shares, hashed, its hash on chain.

`run.toml` has one table per dataclass below. A node that holds another file than the one whose
sha256 the owner committed refuses to take part.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, get_type_hints

import tomli_w

from boltzmann.errors import ConfigError
from boltzmann.protocol.admission import Terms
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.codec import Codec
from boltzmann.protocol.council import AgreementConfig
from boltzmann.protocol.outer import OuterConfig
from boltzmann.protocol.pages import PageSchedule
from boltzmann.protocol.rewards import RewardConfig
from boltzmann.protocol.scoring import AuditConfig, GateConfig
from boltzmann.protocol.setting import meaning
from boltzmann.protocol.slices import Layout

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMAT = 1
MAX_NETUID = 65535
_INT_LIMIT = 2**63  # what TOML promises to hold
_FLOAT_LIMIT = float.fromhex("0x1.fffffep+127")  # float32's, which the outer step works in
# The outer step squares what it is given, and float32 ends at 3.4e38.
MAX_MAGNITUDE = 1e6
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")  # as in a commitment
_SEED = re.compile(r"[0-9A-Fa-f]{64}")
T = TypeVar("T")


@dataclass(frozen=True)
class Identity:
    """Which run this is.

    Raises: ValueError naming the field that is out of range, as every table below does.
    """

    id: str = field(
        metadata=meaning(
            "the run's name, 1 to 32 of A-Z a-z 0-9 . _ -: part of every object's key and of every "
            "record on chain"
        )
    )
    netuid: int = field(metadata=meaning("the subnet it runs on"))
    seed: str = field(
        metadata=meaning(
            "64 hexadecimal digits that key the order of the pages and the first model"
        )
    )
    format: int = field(default=FORMAT, metadata=meaning("the version of this file's format"))

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"run.format is {self.format}; this version reads format {FORMAT}")
        if not _RUN_ID.fullmatch(self.id):
            raise ValueError(f"run.id must be 1 to 32 of A-Z a-z 0-9 . _ -, not {self.id!r}")
        if not 0 <= self.netuid <= MAX_NETUID:
            raise ValueError(f"run.netuid must be from 0 to {MAX_NETUID}, not {self.netuid}")
        if not _SEED.fullmatch(self.seed):
            raise ValueError("run.seed must be 64 hexadecimal digits")


@dataclass(frozen=True)
class DataConfig:
    """The dataset, its pages, and who gets how many per window."""

    source: str = field(
        metadata=meaning(
            "bundled, parquet:PATH, disk:PATH, an https:// or s3:// address, a dataset of the "
            "Hugging Face hub, hf://datasets/OWNER/NAME, or a preset, fineweb-edu or dclm"
        )
    )
    revision: str = field(
        metadata=meaning(
            "the fingerprint every node's copy must have, or the commit of a dataset of the hub "
            "that the source names without one"
        )
    )
    rows_per_page: int = field(
        metadata=meaning("neighbouring rows of the dataset that make a page", "rows")
    )
    sequence_length: int = field(
        metadata=meaning(
            "length of the sequences that a page's rows, joined, are cut into", "tokens"
        )
    )
    pages_per_member: int = field(
        metadata=meaning("pages that make a member's work of a window", "pages")
    )
    members_max: int = field(
        metadata=meaning("how many miners get pages in a window; the others wait for the next")
    )
    control_pages: int = field(
        metadata=meaning(
            "pages of a window that nobody is assigned: validators take their control gradient "
            "from them",
            "pages",
        )
    )
    tokenizer: str = field(
        default="byte",
        metadata=meaning("byte, the path of a saved tokenizer, or its name on the hub"),
    )
    column: str = field(
        default="text", metadata=meaning("the dataset's column that holds the text")
    )

    def __post_init__(self) -> None:
        _require_positive("data", self)
        if self.sequence_length < 2:
            raise ValueError("data.sequence_length must be at least 2 tokens")


class Precision(Enum):
    """What gradients are computed in. Work in one is not to be told from a cheat in the other."""

    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True)
class ModelConfig:
    """A Llama-architecture model; the names are those of transformers' LlamaConfig."""

    vocab_size: int = field(metadata=meaning("token ids, at least as many as the tokenizer has"))
    hidden_size: int = field(
        metadata=meaning("the layers' width, a multiple of twice the attention heads")
    )
    intermediate_size: int = field(metadata=meaning("the feed-forward layers' width"))
    num_hidden_layers: int = field(metadata=meaning("how many layers"))
    num_attention_heads: int = field(metadata=meaning("query heads of each layer"))
    num_key_value_heads: int = field(
        metadata=meaning("key and value heads of each layer; they divide the query heads")
    )
    tie_word_embeddings: bool = field(
        default=False, metadata=meaning("whether the head is the embedding, transposed")
    )
    rope_theta: float = field(default=10000.0, metadata=meaning("base of the rotary embeddings"))
    precision: Precision = field(
        default=Precision.FP32,
        metadata=meaning(
            "what every node computes gradients in: fp32, or bf16 (autocast, over float32 weights)"
        ),
    )

    def __post_init__(self) -> None:
        _require_positive("model", self)
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"model.hidden_size ({self.hidden_size}) must be a multiple of twice "
                f"model.num_attention_heads ({self.num_attention_heads}): rotary embeddings turn "
                f"pairs of a head's coordinates"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"model.num_attention_heads ({self.num_attention_heads}) must be a multiple of "
                f"model.num_key_value_heads ({self.num_key_value_heads})"
            )


@dataclass(frozen=True)
class ExchangeConfig:
    """What travels, and what is kept of it."""

    codec: Codec = field(
        default=Codec.BF16, metadata=meaning("how values travel: in 2 bytes (bf16) or 4 (fp32)")
    )
    chunk_size: int = field(
        default=256,
        metadata=meaning(
            "neighbouring coordinates of a tensor that travel together", "coordinates"
        ),
    )
    slice_ratio: int = field(
        default=2, metadata=meaning("one chunk of so many travels in a window")
    )
    clip_norm: float = field(
        default=1.0, metadata=meaning("the norm beyond which no delta counts in an update")
    )
    max_magnitude: float = field(
        default=100.0,
        metadata=meaning("the largest absolute value that a delta or update may hold"),
    )
    history: int = field(
        default=8,
        metadata=meaning(
            "windows that the undo log keeps: how many a node can take back", "windows"
        ),
    )
    epoch_windows: int = field(
        default=10, metadata=meaning("how long from one checkpoint to the next", "windows")
    )
    checkpoint_copies: int = field(
        default=2, metadata=meaning("how many validators publish each checkpoint")
    )
    checkpoints_kept: int = field(
        default=2,
        metadata=meaning("how many of the newest stay in a bucket, beside the genesis"),
    )

    def __post_init__(self) -> None:
        _require_positive("exchange", self)
        if self.max_magnitude > MAX_MAGNITUDE:
            raise ValueError(
                f"exchange.max_magnitude must be at most {MAX_MAGNITUDE:g}, not "
                f"{self.max_magnitude:g}: the outer step squares it in float32"
            )


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
    agreement: AgreementConfig = field(default_factory=AgreementConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    source: bytes = field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        gate = self.gate
        for name in ("gate_min", "tensor_min"):
            if not -1.0 <= getattr(gate, name) <= 1.0:
                raise ValueError(f"gate.{name} must be in [-1, 1], not {getattr(gate, name)}")
        if self.audit.share_mean_min > gate.gate_min:
            raise ValueError(
                f"audit.share_mean_min ({self.audit.share_mean_min}) must not be above "
                f"gate.gate_min ({gate.gate_min})"
            )
        if not 0.0 <= gate.norm_min <= gate.norm_max:
            raise ValueError(
                f"gate.norm_min ({gate.norm_min}) must be from 0 to gate.norm_max ({gate.norm_max})"
            )

    @staticmethod
    def parse(source: bytes) -> RunConfig:
        """The config of a run.toml file's bytes. Raises: ConfigError naming table and key."""
        try:
            tables = tomllib.loads(source.decode())
        except (ValueError, RecursionError) as error:  # tomllib's own, no UTF-8, a huge number
            raise ConfigError(f"run.toml is not valid TOML: {error}") from error
        kinds = {name: kind for name, kind in get_type_hints(RunConfig).items() if name != "source"}
        unknown = sorted(set(tables) - set(kinds))
        if unknown:
            raise ConfigError(f"run.toml has unknown tables {unknown}; known: {sorted(kinds)}")
        read = {name: _read(kind, name, tables.get(name, {})) for name, kind in kinds.items()}
        try:
            return RunConfig(**read, source=source)
        except ValueError as error:
            raise ConfigError(f"run.toml: {error}") from error

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
    def terms(self) -> Terms:
        """Who enters an update, and what its norm counts for."""
        return Terms(
            self.rewards.trust_windows,
            self.exchange.clip_norm,
            self.agreement.unverified_max,
            self.agreement.vote_threshold,
            self.agreement.proposer_counts,
        )

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
    read = {}
    for name, value in values.items():
        try:
            read[name] = _convert(hints[name], value)
        except ValueError as error:
            raise ConfigError(f"run.toml: [{table}] {name}: {error}") from error
    try:
        return kind(**read)
    except ValueError as error:
        raise ConfigError(f"run.toml: [{table}]: {error}") from error


def _convert(kind: Any, value: Any) -> Any:
    """A TOML value as a field's type. Raises: ValueError."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind is float:
        return _number(value)
    if kind in (int, str, bool):
        if type(value) is not kind:
            raise ValueError(f"{value!r} is not of type {kind.__name__}")
        if kind is int and not -_INT_LIMIT <= value < _INT_LIMIT:
            raise ValueError(f"{value} does not fit 64 bits")
        return value
    return _points(value)


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{value!r} is not of type float")
    if not -_FLOAT_LIMIT <= value <= _FLOAT_LIMIT:  # false for NaN as well
        raise ValueError(f"{value} is not a finite number of float32")
    return float(value)


def _points(value: Any) -> tuple[tuple[int, float], ...]:
    """A schedule: [[window, rate], …]."""
    pairs = value if isinstance(value, list) else [value]
    if not all(isinstance(p, list) and len(p) == 2 and type(p[0]) is int for p in pairs):
        raise ValueError(f"{value!r} is not a list of [whole number of windows, rate]")
    return tuple((_convert(int, window), _number(rate)) for window, rate in pairs)


def _require_positive(table: str, section: Any) -> None:
    """Raises: ValueError naming the first number of a section that is not above 0."""
    for name, value in asdict(section).items():
        if type(value) in (int, float) and not value > 0:
            raise ValueError(f"{table}.{name} must be positive, not {value}")


def _plain(section: Any) -> dict[str, Any]:
    return {
        name: value.value if isinstance(value, Enum) else value
        for name, value in asdict(section).items()
    }
