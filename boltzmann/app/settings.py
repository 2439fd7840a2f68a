"""This machine's settings: flag > environment > .env > default, read once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from boltzmann.errors import ConfigError
from boltzmann.node.cheats import CHEATS
from boltzmann.node.stages import Crash

ENV_FILE = Path(".env")
_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off", ""})


class Secret:
    """Text that shows as stars; `reveal` gives it. No `str`, so that JSON and `+` refuse it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """The text itself."""
        return self._text


def _setting(flag: str, env: str, help: str, default: Any = MISSING) -> Any:
    metadata = {"flag": flag, "env": env, "help": help}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class NodeConfig:
    """What one node needs to know about its machine and its owner's accounts.

    Secrets have no flag: process lists show flags to everybody.
    """

    netuid: int = _setting("--netuid", "NETUID", "subnet to take part in")
    bucket: str = _setting("--bucket", "BUCKET", "name of this hotkey's own S3 bucket")
    endpoint: str = _setting(
        "--s3.endpoint_url", "S3_ENDPOINT_URL", "URL of the S3 service that holds the bucket"
    )
    access_key: Secret = _setting("", "AWS_ACCESS_KEY_ID", "key that may write to the bucket")
    secret_key: Secret = _setting("", "AWS_SECRET_ACCESS_KEY", "secret of that key")
    region: str = _setting("--s3.region", "AWS_REGION", "region of the bucket", "us-east-1")
    wallet_name: str = _setting("--wallet.name", "BT_WALLET_NAME", "wallet (coldkey)", "default")
    wallet_hotkey: str = _setting("--wallet.hotkey", "BT_WALLET_HOTKEY", "its hotkey", "default")
    wallet_path: str = _setting(
        "--wallet.path", "BT_WALLET_PATH", "folder of the wallets", "~/.bittensor/wallets"
    )
    network: str = _setting(
        "--subtensor.network",
        "SUBTENSOR_NETWORK",
        "finney, test, a ws:// endpoint, or embedded:FILE",
        "finney",
    )
    run_hash: str = _setting(
        "--run.hash", "RUN_HASH", "refuse any run whose config has another sha256", ""
    )
    data_source: str = _setting(
        "--data.source",
        "DATA_SOURCE",
        "read the run's data from this copy of it: parquet:, https://, s3:// or hf://, as in docs/"
        "data.md",
        "",
    )
    device: str = _setting("--device", "DEVICE", "cpu, cuda or cuda:N; auto takes a GPU", "auto")
    workdir: str = _setting(
        "--workdir", "WORKDIR", "folder of this node's state, journal and logs", ".boltzmann"
    )
    use_wandb: bool = _setting("--use_wandb", "USE_WANDB", "report to Weights & Biases", False)
    project: str = _setting("--project", "WANDB_PROJECT", "W&B project", "boltzmann")
    wandb_mode: str = _setting(
        "--wandb.mode", "WANDB_MODE", "online, or offline: written to the workdir only", "online"
    )
    adversary: str = _setting(
        "--adversary",
        "ADVERSARY",
        "cheat on purpose: random, copy, half or idle; embedded networks only",
        "",
    )

    crash_at: str = _setting(
        "--crash_at",
        "CRASH_AT",
        "for tests: end as by a power cut, e.g. before:seal:3; embedded networks only",
        "",
    )
    sync_state: bool = _setting(
        "--sync_state",
        "SYNC_STATE",
        "catch up from the newest checkpoint and the updates since: always on, kept for scripts "
        "of the first version",
        True,
    )

    def __post_init__(self) -> None:
        if self.netuid < 0:
            raise ConfigError(f"--netuid must not be negative, got {self.netuid}")
        if self.wandb_mode not in ("online", "offline", "disabled"):
            raise ConfigError(
                f"--wandb.mode must be online, offline or disabled, got {self.wandb_mode}"
            )
        if self.adversary and self.adversary not in CHEATS:
            raise ConfigError(
                f"--adversary {self.adversary} is unknown: use one of {', '.join(CHEATS)}"
            )
        if not self.sync_state:
            raise ConfigError(
                "--sync_state 0 is not possible: a node that holds another model than the others "
                "can neither earn nor judge; leave it out"
            )
        Crash.parse(self.crash_at)
        if self.crash_at and not self.network.startswith("embedded:"):
            raise ConfigError("--crash_at is for embedded networks only: remove it")
        if self.adversary and not self.network.startswith("embedded:"):
            raise ConfigError("--adversary is for embedded networks only: remove it")

    @property
    def folder(self) -> Path:
        """Where this hotkey's files of this subnet lie."""
        return (
            Path(self.workdir).expanduser()
            / f"{self.netuid}-{self.wallet_name}-{self.wallet_hotkey}"
        )


def read_settings(
    program: str,
    description: str,
    arguments: Sequence[str],
    environment: Mapping[str, str] = os.environ,
    env_file: Path = ENV_FILE,
) -> NodeConfig:
    """The settings of one process. Raises: ConfigError naming what is missing or malformed."""
    flags = vars(_parser(program, description).parse_args(arguments))
    stored = _stored(env_file)
    values: dict[str, Any] = {}
    for item in fields(NodeConfig):
        name = item.metadata["env"]
        given = flags.get(item.name)
        text = given if given is not None else environment.get(name) or stored.get(name)
        if not text and item.default is MISSING:
            raise ConfigError(_missing(item, env_file))
        if text is not None:
            values[item.name] = _convert(item, text)
    return NodeConfig(**values)


def _stored(env_file: Path) -> dict[str, str]:
    """What .env says, if there is one. Raises: ConfigError if it cannot be read."""
    try:
        values = dotenv_values(env_file) if env_file.exists() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{env_file.resolve()} cannot be read ({error}): it must be a text file in UTF-8"
        ) from error
    return {name: value for name, value in values.items() if value}


def _parser(program: str, description: str) -> argparse.ArgumentParser:
    secrets = [item for item in fields(NodeConfig) if not item.metadata["flag"]]
    parser = argparse.ArgumentParser(
        program,
        description=description,
        epilog="Each option may also stand in the environment or in .env under the name in "
        "brackets; a flag wins over the environment, the environment over .env. Secrets stand "
        "there only: "
        + "; ".join(f"{s.metadata['env']}, the {s.metadata['help']}" for s in secrets),
    )
    for item in fields(NodeConfig):
        flag, default = item.metadata["flag"], item.default
        text = f"{item.metadata['help']} [{item.metadata['env']}]"
        if default is not MISSING and default not in ("", False, True):
            text += f" (default: {default})"
        if item.type == "bool":
            parser.add_argument(flag, dest=item.name, help=text, action="store_const", const="1")
        elif flag:
            parser.add_argument(flag, dest=item.name, help=text, metavar=_metavar(flag))
    return parser


def _metavar(flag: str) -> str:
    return flag.lstrip("-").rpartition(".")[2].upper()


def _convert(item: Field[Any], text: str) -> Any:
    if item.type == "int":
        try:
            return int(text)
        except ValueError as error:
            raise ConfigError(f"{_names(item)} must be a whole number, got {text!r}") from error
    if item.type == "bool":
        if text.strip().lower() not in _YES | _NO:
            raise ConfigError(f"{_names(item)} must be 1 or 0, got {text!r}")
        return text.strip().lower() in _YES
    return Secret(text) if item.type == "Secret" else text


def _missing(item: Field[Any], env_file: Path) -> str:
    return (
        f"{_names(item)} is not set ({item.metadata['help']}): give it, or write "
        f"{item.metadata['env']}=... into {env_file.resolve()}"
    )


def _names(item: Field[Any]) -> str:
    flag, env = item.metadata["flag"], item.metadata["env"]
    return f"{flag} or {env}" if flag else str(env)
