"""Members whose buckets accept a connection and never say a word."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from agree_scene import council
from node_kit import CLOCK, RUN, running, store_of
from scripted_chain import DEADLINE_S, Keys, Script

from boltzmann.chain.keys import verify
from boltzmann.node.ingest import collect
from boltzmann.node.manifests import Held, Manifests
from boltzmann.node.membership import Peer
from boltzmann.node.publish import publish
from boltzmann.node.round import Duty, assign
from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import Parent
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.reveal import Pledge

SILENT = 24  # more than the threads of a machine without this node's own


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a bucket that takes any number of questions and answers none."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(4 * SILENT)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/bucket"


async def test_who_was_in_the_last_update_is_read_before_them(
    s3: str, tmp_path: Path, silent: str
) -> None:
    async with council(s3, tmp_path) as of:
        deltas = {miner: await of.sealed(miner) for miner in of.buckets}
        for miner, sealed in deltas.items():
            of.commit(miner, sealed)
        await of.reach(CLOCK.commit_by(1))
        running = of.nodes[of.order[0]]
        node, hotkeys = replace(running.node, fetch_seconds=0.5), sorted(map(hotkey_of, deltas))
        duty = await assign(node, 1)
        strangers = silent_members(duty, silent)
        assert min(hotkeys) > max(strangers), "by name the strangers would come first"
        members = {**strangers, **duty.members}
        duty = replace(duty, base=entered(duty.base, hotkeys), members=members)
        reading = asyncio.create_task(collect(node, duty))
        await running.told.seen("stage", stage="pledges", window=1)
        for miner, sealed in deltas.items():
            of.reveal(miner, sealed)
        await of.reach(CLOCK.upload_by(1))
        collected = await reading
        assert collected.in_time
        assert all(isinstance(collected.pledges[hotkey], Pledge) for hotkey in hotkeys)
        reasons = {h: why.reason for h, why in collected.missing.items()}
        assert reasons == dict.fromkeys(strangers, Reason.SLOW)


class Occupied:
    """Buckets that answer nobody; `most`: how many reads of one there were at the same time."""

    def __init__(self) -> None:
        self._now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def get(self, address: str, key: str, *, max_bytes: int, seconds: float) -> Rejection:
        self._now[address] += 1
        self.most[address] = max(self.most[address], self._now[address])
        threading.Event().wait(seconds)
        self._now[address] -= 1
        return Rejection(Reason.SLOW)

    def download(
        self, address: str, key: str, path: Path, *, exact_bytes: int, seconds: float
    ) -> Rejection:
        return Rejection(Reason.SLOW)


async def test_many_names_in_silent_buckets_take_one_thread_of_each() -> None:
    store, buckets = Occupied(), [f"http://bucket{i}.example/bucket" for i in range(6)]
    manifests = Manifests(store, verify, RUN, 0.2)
    names = [Parent(f"{i:064x}", 1, "nobody") for i in range(len(buckets))]
    answers = await asyncio.gather(*(manifests.get(name, buckets) for name in names))
    assert all(isinstance(answer, Rejection) for answer in answers)
    assert all(manifests.is_known_missing(name.digest) for name in names)
    assert store.most == dict.fromkeys(buckets, 1)


class Partly:
    """Buckets that show one manifest, but for those whose name begins with "silent"."""

    def __init__(self, manifest: bytes) -> None:
        self.asked: Counter[str] = Counter()
        self.silence, self.given_up = threading.Event(), 0
        self._manifest = manifest

    def get(self, address: str, key: str, *, max_bytes: int, seconds: float) -> bytes | Rejection:
        self.asked[address] += 1
        if "silent" in address:
            self.silence.wait(seconds)
            self.given_up += 1
            return Rejection(Reason.SLOW)
        return self._manifest

    def download(
        self, address: str, key: str, path: Path, *, exact_bytes: int, seconds: float
    ) -> Rejection:
        return Rejection(Reason.SLOW)


async def test_who_shows_a_manifest_is_asked_once_and_the_silent_are_not_waited_for() -> None:
    store = Partly(b"the bytes")
    showing = [f"http://showing{i}.example/bucket" for i in range(2)]
    addresses = ["http://silent.example/bucket", *showing]
    manifests = Manifests(store, verify, RUN, 3600.0)
    name, other = (Parent(digest(data), 1, "nobody") for data in (b"the bytes", b"other bytes"))

    def both(shown: set[str]) -> bool:
        return shown >= set(showing)

    try:
        for _ in range(2):
            asking = manifests.are_shown(name, addresses, both, again=True)
            assert await asyncio.wait_for(asking, DEADLINE_S)
        assert [store.asked[address] for address in addresses] == [1, 1, 1]
        asking = manifests.are_shown(other, showing, lambda shown: bool(shown), again=True)
        assert not await asyncio.wait_for(asking, DEADLINE_S)
        # Who never answers holds up nobody for as long as a read may take.
        manifests = Manifests(store, verify, RUN, 8.0)
        assert not await manifests.are_shown(name, addresses[:1], bool, again=True)
        assert store.given_up == 0
    finally:
        store.silence.set()


async def test_an_upload_waits_for_no_reads(s3: str, tmp_path: Path) -> None:
    silence, store = threading.Event(), store_of(s3, "own")
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    reading = loop.run_in_executor(None, silence.wait)
    try:
        async with running(Script(), "own", store, tmp_path) as own:
            sent = publish(own.node, "run/1/receipt", b"seen", before=9)
            assert await asyncio.wait_for(sent, DEADLINE_S)
    finally:
        silence.set()
        await reading


def hotkey_of(name: str) -> str:
    return Keys(name).hotkey


def silent_members(duty: Duty, address: str) -> dict[str, Peer]:
    peer = next(iter(duty.members.values()))
    names = [f"4Silent{i:02}" for i in range(SILENT)]
    return {
        name: replace(
            peer,
            neuron=replace(peer.neuron, hotkey=name, uid=100 + i),
            commitment=replace(peer.commitment, bucket=address),
        )
        for i, name in enumerate(names)
    }


def entered(base: Held, hotkeys: list[str]) -> Held:
    """The same state, as if the update had deltas of these."""
    accepted = tuple(Accepted(hotkey, "00" * 32) for hotkey in hotkeys)
    proposal = replace(base.manifest.proposal, accepted=accepted)
    return replace(base, manifest=replace(base.manifest, proposal=proposal))
