"""The contract of the store port, on every server: what a node may rely on."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from store_kit import MIB, read, reason
from store_servers import (
    OTHER_KEYS,
    Place,
    moto_behind,
    moto_place,
    rclone_place,
    refuses_conditions,
)

from boltzmann.errors import ConfigError, StoreConflict, StoreError
from boltzmann.ports import Reader
from boltzmann.protocol.rejection import Reason
from boltzmann.store.reader import PublicReader
from boltzmann.store.s3 import S3Store

PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "moto": moto_place,
    "moto-without-conditions": lambda folder: moto_behind(folder, refuses_conditions),
    "rclone": rclone_place,
    "rclone-tls": lambda folder: rclone_place(folder, tls=True),
}


@pytest.fixture(scope="module", params=list(PLACES))
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with PLACES[request.param](tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def store(place: Place) -> S3Store:
    made = place.store("contract")
    made.ensure_bucket()
    return made


@pytest.fixture
def key() -> str:
    return f"run/7/{os.urandom(6).hex()}"


@pytest.mark.parametrize("size", [0, 1, 5 * MIB + 3])
def test_what_was_put_is_read_back(store: S3Store, key: str, tmp_path: Path, size: int) -> None:
    body = os.urandom(size)
    store.put(key, body)
    assert read(store, key, size) == body
    target = tmp_path / "object"
    assert store.download(store.address, key, target, exact_bytes=size, seconds=20) is None
    assert target.read_bytes() == body
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("size", [0, 1, 5 * MIB + 3])
def test_a_file_is_put_like_its_bytes(store: S3Store, key: str, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    store.put_file(key, source)
    store.put_file(key, source)
    store.put(key, source.read_bytes())
    assert read(store, key) == source.read_bytes()


def test_the_same_bytes_again_succeed(store: S3Store, key: str) -> None:
    store.put(key, b"once")
    store.put(key, b"once")
    assert read(store, key) == b"once"


@pytest.mark.parametrize("other", [b"one byte longer!", b"of equal length", b""])
def test_other_bytes_conflict_and_the_first_stay(
    store: S3Store, key: str, tmp_path: Path, other: bytes
) -> None:
    store.put(key, b"the first bytes")
    with pytest.raises(StoreConflict, match=key):
        store.put(key, other)
    source = tmp_path / "other"
    source.write_bytes(other)
    with pytest.raises(StoreConflict, match=key):
        store.put_file(key, source)
    assert read(store, key) == b"the first bytes"


def test_a_restarted_node_still_creates_only(place: Place, store: S3Store, key: str) -> None:
    store.put(key, b"before")
    restarted = place.store("contract")
    restarted.put(key, b"before")
    with pytest.raises(StoreConflict):
        restarted.put(key, b"after")
    assert read(restarted, key) == b"before"


def test_what_is_not_there_is_absent(store: S3Store, key: str, tmp_path: Path) -> None:
    assert reason(read(store, key)) is Reason.ABSENT
    target = tmp_path / "object"
    refused = store.download(store.address, key, target, exact_bytes=3, seconds=20)
    assert reason(refused) is Reason.ABSENT
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_is_not_there_is_absent(place: Place, store: S3Store, key: str) -> None:
    elsewhere = f"{place.public}/no-such-bucket"
    assert reason(store.get(elsewhere, key, max_bytes=9, seconds=20)) is Reason.ABSENT


def test_absent_becomes_present(store: S3Store, key: str) -> None:
    assert reason(read(store, key)) is Reason.ABSENT
    store.put(key, b"here now")
    assert read(store, key) == b"here now"


def test_only_the_size_that_is_expected_is_taken(store: S3Store, key: str, tmp_path: Path) -> None:
    store.put(key, bytes(1000))
    assert reason(read(store, key, 999)) is Reason.WRONG_SIZE
    assert read(store, key, 1000) == bytes(1000)
    for wrong in (999, 1001, 0):
        refused = store.download(
            store.address, key, tmp_path / "object", exact_bytes=wrong, seconds=20
        )
        assert reason(refused) is Reason.WRONG_SIZE
    assert list(tmp_path.iterdir()) == []


def test_a_peer_with_other_keys_reads(place: Place, store: S3Store, key: str) -> None:
    store.put(key, b"for everyone")
    peer = place.store("the-peer", OTHER_KEYS)
    assert peer.get(store.address, key, max_bytes=99, seconds=20) == b"for everyone"


def test_a_nodes_own_object_is_public(place: Place, key: str) -> None:
    peer = place.store("the-peer", OTHER_KEYS)
    peer.ensure_bucket()
    peer.check()
    peer.put(key, b"mine")
    assert place.store("contract").get(peer.address, key, max_bytes=4, seconds=20) == b"mine"


def test_what_is_deleted_is_absent_and_may_be_put_anew(store: S3Store, key: str) -> None:
    store.put(key, b"old")
    store.put(f"{key}-beside", b"stays")
    store.delete(key)
    assert reason(read(store, key)) is Reason.ABSENT
    assert read(store, f"{key}-beside") == b"stays"
    store.put(key, b"new")
    assert read(store, key) == b"new"


def test_deleting_what_is_not_there_succeeds(store: S3Store, key: str) -> None:
    store.delete(key)
    store.put(key, b"x")
    store.delete(key)
    store.delete(key)
    assert reason(read(store, key)) is Reason.ABSENT


def test_a_reader_needs_no_bucket(place: Place, store: S3Store, key: str, tmp_path: Path) -> None:
    store.put(key, b"for everyone")
    reader: Reader = PublicReader("localhost", ca_bundle=place.ca_bundle)
    assert reader.get(store.address, key, max_bytes=99, seconds=20) == b"for everyone"
    target = tmp_path / "object"
    assert reader.download(store.address, key, target, exact_bytes=12, seconds=20) is None
    assert target.read_bytes() == b"for everyone"


def test_many_gets_at_once(store: S3Store, key: str, tmp_path: Path) -> None:
    bodies = {f"{key}/{n}": os.urandom(200_000 + n) for n in range(32)}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(store.put, bodies, bodies.values()))
        again = pool.map(lambda name: read(store, name), bodies)
        assert list(again) == list(bodies.values())
        refused = pool.map(
            lambda item: store.download(
                store.address,
                item[0],
                tmp_path / item[0].rpartition("/")[2],
                exact_bytes=len(item[1]),
                seconds=30,
            ),
            bodies.items(),
        )
        assert list(refused) == [None] * len(bodies)
    for name, body in bodies.items():
        assert (tmp_path / name.rpartition("/")[2]).read_bytes() == body


@pytest.mark.parametrize(
    "wrong",
    ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a b", "a?b", "ä", "a\n", "a" * 513],
)
def test_only_computed_keys_are_used(store: S3Store, tmp_path: Path, wrong: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"")
    calls: list[Callable[[], object]] = [
        lambda: store.put(wrong, b""),
        lambda: store.put_file(wrong, source),
        lambda: store.delete(wrong),
        lambda: store.get(store.address, wrong, max_bytes=1, seconds=1),
        lambda: store.download(store.address, wrong, source, exact_bytes=1, seconds=1),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="object key"):
            call()


def test_every_allowed_character_of_a_key(store: S3Store, key: str) -> None:
    name = f"{key}/AZaz09._-"
    store.put(name, b"x")
    assert read(store, name) == b"x"


def test_a_download_that_cannot_be_written_is_our_trouble(
    store: S3Store, key: str, tmp_path: Path
) -> None:
    store.put(key, b"abc")
    target = tmp_path / "no such folder" / "object"
    with pytest.raises(StoreError, match="no such folder"):
        store.download(store.address, key, target, exact_bytes=3, seconds=20)


def test_check_names_a_bucket_that_is_not_there(place: Place) -> None:
    with pytest.raises(ConfigError, match=rf"no bucket 'not-made' at {place.endpoint}"):
        place.store("not-made").check()


def test_a_put_without_a_bucket_is_refused(place: Place, key: str) -> None:
    with pytest.raises(StoreError, match="not-made"):
        place.store("not-made").put(key, b"x")


def test_deleting_without_a_bucket_is_refused(place: Place, key: str) -> None:
    with pytest.raises(StoreError, match=r"Removing .* was refused .*not-made"):
        place.store("not-made").delete(key)


def test_check_names_a_bucket_nobody_else_can_read(place: Place, store: S3Store) -> None:
    private = place.store("contract", public_url=f"{place.public}/another-bucket")
    with pytest.raises(ConfigError, match="Peers cannot read"):
        private.check()


def test_what_an_operator_should_know_of_the_bucket(
    request: pytest.FixtureRequest, store: S3Store
) -> None:
    """moto takes any keys, or none; rclone asks for its own, and overwrites on request."""
    facts = store.facts()
    assert facts.creates_only == ("[moto]" in request.node.name)
    assert facts.open_to_all == ("[moto" in request.node.name)
    assert facts.skew_seconds is None or abs(facts.skew_seconds) < 60.0
