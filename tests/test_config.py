"""run.toml: one spelling in, the same config out, and every mistake named by table and key."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace

import pytest
import tomli_w
from config_kit import CONFIG, TABLES, encoded, refusal
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.config import ExchangeConfig, Precision, RunConfig
from boltzmann.errors import ConfigError
from boltzmann.protocol.admission import Terms
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.council import AgreementConfig
from boltzmann.protocol.scoring import AuditConfig

DEFAULTS = {
    "run": ["format"],
    "data": ["tokenizer", "column"],
    "model": ["tie_word_embeddings", "rope_theta", "precision"],
    "windows": [key for key in TABLES["windows"] if key not in ("train_blocks", "exchange_blocks")],
    "exchange": list(TABLES["exchange"]),
    "agreement": list(TABLES["agreement"]),
    "rewards": ["dues"],
    "audit": list(TABLES["audit"]),
}
OPTIONAL = ("exchange", "agreement", "audit")  # tables of which every key has a default
REQUIRED = [
    (table, key)
    for table, keys in TABLES.items()
    for key in keys
    if key not in DEFAULTS.get(table, [])
]


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
