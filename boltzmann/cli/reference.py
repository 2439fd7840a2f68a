"""docs/configuration.md, from the settings' own meanings: see `boltzmann config reference`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any, get_type_hints

from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.config import RunConfig

_INTRODUCTION = """\
# Configuration

*Written by `boltzmann config reference`; the meanings stand beside the settings in the code.*

Two configs, and nothing else: [run.toml](#runtoml), which all nodes of a run share, and
[a node's own settings](#a-nodes-settings).
"""
_RUN = """\
## run.toml

The subnet's owner publishes it; its sha256 is on chain, and nodes refuse any other file, be it by
a comment ([owner.md](owner.md)). A key without a default must be there. `boltzmann config check
FILE` reads a file as nodes do. What a dataset may be: [data.md](data.md); what audits measure:
[gate.md](gate.md).
"""
_NODE = """\
## A node's settings

A flag wins over the environment, the environment over `.env` in the folder where the node is
started; an empty variable counts as none. `1`, `true`, `yes` and `on` are yes, `0`, `false`, `no`
and `off` no. A **secret** has no flag, because process lists show flags to everybody.
`boltzmann setup` asks for what is indispensable, `boltzmann doctor` checks it.
"""
_LIBRARIES = """\
Libraries read some variables by themselves, these from the environment or `.env`: `HF_TOKEN`
(**secret**) and `HF_ENDPOINT`, of the Hugging Face hub; `WANDB_API_KEY` (**secret**) and
`WANDB_BASE_URL`, of Weights & Biases. From the environment only: `AWS_ENDPOINT_URL_S3`, for data in
`s3://`; `XDG_CACHE_HOME`, the folder of the data's index; `TOKENIZERS_PARALLELISM`;
`OMP_NUM_THREADS`; `TMPDIR`.
"""
_TYPES = {bool: "boolean", int: "integer", float: "float", str: "string"}


def reference() -> str:
    """Every key of run.toml and every setting of a node, as Markdown."""
    tables = (_table(name, kind) for name, kind in run_tables().items())
    return "\n".join([_INTRODUCTION, _RUN, *tables, _NODE, _settings(), _LIBRARIES])


def run_tables() -> dict[str, type[Any]]:
    """The dataclass of each table of run.toml, by the table's name."""
    hints = get_type_hints(RunConfig)
    return {item.name: hints[item.name] for item in fields(RunConfig) if item.name != "source"}


def _table(name: str, kind: type[Any]) -> str:
    hints = get_type_hints(kind)
    rows = [
        (
            f"`{item.name}`",
            _type(hints[item.name]),
            _default(item),
            item.metadata.get("unit", ""),
            item.metadata.get("meaning", ""),
        )
        for item in fields(kind)
    ]
    purpose = " ".join((kind.__doc__ or "").partition("Raises:")[0].split())
    head = ("key", "type", "default", "unit", "meaning")
    return f"### [{name}]\n\n{purpose}\n\n" + "".join(_lines(head, rows))


def _settings() -> str:
    rows = [
        (
            f"`{item.metadata['flag']}`" if item.metadata["flag"] else "",
            f"`{item.metadata['env']}`",
            _default(item),
            f"{'**secret**: ' if item.type == 'Secret' else ''}{item.metadata['help']}",
        )
        for item in fields(NodeConfig)
    ]
    return "".join(_lines(("flag", "environment", "default", "meaning"), rows))


def _lines(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n"


def _type(kind: Any) -> str:
    is_word = isinstance(kind, type) and issubclass(kind, Enum)
    return "string" if is_word else _TYPES.get(kind, "array")


def _default(item: Field[Any]) -> str:
    """As TOML spells it; a text without quotes for a node, whose settings are all texts."""
    if item.default is MISSING:
        return "*required*"
    if "env" in item.metadata:
        value = int(item.default) if isinstance(item.default, bool) else item.default
        return "" if value == "" or item.type == "Secret" else f"`{value}`"
    value = item.default.value if isinstance(item.default, Enum) else item.default
    return f"`{json.dumps(value)}`"
