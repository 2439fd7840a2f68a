"""run.toml: what a value may be, and how one that may not is named."""

from __future__ import annotations

import pytest
from config_kit import TABLES, encoded, refusal
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.config import MAX_MAGNITUDE, RunConfig
from boltzmann.errors import ConfigError

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
    *(("rewards", "dues", value) for value in (-0.1, 10.1)),
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
    *(("audit", "doubt", value) for value in (0.0, -0.1, 2.1)),
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
        *(("audit", "doubt", value) for value in (0.001, 2.0)),
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
