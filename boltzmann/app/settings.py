"""This machine's settings: flag > environment > .env > default, read once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from boltzmann.app.nodeconfig import NodeConfig, Secret
from boltzmann.errors import ConfigError

ENV_FILE = Path(".env")
_UNLISTED = ("crash_at", "baseline", "random")  # for tests, and gone: they need no line in --help
OF_LIBRARIES = frozenset({"HF_TOKEN", "HF_ENDPOINT", "WANDB_API_KEY", "WANDB_BASE_URL"})
KNOWN_NAMES = frozenset(item.metadata["env"] for item in fields(NodeConfig)) | OF_LIBRARIES
_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off", ""})


def read_settings(
    program: str,
    description: str,
    arguments: Sequence[str],
    environment: Mapping[str, str] = os.environ,
    env_file: Path = ENV_FILE,
) -> NodeConfig:
    """The settings of one process. Raises: ConfigError naming what is missing or malformed."""
    parser = argparse.ArgumentParser(program, description=description)
    add_node_options(parser)
    return settings_from(vars(parser.parse_args(arguments)), environment, env_file)


def settings_from(
    flags: Mapping[str, str | None],
    environment: Mapping[str, str] = os.environ,
    env_file: Path = ENV_FILE,
) -> NodeConfig:
    """The settings, from flags by field name. Raises: ConfigError naming all that is amiss."""
    values, faults = settled(flags, environment, env_file)
    if faults:
        raise ConfigError("; ".join(faults.values()))
    return NodeConfig(**values)


def settled(
    flags: Mapping[str, str | None],
    environment: Mapping[str, str] = os.environ,
    env_file: Path = ENV_FILE,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values, and what is missing or malformed, by field. Raises: ConfigError for `.env`."""
    stored = stored_settings(env_file)
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for item in fields(NodeConfig):
        name = item.metadata["env"]
        given = flags.get(item.name)
        text = given if given is not None else environment.get(name) or stored.get(name)
        if not text and item.default is MISSING:
            faults[item.name] = _missing(item, env_file)
        elif text is not None:
            try:
                values[item.name] = convert(item, text)
            except ConfigError as error:
                faults[item.name] = str(error)
    return values, faults


def chosen_setting(
    name: str,
    flag: str | None,
    environment: Mapping[str, str] = os.environ,
    env_file: Path = ENV_FILE,
) -> Any:
    """One setting by its field's name, for a command that needs no others. Raises: ConfigError."""
    (item,) = [item for item in fields(NodeConfig) if item.name == name]
    variable = item.metadata["env"]
    text = flag or environment.get(variable) or stored_settings(env_file).get(variable)
    if text:
        return convert(item, text)
    if item.default is MISSING:
        raise ConfigError(_missing(item, env_file))
    return item.default


def lend_to_libraries(env_file: Path = ENV_FILE) -> None:
    """Put what `.env` says for libraries, which read the environment alone, into it.

    What stands there already wins. To be called before those libraries are imported. Raises:
    ConfigError if `.env` cannot be read.
    """
    stored = stored_settings(env_file)
    for name in OF_LIBRARIES & stored.keys():
        if not os.environ.get(name):
            os.environ[name] = stored[name]


def stored_settings(env_file: Path) -> dict[str, str]:
    """What .env says, if there is one. Raises: ConfigError if it cannot be read."""
    try:
        values = dotenv_values(env_file) if env_file.exists() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{env_file.resolve()} cannot be read ({error}): it must be a text file in UTF-8"
        ) from error
    return {name: value for name, value in values.items() if value}


def add_node_options(parser: argparse.ArgumentParser) -> None:
    """Every setting that has a flag, with the name it has in the environment."""
    secrets = [item for item in fields(NodeConfig) if not item.metadata["flag"]]
    parser.epilog = (
        "Each option may also stand in the environment or in .env under the name in brackets; a "
        "flag wins over the environment, the environment over .env. Secrets stand there only: "
        + "; ".join(f"{s.metadata['env']}, the {s.metadata['help']}" for s in secrets)
    )
    for item in fields(NodeConfig):
        flag, default = item.metadata["flag"], item.default
        if item.name in _UNLISTED:
            if item.type == "bool":
                parser.add_argument(
                    flag, dest=item.name, help=argparse.SUPPRESS, action="store_const", const="1"
                )
            else:
                parser.add_argument(flag, dest=item.name, help=argparse.SUPPRESS)
            continue
        text = f"{item.metadata['help']} [{item.metadata['env']}]"
        if default is not MISSING and default not in ("", False, True):
            text += f" (default: {default})"
        if item.type == "bool":
            parser.add_argument(flag, dest=item.name, help=text, action="store_const", const="1")
        elif flag:
            parser.add_argument(flag, dest=item.name, help=text, metavar=_metavar(flag))


def _metavar(flag: str) -> str:
    return flag.lstrip("-").rpartition(".")[2].upper()


def convert(item: Field[Any], text: str) -> Any:
    """A setting's value from its text. Raises: ConfigError if the text cannot be one."""
    if item.type == "int":
        try:
            return int(text)
        except ValueError as error:
            raise ConfigError(f"{_names(item)} must be a whole number, got {text!r}") from error
    if item.type == "bool":
        if text.strip().lower() not in _YES | _NO:
            raise ConfigError(f"{_names(item)} must be 1 or 0, got {text!r}")
        return text.strip().lower() in _YES
    if not text.isprintable() or (item.type == "Secret" and not text.isascii()):
        # Such text ends up in an HTTP header, and the library that refuses it shows the whole line.
        raise ConfigError(
            f"{_names(item)} holds a line end or another sign that no such value has: write it "
            f"again, in a file without carriage returns"
        )
    return Secret(text) if item.type == "Secret" else text


def _missing(item: Field[Any], env_file: Path) -> str:
    return (
        f"{_names(item)} is not set ({item.metadata['help']}): give it, or write "
        f"{item.metadata['env']}=... into {env_file.resolve()}"
    )


def _names(item: Field[Any]) -> str:
    flag, env = item.metadata["flag"], item.metadata["env"]
    return f"{flag} or {env}" if flag else str(env)
