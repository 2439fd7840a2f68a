"""Every setting has its meaning, docs/configuration.md is made of them, and the commands say so."""

from __future__ import annotations

from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.cli.main import main
from boltzmann.cli.reference import reference, run_tables
from boltzmann.local.plan import Plan

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
KEYS = [(table, item) for table, kind in run_tables().items() for item in fields(kind)]


@pytest.mark.parametrize(("table", "item"), KEYS, ids=lambda it: getattr(it, "name", it))
def test_every_key_of_a_run_has_a_meaning(table: str, item: Field[Any]) -> None:
    assert item.metadata.get("meaning"), (
        f"[{table}] lacks one: give its field `metadata=meaning(...)`"
    )


def test_every_setting_of_a_node_has_a_meaning() -> None:
    assert [item.name for item in fields(NodeConfig) if not item.metadata.get("help")] == []


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "reference"]) == 0
    printed = capsys.readouterr().out
    assert PAGE.read_text(encoding="utf-8") == printed, (
        "docs/configuration.md is out of date: `python -m boltzmann config reference > "
        "docs/configuration.md` writes it anew"
    )


def test_the_reference_names_every_table_key_and_variable() -> None:
    lines = reference().splitlines()
    assert [line for line in lines if line.startswith("### [")] == [
        f"### [{t}]" for t in run_tables()
    ]
    for _, item in KEYS:
        assert any(line.startswith(f"| `{item.name}` |") for line in lines)
    for item in fields(NodeConfig):
        (line,) = [line for line in lines if f"| `{item.metadata['env']}` |" in line]
        assert ("**secret**" in line) == (item.type == "Secret")


def test_a_file_in_order_is_named_with_its_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Plan().run_config()
    path = tmp_path / "run.toml"
    path.write_bytes(run.encode())
    assert main(["config", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"run local-1 on netuid 220, sha256 {run.sha256}\n"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "cannot be read"),
        (b"[run", "is not valid TOML"),
        (Plan().run_config().encode().replace(b"gate_min", b"gate_mni"), "['gate_mni']"),
    ],
)
def test_a_file_that_nodes_would_refuse_is_refused(
    source: bytes | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.toml"
    if source is not None:
        path.write_bytes(source)
    assert main(["config", "check", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and says in captured.err
