"""The store when something is wrong with this node's own bucket, its keys or its settings."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from store_kit import read, reason
from store_servers import OTHER_KEYS, Place, moto_behind, rclone_place

from boltzmann.errors import ConfigError, StoreError, StoreUnavailable
from boltzmann.protocol.rejection import Reason
from boltzmann.store.s3 import S3Store


@pytest.fixture
def key() -> str:
    return f"run/7/{os.urandom(6).hex()}"


@pytest.fixture(scope="module", params=[False, True], ids=["http", "https"])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that checks signatures."""
    with rclone_place(tmp_path_factory.mktemp("guarded"), tls=request.param) as running:
        running.store("guarded").ensure_bucket()
        yield running


def test_wrong_keys_are_named(guarded: Place, key: str) -> None:
    for keys in [("the-first-access-key", "wrong-secret"), ("unknown-access-key", "secret")]:
        stranger = guarded.store("guarded", keys)
        with pytest.raises(ConfigError, match="refuses this node's keys"):
            stranger.check()
        with pytest.raises(StoreError, match=r"Writing .* refused"):
            stranger.put(key, b"x")
        with pytest.raises(StoreError, match=r"Removing .* refused"):
            stranger.delete(key)


def test_reads_are_unsigned(guarded: Place, key: str) -> None:
    store = guarded.store("guarded")
    store.put(key, b"x")
    signed_only = f"{guarded.endpoint}/guarded"
    refused = store.get(signed_only, key, max_bytes=9, seconds=20)
    assert reason(refused) is Reason.UNREACHABLE


def test_an_unknown_authority_is_not_trusted(tmp_path: Path, key: str) -> None:
    with rclone_place(tmp_path, tls=True) as place:
        stranger = S3Store(place.endpoint, "contract", *OTHER_KEYS)
        refused = stranger.get(f"{place.public}/contract", key, max_bytes=9, seconds=20)
        assert reason(refused) is Reason.UNREACHABLE
        with pytest.raises(StoreUnavailable, match="certificate"):
            stranger.put(key, b"x")


def _busy(times: int) -> Callable[[dict[str, Any]], str | None]:
    """A gate that answers so many conditional writes as AWS does while another one is under way."""
    left = itertools.count(times, -1)
    return lambda environ: (
        "409 Conflict" if "HTTP_IF_NONE_MATCH" in environ and next(left) > 0 else None
    )


def test_a_passing_conflict_is_tried_again(tmp_path: Path, key: str) -> None:
    with moto_behind(tmp_path, _busy(3)) as place:
        store = place.store("busy")
        store.ensure_bucket()
        store.put(key, b"in the end")
        assert read(store, key, 99) == b"in the end"


def test_a_lasting_conflict_is_reported(tmp_path: Path, key: str) -> None:
    with moto_behind(tmp_path, _busy(1_000_000)) as place:
        store = place.store("busy")
        store.ensure_bucket()
        with pytest.raises(StoreUnavailable, match="under way"):
            store.put(key, b"never")


def test_a_server_in_trouble_is_unavailable(tmp_path: Path, key: str) -> None:
    with moto_behind(tmp_path, lambda environ: "503 Service Unavailable") as place:
        store = place.store("trouble")
        writes = (lambda: store.put(key, b"x"), lambda: store.delete(key))
        for call in (store.check, store.ensure_bucket, *writes):
            with pytest.raises(StoreUnavailable, match="status 503"):
                call()


@pytest.fixture
def dead_endpoint() -> Iterator[str]:
    """An address nobody listens on: bound, so that nobody else can, and not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_a_dead_endpoint_is_unavailable(dead_endpoint: str, key: str) -> None:
    store = S3Store(dead_endpoint, "nobody", "key", "secret")
    assert reason(read(store, key, 99)) is Reason.UNREACHABLE
    writes = (lambda: store.put(key, b"x"), lambda: store.delete(key))
    for call in (store.check, store.ensure_bucket, *writes):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            call()


@pytest.mark.parametrize(
    ("endpoint", "bucket", "keys"),
    [
        ("127.0.0.1:9000", "bucket", ("key", "secret")),
        ("ftp://127.0.0.1", "bucket", ("key", "secret")),
        ("http://user@127.0.0.1", "bucket", ("key", "secret")),
        ("http://127.0.0.1/path", "bucket", ("key", "secret")),
        ("http://127.0.0.1:70000", "bucket", ("key", "secret")),
        ("http://127.0.0.1", "Bucket", ("key", "secret")),
        ("http://127.0.0.1", "bucket", ("", "secret")),
        ("http://127.0.0.1", "bucket", ("key", "")),
    ],
)
def test_settings_that_cannot_work_are_named(
    endpoint: str, bucket: str, keys: tuple[str, str]
) -> None:
    with pytest.raises(ConfigError, match="bucket"):
        S3Store(endpoint, bucket, *keys)


def test_a_ca_bundle_that_is_not_one_is_named(tmp_path: Path) -> None:
    for bundle in (tmp_path / "absent.pem", Path(__file__)):
        with pytest.raises(ConfigError, match=bundle.name):
            S3Store("https://127.0.0.1", "bucket", "key", "secret", ca_bundle=bundle)


def test_the_secret_is_not_shown() -> None:
    store = S3Store("http://127.0.0.1:9/", "bucket", "key", "the-secret-itself")
    assert store.address == "http://127.0.0.1:9/bucket"
    assert "the-secret-itself" not in f"{store!r} {store} {vars(store)}"
