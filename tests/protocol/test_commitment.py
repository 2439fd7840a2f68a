"""Commitments: pinned fields, round trips within the chain's limits, garbage refused quietly."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltzmann.protocol.commitment import Commitment, Role, decode
from boltzmann.protocol.readkeys import ReadKeys, parted

A, B = "a1" * 32, "b2" * 32
BUCKET = "https://account.r2.example.com/bucket"
GOLDEN: dict[str, tuple[Commitment, tuple[bytes, ...]]] = {
    "miner": (
        Commitment(Role.MINER, "run-1", BUCKET),
        (b"1m run-1 https://account.r2.example.com/bucket",),
    ),
    "validator": (
        Commitment(Role.VALIDATOR, "run-1", BUCKET, manifest=(42, A)),
        (
            b"1v run-1 https://account.r2.example.com/bucket"
            b" m42:oaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaE",
        ),
    ),
    "owner": (
        Commitment(Role.OWNER, "run-1", BUCKET, manifest=(42, A), config=B),
        (
            b"1o run-1 https://account.r2.example.com/bucket"
            b" m42:oaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaE",
            b"csrKysrKysrKysrKysrKysrKysrKysrKysrKysrKysrI",
        ),
    ),
    "miner with a private bucket": (
        Commitment(Role.MINER, "run-1", "https://auto:KEY1:a%2Fb%2Bc%3D@h.example.com/bucket"),
        (b"1m run-1 https://h.example.com/bucket kauto:KEY1:a/b+c=",),
    ),
    "validator with the longest keys": (
        Commitment(
            Role.VALIDATOR,
            "run-1",
            f"https://auto:{'1' * 32}:{'2' * 64}@{'a' * 32}.r2.cloudflarestorage.com/my-own-bucket",
            manifest=(42, A),
        ),
        (
            b"1v run-1 https://" + b"a" * 32 + b".r2.cloudflarestorage.com/my-own-bucket",
            b"m42:oaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaE",
            b"kauto:" + b"1" * 32 + b":" + b"2" * 64,
        ),
    ),
}

DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
RUNS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", fullmatch=True)
PUBLIC = st.from_regex(r"https?://[!-?A-~]{1,100}", fullmatch=True)
KEYS = st.builds(
    ReadKeys,
    st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True),
    st.from_regex(r"[!-9;-~]{1,40}", fullmatch=True),
)
SHORT = st.from_regex(r"https?://[!-?A-~]{1,40}", fullmatch=True)
BUCKETS = PUBLIC | st.builds(ReadKeys.within, KEYS, SHORT)
COMMITMENTS = st.builds(
    Commitment,
    st.sampled_from(Role),
    RUNS,
    BUCKETS,
    st.none() | st.tuples(st.integers(0, 10**15 - 1), DIGESTS),
    st.none() | DIGESTS,
)


@pytest.mark.parametrize("role", GOLDEN)
def test_fields_are_pinned(role: str) -> None:
    commitment, fields = GOLDEN[role]
    assert commitment.encode() == fields
    assert decode(fields) == commitment


def test_a_pinned_digest_is_unpadded_base64() -> None:
    assert base64.urlsafe_b64encode(bytes.fromhex(A)) == (
        b"oaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaE="
    )


@given(commitment=COMMITMENTS)
def test_every_record_fits_and_comes_back(commitment: Commitment) -> None:
    fields = commitment.encode()
    assert 1 <= len(fields) <= 3
    assert all(1 <= len(field) <= 128 for field in fields)
    assert decode(fields) == commitment


@pytest.mark.parametrize("more", range(55, 68))
def test_fields_are_filled_up_to_the_chains_limit(more: int) -> None:
    """A field of 128 bytes is allowed, one of 129 is not: the last word moves on."""
    commitment = Commitment(Role.VALIDATOR, "run-1", "https://h/" + "b" * more, manifest=(42, A))
    whole = len("1v run-1 https://h/ m42:") + more + 43
    assert [len(field) for field in commitment.encode()] == (
        [whole] if whole <= 128 else [whole - 48, 47]
    )


@given(fields=st.lists(st.binary(max_size=128), max_size=4))
def test_garbage_is_no_record(fields: list[bytes]) -> None:
    assert decode(fields) is None


@given(text=st.lists(st.text(" 1mvock:/-_.htpsAZaz09", max_size=60), min_size=1, max_size=3))
def test_near_garbage_never_raises(text: list[str]) -> None:
    found = decode([b"1m run http://x", *(part.encode() for part in text)])
    if found is not None:
        assert decode(found.encode()) == found


@given(commitment=COMMITMENTS, place=st.integers(0, 300), byte=st.integers(0, 255))
def test_a_changed_byte_never_raises_nor_means_the_same(
    commitment: Commitment, place: int, byte: int
) -> None:
    fields = [bytearray(field) for field in commitment.encode()]
    field = fields[place % len(fields)]
    at = place % len(field)
    changed = field[at] != byte
    field[at] = byte
    assert (decode([bytes(field) for field in fields]) == commitment) is not changed


GOOD = "1v run-1 https://h/b m42:oaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaE"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1v",
        "1v run-1",
        GOOD.replace("1v", "2v"),
        GOOD.replace("1v", "1x"),
        GOOD.replace("1v", "1mv"),
        GOOD.replace(" run-1", "  run-1"),
        GOOD.replace("run-1", "-run"),
        GOOD.replace("run-1", "r" * 33),
        GOOD.replace("run-1", "run/1"),
        GOOD.replace("run-1", "../x"),
        GOOD.replace("https", "ftp"),
        GOOD.replace("https://h/b", "https://"),
        GOOD.replace("https://h/b", "https://" + "h" * 101),
        GOOD.replace("https://h/b", "https://h\tb"),
        GOOD.replace("m42:", "m:"),
        GOOD.replace("m42:", "m-1:"),
        GOOD.replace("m42:", "m4_2:"),
        GOOD.replace("m42:", "m" + "9" * 16 + ":"),
        GOOD.replace("m42:", "m42"),
        GOOD.replace("oaE", "oaF"),  # the last character's spare bits are set
        GOOD.replace("oaE", "oa"),
        GOOD.replace("oaE", "oaE="),
        GOOD.replace("oaE", "oa+"),
        GOOD + GOOD[GOOD.index(" m42") :],
        GOOD + " ",
        GOOD + "\n",
        GOOD + " c",
        GOOD + " x1",
        GOOD.replace("//h/b", "//auto:key:secret@h/b"),
        GOOD.replace("//h/b", "//@h/b"),
        GOOD + " k",
        GOOD + " kkey:secret",
        GOOD + " kauto:key:",
        GOOD + " kAUTO:key:secret",
        GOOD + " kauto:k/y:secret",
        GOOD + " kauto:key:sec:ret",
        GOOD + " kauto:key:secret kauto:key:secret",
        GOOD + " k" + "a" * 25 + ":key:secret",
        GOOD + " kauto:" + "k" * 65 + ":s",
    ],
)
def test_a_malformed_record_is_none(text: str) -> None:
    assert decode([GOOD.encode()]) is not None
    assert decode([text.encode()]) is None


def test_a_window_in_other_digits_is_none() -> None:
    assert decode([GOOD.replace("42", "٤٢").encode()]) is None


@pytest.mark.parametrize(
    "commitment",
    [
        Commitment(Role.MINER, "run 1", BUCKET),
        Commitment(Role.MINER, "", BUCKET),
        Commitment(Role.MINER, "r" * 33, BUCKET),
        Commitment(Role.MINER, "rün", BUCKET),
        Commitment(Role.MINER, "run-1", "bucket"),
        Commitment(Role.MINER, "run-1", "https://h/a b"),
        Commitment(Role.MINER, "run-1", "https://" + "h" * 101),
        Commitment(Role.MINER, "run-1", "https://" + "h" * 200),
        Commitment(Role.VALIDATOR, "run-1", BUCKET, manifest=(-1, A)),
        Commitment(Role.VALIDATOR, "run-1", BUCKET, manifest=(10**15, A)),
        Commitment(Role.VALIDATOR, "run-1", BUCKET, manifest=(1, A[:-2])),
        Commitment(Role.VALIDATOR, "run-1", BUCKET, manifest=(1, "x" * 64)),
        Commitment(Role.OWNER, "run-1", BUCKET, config=A + "00"),
        Commitment(Role.MINER, "run-1", "https://key:secret@h/bucket"),
        Commitment(Role.MINER, "run-1", "https://auto:key:a/b@h/bucket"),
        Commitment(Role.MINER, "run-1", "https://auto:key:a%2fb@h/bucket"),
        Commitment(Role.MINER, "run-1", "https://auto:key:%FF@h/bucket"),
        Commitment(Role.MINER, "run-1", "https://auto:key:s@a@h/bucket"),
        Commitment(
            Role.VALIDATOR,
            "r" * 32,
            f"https://auto:{'k' * 60}:{'s' * 80}@{'h' * 100}",
            manifest=(1, A),
        ),
    ],
)
def test_what_could_not_be_read_back_is_not_written(commitment: Commitment) -> None:
    with pytest.raises(ValueError, match=r".+"):
        commitment.encode()


def test_the_secret_of_read_keys_is_not_shown() -> None:
    assert repr(ReadKeys("auto", "key", "hidden")) == "ReadKeys(region='auto', key_id='key')"


@given(keys=KEYS, bucket=PUBLIC)
def test_keys_go_into_an_address_and_come_out(keys: ReadKeys, bucket: str) -> None:
    address = keys.within(bucket)
    assert parted(address) == (bucket, keys)
    assert address.count("@") == 1
    with pytest.raises(ValueError, match="has none"):
        keys.within(address)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        (("", "key", "secret"), "region"),
        (("EU", "key", "secret"), "region"),
        (("auto", "", "secret"), "key id"),
        (("auto", "k ey", "secret"), "key id"),
        (("auto", "key", ""), "secret of the read key key"),
        (("auto", "key", "a b"), "secret of the read key key"),
        (("auto", "key", "schlüssel"), "secret of the read key key"),
    ],
)
def test_keys_that_no_record_can_hold_are_named(parts: tuple[str, str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named) as refused:
        ReadKeys(*parts)
    assert not parts[2] or parts[2] not in str(refused.value) or parts[2] == "secret"
