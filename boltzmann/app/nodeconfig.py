"""What one node needs to know about its machine and its owner's accounts."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from boltzmann.errors import ConfigError
from boltzmann.node.cheats import CHEATS
from boltzmann.node.stages import Crash
from boltzmann.protocol.readkeys import ReadKeys

_NETUID_MAX = 65_535


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


def require_netuid(netuid: int) -> None:
    """Raises: ConfigError if no subnet can have this number."""
    if not 0 <= netuid <= _NETUID_MAX:
        raise ConfigError(f"--netuid must be 0 to {_NETUID_MAX}, got {netuid}")


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
    public_url: str = _setting(
        "--s3.public_url",
        "S3_PUBLIC_URL",
        "where everybody reads the bucket, if that is not ENDPOINT/BUCKET",
        "",
    )
    read_key: str = _setting(
        "--s3.read_key_id",
        "S3_READ_KEY_ID",
        "key that may get objects of the bucket and do nothing else, if it is not public; it goes "
        "on chain",
        "",
    )
    read_secret: Secret = _setting(
        "", "S3_READ_SECRET", "secret of the read key; it goes on chain too", Secret("")
    )
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
    actual_batch_size: int = _setting(
        "--actual_batch_size",
        "ACTUAL_BATCH_SIZE",
        "sequences computed at a time: as many as memory takes",
        4,
    )
    compile: str = _setting(
        "--compile", "COMPILE", "on or off: torch.compile the layers; auto does on a GPU", "auto"
    )
    activation_checkpointing: bool = _setting(
        "--activation_checkpointing",
        "ACTIVATION_CHECKPOINTING",
        "compute activations again instead of keeping them: less memory, more time",
        False,
    )
    workdir: str = _setting(
        "--workdir", "WORKDIR", "folder of this node's state, journal and logs", ".boltzmann"
    )
    use_wandb: bool = _setting("--use_wandb", "USE_WANDB", "report to Weights & Biases", False)
    project: str = _setting("--project", "WANDB_PROJECT", "W&B project", "boltzmann")
    wandb_mode: str = _setting(
        "--wandb.mode", "WANDB_MODE", "online, or offline: written to the workdir only", "online"
    )
    debug: bool = _setting("--debug", "DEBUG", "show every event, not the notable ones only", False)
    trace: bool = _setting("--trace", "TRACE", "show every event as a line of JSON", False)
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
    remote: bool = _setting(
        "--remote",
        "REMOTE",
        "exchange with the other nodes' buckets: always on, kept for scripts of the first version",
        True,
    )
    baseline: bool = _setting(
        "--baseline", "BASELINE", "of the first version; replaced, and says by what", False
    )
    random: bool = _setting(
        "--random", "RANDOM_PAGES", "of the first version; replaced, and says by what", False
    )

    def __post_init__(self) -> None:
        require_netuid(self.netuid)
        if bool(self.read_key) != bool(self.read_secret.reveal()):
            raise ConfigError(
                "S3_READ_KEY_ID and S3_READ_SECRET belong together: set both for a bucket that is "
                "not public, or neither"
            )
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
        self._refuse_replaced()
        if self.actual_batch_size < 1:
            raise ConfigError(
                f"--actual_batch_size must be 1 or more, got {self.actual_batch_size}"
            )
        if self.compile not in ("auto", "on", "off"):
            raise ConfigError(f"--compile must be auto, on or off, got {self.compile}")
        Crash.parse(self.crash_at)
        if self.crash_at and not self.network.startswith("embedded:"):
            raise ConfigError("--crash_at is for embedded networks only: remove it")
        if self.adversary and not self.network.startswith("embedded:"):
            raise ConfigError("--adversary is for embedded networks only: remove it")

    def _refuse_replaced(self) -> None:
        if not self.remote:
            raise ConfigError(
                "--remote 0 is not possible: a node that exchanges nothing takes no part; to try "
                "things alone use `boltzmann local` or `boltzmann simulate`"
            )
        if self.baseline:
            raise ConfigError(
                "--baseline is gone: what a model learns alone, to compare with, `boltzmann "
                "simulate --peers 1` shows; leave it out here"
            )
        if self.random:
            raise ConfigError(
                "--random is gone: every miner's pages are drawn by the opening block, and work on "
                "others fails its audit; leave it out"
            )

    @property
    def read_keys(self) -> ReadKeys | None:
        """The keys that peers read the bucket with, None where it is public.

        Raises: ValueError if they cannot stand in a record on chain.
        """
        if not self.read_key:
            return None
        return ReadKeys(self.region, self.read_key, self.read_secret.reveal())

    @property
    def folder(self) -> Path:
        """Where this hotkey's files of this subnet lie."""
        return (
            Path(self.workdir).expanduser()
            / f"{self.netuid}-{self.wallet_name}-{self.wallet_hotkey}"
        )
