"""The scan for planted secrets finds each spelling, and nothing where there is nothing."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from urllib.parse import quote, quote_from_bytes

import pytest
from leak_kit import Leaks, canary, files, spellings

SECRET = canary("key")
SPELLED = {
    "plain": SECRET,
    "in JSON": json.dumps({"key": SECRET}),
    "in a repr": repr({"key": SECRET}),
    "hex": SECRET.encode().hex(),
    "HEX": SECRET.encode().hex().upper(),
    "URL-quoted": f"https://host/?key={quote(SECRET, safe='')}",
    "quoted in lower case": quote_from_bytes(SECRET.encode(), safe="").lower(),
    "basic authorization": base64.b64encode(f"api:{SECRET}".encode()).decode(),
}


@pytest.mark.parametrize("how", SPELLED)
def test_each_spelling_is_found(how: str, tmp_path: Path) -> None:
    leaks = Leaks({"the key": SECRET, "another": canary("other")})
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "log").write_bytes(b"\x00\xff" + SPELLED[how].encode() + b"\n")
    assert leaks.of(files(tmp_path)) == [f"the key in {folder / 'log'}"]
    assert leaks.of(files(tmp_path, but=[tmp_path / "deep"])) == []


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("after", range(4))
def test_base64_of_a_longer_text_is_found(before: int, after: int, encode: object) -> None:
    assert callable(encode)
    chance = random.Random(before * 8 + after)
    text = chance.randbytes(before) + SECRET.encode() + chance.randbytes(after)
    assert Leaks({"key": SECRET}).within(encode(text)) == {"key"}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_wide_text_is_found(encoding: str) -> None:
    assert Leaks({"key": SECRET}).within(b"\x01" + SECRET.encode(encoding)) == {"key"}


def test_the_target_of_a_link_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(f"/nowhere/{SECRET.replace('/', '-')}")
    leaks = Leaks({"key": SECRET.replace("/", "-")})
    assert leaks.of(files(tmp_path)) == [f"key in {tmp_path / 'link'}"]


def test_other_text_is_no_leak() -> None:
    chance = random.Random(1)
    other = chance.randbytes(1 << 20) + base64.b64encode(chance.randbytes(1 << 16))
    assert Leaks({"key": SECRET}).within(other + canary("key").encode()) == set()
    assert all(len(spelled) >= 12 for spelled in spellings("ab"))
