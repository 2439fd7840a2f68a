"""run.toml: one spelling in, the same config out, and every mistake named by table and key."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.config import (
    MAX_MAGNITUDE,
    DataConfig,
    ExchangeConfig,
    Identity,
    ModelConfig,
    Precision,
    RunConfig,
)
from boltzmann.errors import ConfigError
from boltzmann.protocol.admission import Terms
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.codec import Codec
from boltzmann.protocol.council import AgreementConfig
from boltzmann.protocol.outer import OuterConfig
from boltzmann.protocol.rewards import RewardConfig
from boltzmann.protocol.scoring import AuditConfig, GateConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG = RunConfig(
    run=Identity("run-1", 220, "ab" * 32),
    windows=WindowClock(4, 8, 1, 2, 1, 3, 1),
    data=DataConfig("bundled", "cd" * 32, 3, 256, 2, 8, 2),
    model=ModelConfig(259, 128, 344, 4, 4, 2),
    exchange=ExchangeConfig(codec=Codec.FP32),
    outer=OuterConfig(((0, 0.0025), (4, 0.01)), 0.9, 0.95, 1e-8, 0.1),
    gate=GateConfig(0.995, 0.98, 0.9, 1.1),
    rewards=RewardConfig(0.1, 0.25, 10),
    agreement=AgreementConfig(3, 0.6, False, 2, 0.05, 0.25),
    audit=AuditConfig(512, 0.25, 8, 0.02),
)
TABLES: dict[str, dict[str, Any]] = tomllib.loads(CONFIG.encode().decode())
DEFAULTS = {
    "run": ["format"],
    "data": ["tokenizer", "column"],
    "model": ["tie_word_embeddings", "rope_theta", "precision"],
    "windows": [key for key in TABLES["windows"] if key not in ("train_blocks", "exchange_blocks")],
    "exchange": list(TABLES["exchange"]),
    "agreement": list(TABLES["agreement"]),
    "audit": list(TABLES["audit"]),
}
OPTIONAL = ("exchange", "agreement", "audit")  # tables of which every key has a default
REQUIRED = [
    (table, key)
    for table, keys in TABLES.items()
    for key in keys
    if key not in DEFAULTS.get(table, [])
]


def encoded(changes: dict[str, dict[str, Any]] | None = None) -> bytes:
    tables = {name: {**keys, **(changes or {}).get(name, {})} for name, keys in TABLES.items()}
    return tomli_w.dumps(tables).encode()


def refusal(table: str, key: str, value: object) -> str:
    """What is said of this value in an otherwise good file."""
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse(encoded({table: {key: value}}))
    return str(caught.value)


def test_what_is_encoded_is_parsed_to_the_same_config() -> None:
    assert RunConfig.parse(CONFIG.encode()) == CONFIG
    assert RunConfig.parse(CONFIG.encode()).encode() == CONFIG.encode()


@given(
    rate=st.floats(0, 3e38),
    window=st.integers(1, 2**62),
    clip=st.floats(0, 3e38, exclude_min=True),
    train=st.integers(1, 2**62),
    tied=st.booleans(),
    column=st.text(),
    precision=st.sampled_from(Precision),
)
def test_every_value_survives_the_round_trip(
    rate: float, window: int, clip: float, train: int, tied: bool, column: str, precision: Precision
) -> None:
    config = replace(
        CONFIG,
        windows=replace(CONFIG.windows, train_blocks=train),
        data=replace(CONFIG.data, column=column),
        model=replace(CONFIG.model, tie_word_embeddings=tied, precision=precision),
        exchange=replace(CONFIG.exchange, clip_norm=clip),
        outer=replace(CONFIG.outer, schedule=((0, 0.5), (window, rate))),
    )
    assert RunConfig.parse(config.encode()) == config


def test_the_hash_is_of_the_files_exact_bytes() -> None:
    spelled = CONFIG.encode()
    commented = b"# the first run\r\n" + spelled
    for source in (spelled, commented, spelled + b"\n"):
        parsed = RunConfig.parse(source)
        assert parsed == CONFIG
        assert parsed.encode() == source
        assert parsed.sha256 == hashlib.sha256(source).hexdigest()
    assert RunConfig.parse(commented).sha256 != CONFIG.sha256
    assert CONFIG.sha256 == hashlib.sha256(spelled).hexdigest()


def test_defaults_need_not_be_written() -> None:
    tables = {
        table: {key: value for key, value in keys.items() if key not in DEFAULTS.get(table, [])}
        for table, keys in TABLES.items()
    }
    for table in OPTIONAL:
        assert tables.pop(table) == {}
    parsed = RunConfig.parse(tomli_w.dumps(tables).encode())
    assert parsed == replace(
        CONFIG,
        windows=WindowClock(4, 8),
        exchange=ExchangeConfig(),
        agreement=AgreementConfig(),
        audit=AuditConfig(),
    )


def test_what_a_run_that_says_nothing_agrees_by() -> None:
    """Everybody witnesses and votes, and more than half of the stake decides."""
    assert AgreementConfig() == AgreementConfig(0, 0.5, True, 4, 0.1, 0.0)
    assert AuditConfig() == AuditConfig(4096, 0.125, 16, 0.01)
    assert (ExchangeConfig().checkpoint_copies, ExchangeConfig().checkpoints_kept) == (2, 2)
    assert WindowClock(4, 8) == WindowClock(4, 8, 1, 1, 1, 2, 1)


def test_whole_numbers_may_stand_for_fractions() -> None:
    parsed = RunConfig.parse(encoded({"exchange": {"clip_norm": 2}, "model": {"rope_theta": 500}}))
    assert (parsed.exchange.clip_norm, parsed.model.rope_theta) == (2.0, 500.0)
    assert type(parsed.exchange.clip_norm) is float


def test_the_terms_of_admission_are_those_of_three_tables() -> None:
    assert replace(CONFIG, exchange=ExchangeConfig(clip_norm=3.0)).terms == Terms(
        10, 3.0, 0.25, 0.6, False
    )


def test_the_key_and_schedule_follow_from_the_config() -> None:
    assert CONFIG.key == bytes.fromhex("ab" * 32)
    assert CONFIG.schedule(18).block_pages == 18
    with pytest.raises(ConfigError, match=r"bundled: the dataset has 17 pages.*use fewer"):
        CONFIG.schedule(17)


@pytest.mark.parametrize(
    "source",
    [
        b"[run",
        b"\xff\xfe",
        b"a = 1\na = 2",
        b"a = " + b"9" * 5000,
        b"a = " + b"[" * 20_000,
        b"a = 2020-13-45",
    ],
    ids=["cut", "not UTF-8", "twice", "huge number", "deep nesting", "bad date"],
)
def test_what_is_no_toml_is_refused(source: bytes) -> None:
    with pytest.raises(ConfigError, match=r"run\.toml is not valid TOML"):
        RunConfig.parse(source)


@pytest.mark.parametrize(("table", "key"), REQUIRED)
def test_a_missing_key_is_named(table: str, key: str) -> None:
    tables = {name: dict(keys) for name, keys in TABLES.items()}
    del tables[table][key]
    with pytest.raises(ConfigError, match=rf"\[{table}\] lacks \['{key}'\]"):
        RunConfig.parse(tomli_w.dumps(tables).encode())


@pytest.mark.parametrize("table", [name for name in TABLES if name not in OPTIONAL])
def test_a_missing_table_is_named(table: str) -> None:
    tables = {name: keys for name, keys in TABLES.items() if name != table}
    with pytest.raises(ConfigError, match=rf"\[{table}\] lacks"):
        RunConfig.parse(tomli_w.dumps(tables).encode())


@pytest.mark.parametrize("table", TABLES)
def test_an_unknown_key_is_named_with_the_known_ones(table: str) -> None:
    said = refusal(table, "colour", 3)
    assert f"[{table}] has unknown keys ['colour']" in said
    assert all(key in said for key in TABLES[table])


@pytest.mark.parametrize("name", ["source", "extra"])
def test_an_unknown_table_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown tables \['{name}'\]; known: .*'exchange'"):
        RunConfig.parse(tomli_w.dumps({**TABLES, name: {}}).encode())


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("value", [3, "text", [{}]])
def test_what_is_no_table_is_named(table: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{table} must be a table"):
        RunConfig.parse(tomli_w.dumps({**TABLES, table: value}).encode())


# One wrong value of each type for each type a field may have.
WRONG: dict[type, list[object]] = {
    int: ["3", 3.0, True, [3], {}, 2**63, -(2**63) - 1],
    float: ["0.5", True, [0.5], [[0, 0.5]], {}, float("inf"), float("nan"), 1e39],
    str: [3, 0.5, True, ["text"], {}],
    bool: ["true", 1, 0.0, [True], {}],
    list: [
        *("0", 3, 0.1, {}, [], [3], [[0]], [[0, 0.1, 2]], [[0.5, 0.1]], [["0", "0.1"]]),
        *([[True, 0.1]], [[float("inf"), 0.1]], [[0, float("nan")]], [[2**63, 0.1]], [[[0, 0.1]]]),
    ],
}


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        (table, key, value)
        for table, keys in TABLES.items()
        for key, good in keys.items()
        for value in WRONG[type(good)]
    ],
    ids=repr,
)
def test_a_value_of_the_wrong_type_is_refused_by_table_and_key(
    table: str, key: str, value: object
) -> None:
    said = refusal(table, key, value)
    assert said.startswith(f"run.toml: [{table}]")
    assert key in said


OUT_OF_RANGE: list[tuple[str, str, object]] = [
    *(("run", "id", value) for value in ("", "a" * 33, "a b", "../up", ".hidden", "é", "a/b")),
    *(("run", "netuid", value) for value in (-1, 65536)),
    *(("run", "seed", value) for value in ("", "ab", "g" * 64, "ab" * 33, "ab " * 21 + "a")),
    *(("run", "format", value) for value in (0, 2)),
    *(("windows", "train_blocks", value) for value in (0, -4)),
    *(("windows", "exchange_blocks", value) for value in (-1, 0, 5)),
    *(("windows", "commit_blocks", value) for value in (-1, 0, 4)),
    *(("windows", "upload_blocks", value) for value in (-1, 0, 5)),
    *(("windows", "receipt_blocks", value) for value in (-1, 4)),
    *(("windows", "turn_blocks", value) for value in (-1, 0)),
    *(("windows", "order_blocks", value) for value in (-1, 4)),
    *(("data", "sequence_length", value) for value in (-1, 0, 1)),
    *(
        ("data", key, value)
        for key in ("rows_per_page", "pages_per_member", "members_max", "control_pages")
        for value in (0, -1)
    ),
    *(
        ("model", key, value)
        for key in sorted(set(TABLES["model"]) - {"tie_word_embeddings"})
        for value in (0, -2)
    ),
    ("model", "hidden_size", 130),  # not a multiple of the heads
    ("model", "hidden_size", 12),  # heads of three coordinates cannot be turned in pairs
    ("model", "num_attention_heads", 256),
    ("model", "num_key_value_heads", 3),
    ("exchange", "codec", "int8"),
    ("model", "precision", "fp16"),
    ("model", "precision", 16),
    *(("exchange", key, n) for key in sorted(set(TABLES["exchange"]) - {"codec"}) for n in (0, -1)),
    *(("exchange", "max_magnitude", value) for value in (MAX_MAGNITUDE * 1.01, 1e19, 3e38)),
    ("outer", "schedule", [[4, 0.1], [4, 0.2]]),
    ("outer", "schedule", [[4, 0.1], [3, 0.2]]),
    ("outer", "schedule", [[0, -0.1]]),
    *(("outer", key, value) for key in ("beta1", "beta2") for value in (-0.1, 1.0)),
    *(("outer", "eps", value) for value in (0.0, 1e-39, -1.0)),
    ("outer", "weight_decay", -0.1),
    *(("gate", key, value) for key in ("gate_min", "tensor_min") for value in (-1.1, 1.1)),
    *(("gate", "norm_min", value) for value in (-0.1, 1.2)),
    ("gate", "norm_max", 0.8),
    *(("rewards", key, value) for key in ("moving_alpha", "audit_rate") for value in (0, 1.1, -1)),
    ("rewards", "trust_windows", -1),
    ("agreement", "witnesses", -1),
    *(("agreement", "vote_threshold", value) for value in (-0.5, 0, 0.4999999, 1, 1.5)),
    *(("agreement", "held_out_pages", value) for value in (0, -1)),
    ("agreement", "loss_rise_max", -0.1),
    *(("agreement", "unverified_max", value) for value in (-0.1, 1, 1.5)),
    ("audit", "points", -1),
    *(("audit", "full_rate", value) for value in (0, -0.1, 1.1)),
    *(("audit", "age_max", value) for value in (0, -1)),
    *(
        ("audit", key, value)
        for key in ("tensor_floor", "tensor_floor_full")
        for value in (-0.1, 1, 2)
    ),
    *(("audit", "share_min", value) for value in (-1.1, 0.991, 2)),
    *(("audit", "share_mean_min", value) for value in (0.89, 0.996, 2)),
    ("gate", "gate_min", 0.98),  # below audit.share_mean_min
]


@pytest.mark.parametrize(("table", "key", "value"), OUT_OF_RANGE, ids=repr)
def test_a_value_out_of_range_is_refused_by_table_and_key(
    table: str, key: str, value: object
) -> None:
    said = refusal(table, key, value)
    assert said.startswith("run.toml: ")
    assert table in said
    assert key in said
    assert "\n" not in said


def test_every_number_has_a_case_of_its_own_out_of_range() -> None:
    numbers = {
        (table, key)
        for table, keys in TABLES.items()
        for key, value in keys.items()
        if type(value) in (int, float, list)
    }
    assert numbers == {case[:2] for case in OUT_OF_RANGE} & numbers


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("exchange", "max_magnitude", MAX_MAGNITUDE),
        ("run", "netuid", 65535),
        ("run", "id", "A.b_c-1" + "x" * 25),
        ("run", "seed", "AB" * 32),
        ("gate", "gate_min", 0.99),
        ("gate", "norm_min", 1.1),
        ("windows", "exchange_blocks", 6),
        ("windows", "commit_blocks", 3),
        ("windows", "receipt_blocks", 0),
        ("windows", "turn_blocks", 1000),
        ("windows", "order_blocks", 0),
        ("exchange", "checkpoint_copies", 1),
        ("exchange", "checkpoints_kept", 1),
        ("agreement", "witnesses", 0),
        ("agreement", "vote_threshold", 0.5),
        ("agreement", "vote_threshold", 0.999999),
        ("agreement", "held_out_pages", 1),
        ("agreement", "loss_rise_max", 0),
        ("agreement", "proposer_counts", True),
        *(("agreement", "unverified_max", value) for value in (0, 0.999999)),
        ("audit", "points", 0),
        *(("audit", "full_rate", value) for value in (1e-30, 1)),
        ("audit", "age_max", 1),
        ("audit", "tensor_floor", 0),
        ("audit", "tensor_floor_full", 0),
        *(("audit", "share_min", value) for value in (-1, 0.99)),
        *(("audit", "share_mean_min", value) for value in (0.9, 0.995)),
        ("data", "sequence_length", 2),
        ("outer", "schedule", [[0, 0]]),
    ],
)
def test_the_edge_of_a_range_is_in_it(table: str, key: str, value: object) -> None:
    parsed = RunConfig.parse(encoded({table: {key: value}}))
    found = getattr(getattr(parsed, table), key)
    assert found == (((0, 0.0),) if key == "schedule" else value)


@given(
    table=st.sampled_from(sorted(TABLES)),
    index=st.integers(0, 20),
    value=st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=5)
    | st.lists(st.lists(st.integers() | st.floats(), max_size=3), max_size=3),
)
def test_no_value_whatever_raises_anything_else(table: str, index: int, value: object) -> None:
    keys = sorted(TABLES[table])
    if value is None:
        return
    try:
        RunConfig.parse(encoded({table: {keys[index % len(keys)]: value}}))
    except ConfigError as error:
        assert table in str(error)


def test_the_config_shows_no_second_copy_of_its_file() -> None:
    parsed = RunConfig.parse(CONFIG.encode())
    assert "source=b" not in repr(parsed)
    assert {field.name for field in fields(RunConfig)} == {*TABLES, "source"}


def test_windows_of_four_blocks_can_be_written() -> None:
    short = {"train_blocks": 1, "exchange_blocks": 3, "receipt_blocks": 0, "order_blocks": 0}
    rest = {"commit_blocks": 1, "upload_blocks": 1}
    assert RunConfig.parse(encoded({"windows": {**short, **rest}})).windows.length == 4


def test_a_clock_without_a_block_for_the_proposal_names_all_its_steps() -> None:
    said = refusal("windows", "exchange_blocks", 5)
    assert "exchange_blocks = 5 leaves no block for the proposal" in said
    assert all(f"{step}_blocks" in said for step in ("commit", "upload", "receipt", "order"))
