"""The first start on a machine: what is not set yet is asked for once and written to `.env`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from dotenv import set_key

from boltzmann.app.nodeconfig import NodeConfig, require_netuid
from boltzmann.app.settings import ENV_FILE, convert, stored_settings
from boltzmann.errors import ConfigError
from boltzmann.privacy import shown
from boltzmann.store.address import parse_address

PRIVATE = stat.S_IRUSR | stat.S_IWUSR
# Asked for although there is a default: it is nobody's guess.
_WORTH_ASKING = ("wallet_name", "wallet_hotkey", "network")

Ask = Callable[[str, bool], str]


def missing_settings(
    flags: Mapping[str, str | None],
    environment: Mapping[str, str] = os.environ,
    env_file: Path = ENV_FILE,
) -> tuple[Field[Any], ...]:
    """The settings that stand nowhere and that a node cannot do without, or should not guess.

    Raises: ConfigError if `.env` cannot be read.
    """
    stored = stored_settings(env_file)
    return tuple(
        item
        for item in fields(NodeConfig)
        if (item.default is MISSING or item.name in _WORTH_ASKING)
        and not (
            flags.get(item.name)
            or environment.get(item.metadata["env"])
            or stored.get(item.metadata["env"])
        )
    )


def ask_for(items: tuple[Field[Any], ...], ask: Ask, env_file: Path = ENV_FILE) -> int:
    """Ask for each setting and write the answers down, for this user's eyes only; how many.

    `ask(text, is_secret)` gives an answer. An empty one takes the default; without one it is asked
    for again. Nothing is written unless all are answered. Raises: ConfigError if it cannot be.
    """
    answers = {item.metadata["env"]: _answer(item, ask) for item in items}
    try:
        descriptor = os.open(env_file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, PRIVATE)
        os.close(descriptor)
        env_file.chmod(PRIVATE)  # before there is something to read
        for name, answer in answers.items():
            set_key(env_file, name, answer)
    except OSError as error:
        raise ConfigError(
            f"{env_file.resolve()} cannot be written ({error}): make its folder writable, or start "
            f"from another one"
        ) from error
    return len(answers)


def _answer(item: Field[Any], ask: Ask) -> str:
    default = "" if item.default is MISSING else str(item.default)
    text = f"{item.metadata['help']} [{item.metadata['env']}]"
    question = f"{text} (default: {default})" if default else text
    fault = ""
    while True:
        answer = ask(f"{fault}{question}: ", item.type == "Secret").strip()
        if not answer:
            if item.default is not MISSING:
                return default
            continue
        try:
            _check(item, answer)
        except (ConfigError, ValueError) as error:
            fault = f"{error}\n"
        else:
            return answer


def _check(item: Field[Any], answer: str) -> None:
    """Raises: ConfigError or ValueError for an answer that would stop the node at its start."""
    value = convert(item, answer)
    if item.name == "netuid":
        require_netuid(value)
    elif item.name == "endpoint":
        endpoint = parse_address(answer.rstrip("/"))
        if endpoint.keys or endpoint.bucket:
            raise ConfigError(f"{shown(answer)} is not http(s)://<host>[:<port>] and nothing more")
    elif item.name == "bucket" and "/" in answer:
        raise ConfigError(f"{shown(answer)} is no bucket's name alone")
    elif item.name == "bucket":
        parse_address(f"https://host/{answer}")
