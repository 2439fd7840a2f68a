"""The store in memory: the contract of every store, and what hostile buckets do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from store_kit import read, reason
from test_store_contract import (  # noqa: F401 - run again here, on this module's fixtures
    key,
    test_a_bucket_that_is_not_there_is_absent,
    test_a_download_that_cannot_be_written_is_our_trouble,
    test_a_file_is_put_like_its_bytes,
    test_a_nodes_own_object_is_public,
    test_a_peer_with_other_keys_reads,
    test_a_put_without_a_bucket_is_refused,
    test_a_restarted_node_still_creates_only,
    test_absent_becomes_present,
    test_deleting_what_is_not_there_succeeds,
    test_every_allowed_character_of_a_key,
    test_many_gets_at_once,
    test_only_computed_keys_are_used,
    test_only_the_size_that_is_expected_is_taken,
    test_other_bytes_conflict_and_the_first_stay,
    test_the_same_bytes_again_succeed,
    test_what_is_deleted_is_absent_and_may_be_put_anew,
    test_what_is_not_there_is_absent,
    test_what_was_put_is_read_back,
)

from boltzmann.errors import StoreError
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.simulate.clock import run_virtual
from boltzmann.simulate.store import ENDPOINT, Buckets, Late, MemoryStore


class Made(MemoryStore):
    """A store of the contract's tests: they make their buckets, and check them, themselves."""

    def __init__(self, buckets: Buckets, hotkey: str, name: str) -> None:
        super().__init__(buckets, hotkey, f"{ENDPOINT}/{name}")
        self._make = name

    def ensure_bucket(self) -> None:
        self.buckets.make(self._make)

    def check(self) -> None:
        self.put("probe", b"")


class Memory:
    """A place of the contract's tests."""

    public = ENDPOINT
    endpoint = ENDPOINT

    def __init__(self) -> None:
        self.buckets = Buckets()

    def store(self, bucket: str, keys: Any = ("contract", ""), **ignored: object) -> Made:
        return Made(self.buckets, keys[0], bucket)


@pytest.fixture(scope="module")
def place() -> Memory:
    return Memory()


@pytest.fixture(scope="module")
def store(place: Memory) -> Made:
    made = place.store("contract")
    made.ensure_bucket()
    return made


def two() -> tuple[Buckets, MemoryStore, MemoryStore]:
    """A liar's store and a reader's."""
    buckets = Buckets()
    stores = [MemoryStore(buckets, name, buckets.make(name)) for name in ("liar", "reader")]
    return buckets, stores[0], stores[1]


def test_deleting_in_a_bucket_that_is_not_there_is_refused() -> None:
    with pytest.raises(StoreError, match="not-made"):
        MemoryStore(Buckets(), "anna", f"{ENDPOINT}/not-made").delete("a")


def test_an_address_that_is_none_cannot_be_reached() -> None:
    _, _, reader = two()
    assert reason(reader.get("ftp://x/y", "a", max_bytes=1, seconds=1)) is Reason.UNREACHABLE


def test_a_bucket_may_show_each_reader_other_bytes() -> None:
    buckets, liar, reader = two()
    liar.put("a", b"the same for all?")
    buckets.serve[liar.address] = lambda who, name, stored: (
        stored if who == "liar" else who.encode()
    )
    assert liar.get(liar.address, "a", max_bytes=99, seconds=1) == b"the same for all?"
    assert reader.get(liar.address, "a", max_bytes=99, seconds=1) == b"reader"
    assert read(reader, "a") != b"reader"  # its own bucket is not the liar's


def test_a_bucket_may_hide_and_refuse(tmp_path: Path) -> None:
    buckets, liar, reader = two()
    liar.put("hidden", b"1")
    liar.put("refused", b"1")
    answers = {"refused": Rejection(Reason.UNREACHABLE)}
    buckets.serve[liar.address] = lambda who, name, stored: answers.get(name)
    assert reason(reader.get(liar.address, "hidden", max_bytes=9, seconds=1)) is Reason.ABSENT
    path = tmp_path / "object"
    refused = reader.download(liar.address, "refused", path, exact_bytes=1, seconds=1)
    assert reason(refused) is Reason.UNREACHABLE
    assert not path.exists()


@pytest.mark.parametrize(
    ("takes", "bound", "after", "expected"),
    [(3.0, 5.0, 3.0, b"whole"), (50.0, 5.0, 5.0, Reason.SLOW)],
)
def test_a_slow_bucket_takes_virtual_time_up_to_the_readers_bound(
    takes: float, bound: float, after: float, expected: bytes | Reason
) -> None:
    buckets, liar, reader = two()
    liar.put("a", b"whole")
    buckets.serve[liar.address] = lambda who, name, stored: Late(takes, stored)

    async def main() -> tuple[bytes | Rejection, float]:
        found = await asyncio.to_thread(reader.get, liar.address, "a", max_bytes=9, seconds=bound)
        return found, asyncio.get_running_loop().time()

    found, now = run_virtual(main())
    assert (found.reason if isinstance(found, Rejection) else found) == expected
    assert now == after


def test_dropped_objects_are_gone_from_every_bucket() -> None:
    buckets, liar, reader = two()
    for each in (liar, reader):
        each.put("old", b"1")
        each.put("new", b"2")
    buckets.drop("old")
    for each in (liar, reader):
        assert reason(read(each, "old")) is Reason.ABSENT
        assert read(each, "new") == b"2"
