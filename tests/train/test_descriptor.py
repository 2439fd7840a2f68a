"""A checkpoint's descriptor: one spelling, and everything else refused with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_kit import GENESIS, RUN

from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, canonical, digest
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.train.checkpoint import SHARD_BYTES, Descriptor, Shard, open_descriptor

DESCRIPTOR = Descriptor(
    run=RUN,
    window=12,
    genesis=3,
    head=GENESIS,
    root="ab" * 32,
    layout="cd" * 32,
    shards=(Shard("01" * 32, 100), Shard("02" * 32, SHARD_BYTES)),
)
FIELDS: dict[str, Any] = json.loads(DESCRIPTOR.encode())
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


def reason(data: bytes, window: int = 12) -> Reason:
    refused = open_descriptor(data, RUN, window)
    assert isinstance(refused, Rejection)
    return refused.reason


@given(
    windows=st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)).map(sorted),
    head=DIGESTS | st.just(""),
    root=DIGESTS,
    shards=st.lists(
        st.builds(Shard, DIGESTS, st.integers(1, SHARD_BYTES)),
        min_size=1,
        max_size=5,
        unique_by=lambda shard: shard.sha256,
    ),
)
def test_a_descriptor_comes_back_as_it_was(
    windows: list[int], head: str, root: str, shards: list[Shard]
) -> None:
    written = Descriptor(RUN, windows[1], windows[0], head, root, "cd" * 32, tuple(shards))
    assert open_descriptor(written.encode(), RUN, windows[1]) == written
    assert written.digest == digest(written.encode())
    assert written.size == sum(shard.size for shard in shards)


def test_the_spelling_is_pinned() -> None:
    small = replace(DESCRIPTOR, head="", shards=(Shard("01" * 32, 100),))
    assert small.encode() == (
        b'{"format":1,"genesis":3,"head":"","layout":"'
        + b"cd" * 32
        + b'","root":"'
        + b"ab" * 32
        + b'","run":"run-1","shards":[["'
        + b"01" * 32
        + b'",100]],"window":12}'
    )


def test_another_run_or_window_is_refused() -> None:
    assert reason(replace(DESCRIPTOR, run="run-2").encode()) is Reason.WRONG_RUN
    assert reason(DESCRIPTOR.encode(), window=13) is Reason.WRONG_WINDOW


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", 2),
        ("format", True),
        ("genesis", 13),
        ("genesis", -1),
        ("window", True),
        ("window", "12"),
        ("window", 2**63),
        ("head", "genesis"),
        ("head", None),
        ("head", GENESIS.upper()),
        ("root", ""),
        ("root", "ab" * 31),
        ("root", "zz" * 32),
        ("layout", ""),
        ("run", ""),
        ("run", "rün"),
        ("run", 1),
        ("shards", []),
        ("shards", {}),
        ("shards", "text"),
        ("shards", [["01" * 32]]),
        ("shards", [["01" * 32, 0]]),
        ("shards", [["01" * 32, -1]]),
        ("shards", [["01" * 32, True]]),
        ("shards", [["01" * 32, SHARD_BYTES + 1]]),
        ("shards", [["01" * 32, 100], ["01" * 32, 100]]),
        ("shards", [["0G" * 32, 100]]),
        ("shards", [[100, "01" * 32]]),
        ("shards", [[["01" * 32], 100]]),
        ("more", 1),
    ],
)
def test_a_field_that_is_not_what_it_should_be_is_refused(name: str, value: object) -> None:
    assert reason(canonical({**FIELDS, name: value})) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_missing_field_is_refused(name: str) -> None:
    left = {key: value for key, value in FIELDS.items() if key != name}
    assert reason(canonical(left)) is Reason.BAD_DOCUMENT


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(FIELDS).encode(),  # white space
        DESCRIPTOR.encode() + b"\n",
        DESCRIPTOR.encode().replace(b'"window":12', b'"window":12.0'),
        DESCRIPTOR.encode().replace(b'"window":12', b'"window":1e999'),
        DESCRIPTOR.encode().replace(b'"window":12', b'"window":12,"window":12'),
        DESCRIPTOR.encode().replace(b"run-1", b"run-\\u0031"),
        DESCRIPTOR.encode().decode().encode("utf-16"),
        b"[" * 100_000,
        b"[]",
        b"null",
        b"",
        b"\xff",
    ],
)
def test_another_spelling_is_refused(data: bytes) -> None:
    assert reason(data) is Reason.BAD_DOCUMENT


@given(data=st.binary(max_size=100))
def test_garbage_is_no_descriptor(data: bytes) -> None:
    assert reason(data) is Reason.BAD_DOCUMENT


def test_too_many_bytes_are_neither_read_nor_written() -> None:
    assert reason(b"[" * (MAX_DOCUMENT_BYTES + 1)) is Reason.WRONG_SIZE
    shards = tuple(Shard(f"{number:064x}", SHARD_BYTES) for number in range(4000))
    with pytest.raises(ValueError, match="make the shards larger"):
        replace(DESCRIPTOR, shards=shards).encode()
