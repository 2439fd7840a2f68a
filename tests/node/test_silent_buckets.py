"""Members whose buckets accept a connection and never say a word."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from agree_scene import council
from node_kit import CLOCK
from scripted_chain import Keys

from boltzmann.node.ingest import collect
from boltzmann.node.manifests import Held
from boltzmann.node.membership import Peer
from boltzmann.node.round import Duty, assign
from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.rejection import Reason
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
