"""The first start: what is missing is asked for once, kept private, and read by the node."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from boltzmann.app.firsttime import ask_for, missing_settings
from boltzmann.app.settings import settings_from
from boltzmann.cli.main import main
from boltzmann.errors import ConfigError

ANSWERS = {
    "NETUID": "220",
    "BUCKET": "mine",
    "S3_ENDPOINT_URL": "http://127.0.0.1:9000",
    "AWS_ACCESS_KEY_ID": "AKIA/with 'quotes' and = signs # too",
    "AWS_SECRET_ACCESS_KEY": 'a"secret\\key $HOME',
    "BT_WALLET_NAME": "",
    "BT_WALLET_HOTKEY": "second",
    "SUBTENSOR_NETWORK": "",
}


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


class Person:
    """Answers every question by the variable's name in it; first with nothing, where one must."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    def __call__(self, text: str, is_secret: bool) -> str:
        name = text.partition("[")[2].partition("]")[0]
        again = name in [known for known, _ in self.asked]
        self.asked.append((name, is_secret))
        return ANSWERS[name] if again or "default" in text else "  "


def names(env_file: Path, **flags: str) -> list[str]:
    return [item.metadata["env"] for item in missing_settings(flags, {}, env_file)]


def test_what_is_asked_for_is_what_the_node_reads(env_file: Path) -> None:
    person = Person()
    assert ask_for(missing_settings({}, {}, env_file), person, env_file) == len(ANSWERS)
    assert {name for name, _ in person.asked} == set(ANSWERS)
    assert {name for name, secret in person.asked if secret} == {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }
    found = settings_from({}, {}, env_file)
    assert (found.netuid, found.bucket, found.wallet_name) == (220, "mine", "default")
    assert (found.wallet_hotkey, found.network) == ("second", "finney")
    assert names(env_file) == [], "nobody is asked twice"
    assert found.access_key.reveal() == ANSWERS["AWS_ACCESS_KEY_ID"]
    assert found.secret_key.reveal() == ANSWERS["AWS_SECRET_ACCESS_KEY"]


@pytest.mark.parametrize(
    ("name", "answer", "why"),
    [
        ("NETUID", "two", "must be a whole number"),
        ("NETUID", "70000", "must be 0 to 65535"),
        ("BUCKET", "My Bucket", "not an S3 bucket name"),
        ("BUCKET", "s3://mine", "no bucket's name alone"),
        ("S3_ENDPOINT_URL", "s3.example.com", "is not http(s)://"),
        ("S3_ENDPOINT_URL", "https://key:hidden@s3.example.com", "read keys"),
        ("S3_ENDPOINT_URL", "https://auto:key:hidden@s3.example.com", "and nothing more"),
        ("S3_ENDPOINT_URL", "https://s3.example.com/bucket", "and nothing more"),
        ("AWS_SECRET_ACCESS_KEY", "hid\rden", "carriage returns"),
    ],
)
def test_an_answer_that_cannot_be_is_asked_for_again(
    env_file: Path, name: str, answer: str, why: str
) -> None:
    person, first = Person(), [answer]
    told = []

    def ask(text: str, is_secret: bool) -> str:
        if f"[{name}]" not in text:
            return person(text, is_secret)
        told.append(text)
        return first.pop() if first else ANSWERS[name]

    ask_for(missing_settings({}, {}, env_file), ask, env_file)
    assert len(told) == 2
    assert why in told[1] and "hidden" not in told[1] and "hid\r" not in told[1]
    assert settings_from({}, {}, env_file).netuid == 220


def test_only_this_user_can_read_it(env_file: Path) -> None:
    env_file.write_text("DEVICE=cpu\n")
    env_file.chmod(0o644)
    ask_for(missing_settings({}, {}, env_file), Person(), env_file)
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    assert settings_from({}, {}, env_file).device == "cpu", "what stood there stays"


def test_what_stands_somewhere_is_not_asked_for(env_file: Path) -> None:
    env_file.write_text("BUCKET=mine\n")
    left = names(env_file, netuid="7", wallet_name="w")
    assert "BUCKET" not in left and "NETUID" not in left and "BT_WALLET_NAME" not in left
    assert "S3_ENDPOINT_URL" in left
    by_environment = missing_settings({}, dict.fromkeys(ANSWERS, "x"), env_file)
    assert by_environment == ()


def test_who_breaks_off_leaves_nothing_behind(env_file: Path) -> None:
    def leave(text: str, is_secret: bool) -> str:
        raise ConfigError("broken off")

    with pytest.raises(ConfigError):
        ask_for(missing_settings({}, {}, env_file), leave, env_file)
    assert not env_file.exists()


def test_a_folder_that_takes_no_file_is_an_error(tmp_path: Path) -> None:
    env_file = tmp_path / "not-there" / ".env"
    with pytest.raises(ConfigError, match="cannot be written"):
        ask_for(missing_settings({}, {}, env_file), Person(), env_file)


def test_with_nobody_to_ask_the_command_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ANSWERS:
        monkeypatch.delenv(name, raising=False)
    assert main(["setup", "--netuid", "7"]) == 1
    said = capsys.readouterr().err
    assert "BUCKET" in said and "NETUID" not in said and ".env.example" in said


def test_what_is_set_but_cannot_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ANSWERS:
        monkeypatch.setenv(name, ANSWERS[name] or "default")
    monkeypatch.setenv("NETUID", "abc")
    assert main(["setup"]) == 1
    assert "NETUID must be a whole number, got 'abc'" in capsys.readouterr().err
    monkeypatch.setenv("NETUID", "7")
    assert main(["setup"]) == 0
    assert capsys.readouterr().out == "everything is set\n"
