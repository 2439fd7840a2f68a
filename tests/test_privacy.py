"""What is taken out of messages, and what is left out of other programs' environments."""

from __future__ import annotations

import pytest

from boltzmann.errors import BoltzmannError, ChainRefused, ConfigError
from boltzmann.privacy import public_environment, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wss://rpc.example:443/?apikey=abc: no answer", "wss://rpc.example:443/?*** no answer"),
        ("wss://rpc.example/v1/0a1b2c", "wss://rpc.example/***"),
        ("WSS://rpc.example/0a1b2c?x=1", "WSS://rpc.example/***?***"),
        ("wss://rpc.example/: no answer", "wss://rpc.example/: no answer"),
        ("ws://127.0.0.1:9944: no answer", "ws://127.0.0.1:9944: no answer"),
        ("'https://user:pa'ss@s3.example/b' is not", "'https://***@s3.example/b' is not"),
        ("https://a:b@c@s3.example", "https://***@s3.example"),
        ("a https://h/b?X-Amz-Signature=1#2 and", "a https://h/b?*** and"),
        ("s3://bucket/prefix?endpoint=http://u:p@h:9", "s3://bucket/prefix?***"),
        ("hf://datasets/o/n@abc/x", "hf://datasets/o/n@abc/x"),
        ("see http://h/p#key", "see http://h/p#***"),
        ("mail somebody@example.org, or a://b", "mail somebody@example.org, or a://b"),
        ("add ?region=eu-1 to bucket 'b' at https://s3.example", None),
        ("no address at all: 1//2", None),
    ],
)
def test_what_may_hold_a_key_is_left_out_of_addresses(text: str, expected: str | None) -> None:
    assert shown(text) == (text if expected is None else expected)


@pytest.mark.parametrize("piece", ["a", "a.", "a://", "a://b@", "a@", "://", "?", "ws://a/"])
def test_long_text_takes_no_longer_than_it_is(piece: str) -> None:
    """A peer chooses some of it: with a search that tries again from each sign this takes hours."""
    text = piece * (1_000_000 // len(piece))
    assert len(shown(text)) <= 2 * len(text)


def test_no_error_of_ours_shows_it() -> None:
    address = "wss://u:canary@h/canary?k=canary"
    for error in (BoltzmannError(address), ConfigError(address), ChainRefused("Name", address)):
        assert "canary" not in f"{error} {error!r} {error.args}"
        assert "wss://***@h/***?***" in str(error)


def test_other_programs_get_no_secrets() -> None:
    harmless = {
        "PATH": "/bin",
        "HOME": "/",
        "HF_HOME": "/h",
        "AWS_CA_BUNDLE": "/c",
        "TOKENIZERS_PARALLELISM": "0",
        "WANDB_BASE_URL": "http://h",
    }
    secret = (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN"),
        *("HUGGING_FACE_HUB_TOKEN", "BT_WALLET_PASSWORD", "BT_PW_HOME_KEYS", "some_api_key"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "PGPASSFILE", "MNEMONIC"),
    )
    both = {**harmless, **dict.fromkeys(secret, "canary"), "WANDB_API_KEY": "w"}
    assert public_environment(both) == harmless
    assert public_environment(both, needs="WANDB_") == {**harmless, "WANDB_API_KEY": "w"}
