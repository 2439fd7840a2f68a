"""This machine's settings: where they come from, what is missing, and what never shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from boltzmann.app.nodeconfig import NodeConfig, Secret
from boltzmann.app.settings import (
    OF_LIBRARIES,
    chosen_setting,
    lend_to_libraries,
    read_settings,
    settings_from,
)
from boltzmann.errors import ConfigError

ACCESS, SECRET = "AKIA-the-access-key", "the/secret+key"
ENVIRONMENT = {
    "NETUID": "220",
    "BUCKET": "mine",
    "S3_ENDPOINT_URL": "http://127.0.0.1:9000",
    "AWS_ACCESS_KEY_ID": ACCESS,
    "AWS_SECRET_ACCESS_KEY": SECRET,
}
FLAGS = [item for item in fields(NodeConfig) if item.metadata["flag"]]


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def read(env_file: Path, *arguments: str, environment: dict[str, str] | None = None) -> NodeConfig:
    given = ENVIRONMENT if environment is None else environment
    return read_settings("miner.py", "Mine.", arguments, given, env_file)


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(env_file: Path) -> None:
    assert read(env_file).wallet_name == "default"
    env_file.write_text("BT_WALLET_NAME=from-file\n")
    assert read(env_file).wallet_name == "from-file"
    both = {**ENVIRONMENT, "BT_WALLET_NAME": "from-environment"}
    assert read(env_file, environment=both).wallet_name == "from-environment"
    flagged = read(env_file, "--wallet.name", "from-flag", environment=both)
    assert flagged.wallet_name == "from-flag"


def test_an_empty_variable_counts_as_absent(env_file: Path) -> None:
    env_file.write_text("BT_WALLET_NAME=from-file\nBT_WALLET_HOTKEY=\n")
    settings = read(env_file, environment={**ENVIRONMENT, "BT_WALLET_NAME": ""})
    assert (settings.wallet_name, settings.wallet_hotkey) == ("from-file", "default")


def test_everything_may_stand_in_the_file(env_file: Path) -> None:
    env_file.write_text("".join(f"{name}={value}\n" for name, value in ENVIRONMENT.items()))
    settings = read(env_file, environment={})
    assert (settings.netuid, settings.bucket) == (220, "mine")
    assert (settings.access_key.reveal(), settings.secret_key.reveal()) == (ACCESS, SECRET)


def test_every_option_may_be_a_flag_or_a_variable(env_file: Path) -> None:
    for item in FLAGS:
        flag, variable = item.metadata["flag"], item.metadata["env"]
        special = {"netuid": "7", "wandb_mode": "offline", "network": "embedded:x"}
        special |= {"crash_at": "before:seal:3", "actual_batch_size": "9", "compile": "off"}
        value = {**special, "adversary": "half"}.get(item.name, "text")
        by_flag = {**ENVIRONMENT, "SUBTENSOR_NETWORK": "embedded:y"}
        if item.name == "read_key":
            by_flag["S3_READ_SECRET"] = "its-secret"
        by_variable = {**by_flag, variable: value}
        arguments = [flag, value]
        if item.name in ("sync_state", "remote", "baseline", "random"):  # see below
            continue
        if item.type == "bool":
            by_variable[variable] = "1"
            arguments = [flag]
        found = read(env_file, *arguments, environment=by_flag)
        assert found.netuid == read(env_file, environment=by_variable).netuid
        assert getattr(found, item.name) == getattr(
            read(env_file, environment=by_variable), item.name
        )
        default = read(env_file, environment={**ENVIRONMENT, "SUBTENSOR_NETWORK": "embedded:y"})
        assert getattr(found, item.name) != getattr(default, item.name), item.name


def test_read_keys_come_in_pairs_and_go_on_chain(env_file: Path) -> None:
    assert read(env_file).read_keys is None
    pair = {**ENVIRONMENT, "S3_READ_KEY_ID": "reader", "S3_READ_SECRET": "public"}
    keys = read(env_file, "--s3.region", "auto", environment=pair).read_keys
    assert keys is not None
    assert keys.word() == "auto:reader:public"
    for name in ("S3_READ_KEY_ID", "S3_READ_SECRET"):
        with pytest.raises(ConfigError, match="belong together"):
            read(env_file, environment={**pair, name: ""})


def test_a_node_always_catches_up(env_file: Path) -> None:
    """The first version had a flag for it."""
    assert read(env_file, "--sync_state", environment=ENVIRONMENT).sync_state
    assert read(env_file, environment=ENVIRONMENT).sync_state
    with pytest.raises(ConfigError, match=r"--sync_state 0 is not possible"):
        read(env_file, environment={**ENVIRONMENT, "SYNC_STATE": "0"})


def test_options_of_the_first_version_work_or_say_what_replaced_them(env_file: Path) -> None:
    assert read(env_file, "--remote").remote
    assert read(env_file).remote
    with pytest.raises(ConfigError, match=r"--remote 0 .* `boltzmann simulate`"):
        read(env_file, environment={**ENVIRONMENT, "REMOTE": "0"})
    with pytest.raises(ConfigError, match=r"--baseline is gone: .* `boltzmann simulate --peers 1`"):
        read(env_file, "--baseline")
    with pytest.raises(ConfigError, match=r"--random is gone: every miner's pages are drawn"):
        read(env_file, "--random")
    shown = read(env_file, "--debug", "--trace", "--use_wandb", "--project", "mine")
    assert (shown.debug, shown.trace, shown.use_wandb, shown.project) == (True, True, True, "mine")


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--actual_batch_size", "0", "must be 1 or more, got 0"),
        ("--actual_batch_size", "many", "--actual_batch_size or ACTUAL_BATCH_SIZE must be a whole"),
        ("--compile", "yes", "must be auto, on or off, got yes"),
    ],
)
def test_how_to_compute_is_checked(env_file: Path, flag: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(env_file, flag, value)


def test_one_setting_may_be_asked_for_alone(env_file: Path) -> None:
    env_file.write_text("NETUID=7\n")
    assert chosen_setting("netuid", None, {}, env_file) == 7
    assert chosen_setting("netuid", None, {"NETUID": "8"}, env_file) == 8
    assert chosen_setting("netuid", "9", {"NETUID": "8"}, env_file) == 9
    assert chosen_setting("network", None, {}, env_file) == "finney"
    env_file.write_text("")
    with pytest.raises(ConfigError, match="--netuid or NETUID is not set"):
        chosen_setting("netuid", None, {}, env_file)


def test_the_example_file_names_every_variable() -> None:
    example = (Path(__file__).parents[1] / ".env.example").read_text()
    told = {line.partition("=")[0] for line in example.splitlines() if line[:1].isupper()}
    hidden = {"ADVERSARY", "CRASH_AT", "SYNC_STATE", "REMOTE", "BASELINE", "RANDOM_PAGES"}
    known = {item.metadata["env"] for item in fields(NodeConfig)}
    assert known - hidden <= told <= known | OF_LIBRARIES


@pytest.mark.parametrize(
    ("moment", "said"),
    [("seal", "malformed"), ("before:lunch:3", "malformed"), ("during:seal:3", "malformed")],
)
def test_a_crash_needs_a_named_moment(env_file: Path, moment: str, said: str) -> None:
    on_test = {**ENVIRONMENT, "SUBTENSOR_NETWORK": "embedded:x", "CRASH_AT": moment}
    with pytest.raises(ConfigError, match=said):
        read(env_file, environment=on_test)


def test_crashes_are_for_embedded_networks(env_file: Path) -> None:
    with pytest.raises(ConfigError, match="--crash_at is for embedded networks only"):
        read(env_file, environment={**ENVIRONMENT, "CRASH_AT": "before:seal:3"})


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_what_is_missing_is_named_by_flag_variable_and_file(env_file: Path, name: str) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name}
    with pytest.raises(ConfigError) as caught:
        read(env_file, environment=environment)
    said = str(caught.value)
    (flag,) = [item.metadata["flag"] for item in fields(NodeConfig) if item.metadata["env"] == name]
    assert said.startswith(f"{flag} or {name} is not set" if flag else f"{name} is not set")
    assert f"{name}=... into {env_file.resolve()}" in said
    assert "\n" not in said


def test_an_empty_flag_gives_nothing(env_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"--bucket or BUCKET is not set"):
        read(env_file, "--bucket", "")
    with_hash = {**ENVIRONMENT, "RUN_HASH": "ab"}
    assert read(env_file, "--run.hash", "", environment=with_hash).run_hash == ""


@pytest.mark.parametrize("value", ["two", "1.5", "0x10"])
def test_a_netuid_that_is_no_number_is_refused(env_file: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"--netuid or NETUID must be a whole number"):
        read(env_file, "--netuid", value)


def test_a_negative_netuid_is_refused(env_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"--netuid must be 0 to 65535, got -1"):
        read(env_file, environment={**ENVIRONMENT, "NETUID": "-1"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("1", "TRUE", " yes ", "on")),
        *((text, False) for text in ("0", "false", "No", "off")),
    ],
)
def test_yes_and_no_have_their_usual_spellings(env_file: Path, text: str, value: bool) -> None:
    assert read(env_file, environment={**ENVIRONMENT, "USE_WANDB": text}).use_wandb is value


def test_another_spelling_of_yes_is_refused(env_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"--use_wandb or USE_WANDB must be 1 or 0, got 'ja'"):
        read(env_file, environment={**ENVIRONMENT, "USE_WANDB": "ja"})


def test_an_unknown_mode_is_refused(env_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"--wandb\.mode must be online, offline or disabled"):
        read(env_file, "--wandb.mode", "sometimes")


@pytest.mark.parametrize("network", ["finney", "test", "ws://127.0.0.1:9944", "archive"])
def test_nobody_cheats_on_a_real_network(env_file: Path, network: str) -> None:
    with pytest.raises(ConfigError, match="--adversary is for embedded networks only"):
        read(env_file, "--adversary", "random", "--subtensor.network", network)
    on_purpose = read(env_file, "--adversary", "random", "--subtensor.network", "embedded:chain")
    assert on_purpose.adversary == "random"


@pytest.mark.parametrize("data", [b"NETUID=\xff\xfe220", b"\xff\xfeN\x00"])
def test_a_file_that_is_no_text_is_named(env_file: Path, data: bytes) -> None:
    env_file.write_bytes(data)
    with pytest.raises(ConfigError, match=r"\.env cannot be read .* text file in UTF-8"):
        read(env_file)


def test_each_hotkey_and_subnet_has_a_folder_of_its_own(env_file: Path) -> None:
    folders = {
        read(env_file, "--workdir", "work", *arguments).folder
        for arguments in (
            (),
            ("--netuid", "221"),
            ("--wallet.name", "other"),
            ("--wallet.hotkey", "other"),
        )
    }
    assert len(folders) == 4
    assert {folder.parent for folder in folders} == {Path("work")}


def test_the_users_home_is_meant_by_a_tilde(env_file: Path) -> None:
    env_file.write_text("WORKDIR=~/boltzmann\n")
    assert read(env_file).folder.parent == Path.home() / "boltzmann"


def test_an_unknown_flag_is_bad_usage(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read(env_file, "--secret_key", SECRET)
    assert caught.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


def test_help_names_every_option_and_its_variable(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        read(env_file, "--help")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    options = [" ".join(part.split()) for part in shown.split("\n  -")]
    unlisted = ("crash_at", "baseline", "random")  # for tests, and gone
    for item in FLAGS:
        if item.name in unlisted:
            assert item.metadata["flag"] not in shown
            continue
        (text,) = [part for part in options if part.startswith(f"{item.metadata['flag'][1:]} ")]
        assert f"[{item.metadata['env']}]" in text
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert name in shown


# Secrets


def test_secrets_never_show(env_file: Path) -> None:
    settings = read(env_file)
    shown = [
        repr(settings),
        str(settings),
        f"{settings}",
        repr(asdict(settings)),
        f"{settings.secret_key}",
        f"{settings.secret_key!s:>40}",
        f"{settings.access_key!r}",
        "%s %r" % (settings.secret_key, settings.access_key),  # noqa: UP031
        str([settings.secret_key]),
        str(vars(settings)),
    ]
    for text in shown:
        assert "***" in text
        assert ACCESS not in text
        assert SECRET not in text
    assert settings.secret_key.reveal() == SECRET


def test_secrets_cannot_be_written_by_mistake() -> None:
    secret = Secret(SECRET)
    assert not isinstance(secret, str)
    with pytest.raises(TypeError):
        json.dumps({"key": secret})
    assert SECRET not in json.dumps({"key": secret}, default=str)


def test_secrets_are_not_in_what_an_error_shows(env_file: Path) -> None:
    try:
        read(env_file, "--netuid", "x")
    except ConfigError as error:
        shown = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=False).format()
        )
    assert SECRET not in shown
    settings = read(env_file)
    try:
        raise ValueError(settings)
    except ValueError as error:
        shown = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert "***" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"])
@pytest.mark.parametrize("end", ["\r", "\n", "\x00", "\x7f"])
def test_signs_that_no_header_takes_are_refused_unseen(env_file: Path, name: str, end: str) -> None:
    """http.client would refuse them later, and show the header with the key in it."""
    with pytest.raises(ConfigError, match=f"{name} holds a line end") as raised:
        settings_from({}, {name: f"the-canary{end}"}, env_file)
    assert "canary" not in str(raised.value)


def test_a_key_of_other_letters_is_refused_unseen(env_file: Path) -> None:
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID holds") as raised:
        settings_from({}, {"AWS_ACCESS_KEY_ID": "the-canary\u2019"}, env_file)
    assert "canary" not in str(raised.value)


def test_what_the_env_file_says_for_libraries_reaches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://of-the-environment")
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    names = (
        "HF_TOKEN=token\nHF_ENDPOINT=http://of-the-file\nWANDB_API_KEY=\nAWS_ACCESS_KEY_ID=key\n"
    )
    (tmp_path / ".env").write_text(names)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    lend_to_libraries(tmp_path / ".env")
    assert os.environ["HF_TOKEN"] == "token"
    assert os.environ["HF_ENDPOINT"] == "http://of-the-environment"
    assert not {"WANDB_API_KEY", "AWS_ACCESS_KEY_ID"} & os.environ.keys()
    code = "import huggingface_hub; print(huggingface_hub.get_token())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "token\n"
