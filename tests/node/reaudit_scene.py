"""A run that is over: three validators, three miners, four windows, and what they left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from node_kit import CLOCK, CONFIG, RUN, Bucket, Running, announce, running, store_of
from scripted_chain import Keys, Script, ScriptedChain

from boltzmann.app.auditor import NoBucket, Target, auditing
from boltzmann.audit.replay import audit
from boltzmann.audit.report import Mismatch, Report, Status
from boltzmann.chain.keys import verify
from boltzmann.data.open import fingerprint
from boltzmann.node.conduct import conduct_named
from boltzmann.node.miner import mine
from boltzmann.node.node import Node
from boltzmann.node.objects import manifest_key, receipt_key
from boltzmann.node.validator import validate
from boltzmann.ports import Chain
from boltzmann.protocol.ballots import Ballot, Objection
from boltzmann.protocol.commitment import Commitment, Role, decode
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import Manifest, Proposal, open_manifest
from boltzmann.protocol.receipts import Receipt, open_receipt
from boltzmann.protocol.rejection import Rejection
from boltzmann.store.reader import PublicReader
from boltzmann.telemetry.fanout import Fanout

STAKES = {"ada": 10.0, "ben": 9.0, "cyd": 8.0}  # any two of them are a majority
MINERS = {"anna": "", "bert": "", "cheat": "random"}
LAST = 4
RUN_CONFIG = replace(CONFIG, data=replace(CONFIG.data, revision=fingerprint("bundled")))
READER = PublicReader("localhost")
_TRAINED: dict[str, Remains] = {}  # by S3 server


@dataclass
class Remains:
    """What anybody can read of the run. `addresses` of buckets by name."""

    neurons: list[Any]
    records: list[tuple[int, str, tuple[bytes, ...]]]
    height: int
    addresses: Mapping[str, str]

    def script(self) -> Script:
        return Script(list(self.neurons), list(self.records), height=self.height)

    def name_of(self, hotkey: str) -> str:
        return next(name for name in (*STAKES, *MINERS) if Keys(name).hotkey == hotkey)

    def read(self, name: str, key: str) -> bytes:
        data = READER.get(self.addresses[name], key, max_bytes=1 << 24, seconds=5.0)
        assert not isinstance(data, Rejection), (name, key, data)
        return data

    def holders(self, key: str) -> list[str]:
        """The validators in whose buckets this key lies."""
        return [name for name in STAKES if self.keys(name, key) == [key]]

    def keys(self, name: str, part: str) -> list[str]:
        """The keys in somebody's bucket that hold `part`."""
        stored = Bucket.of(self.addresses[name]).listed()
        return sorted(key for key in stored if part in key)

    @contextmanager
    def instead(self, name: str, key: str, data: bytes | None) -> Iterator[None]:
        """Other bytes in an object's place for a while, or none."""
        bucket, whole = Bucket.of(self.addresses[name]), self.read(name, key)
        if data is None:
            bucket.delete(key)
        else:
            bucket.put(key, data)
        try:
            yield
        finally:
            bucket.put(key, whole)

    @contextmanager
    def flipped(self, name: str, key: str, at: int = -1) -> Iterator[None]:
        """One byte of an object changed for a while."""
        data = bytearray(self.read(name, key))
        data[at] ^= 1
        with self.instead(name, key, bytes(data)):
            yield

    def manifest(self, window: int) -> Manifest:
        """The manifest that the run ordered in this window."""
        for _, hotkey, record in reversed(self.records):
            named = manifest_in(record)
            if named is not None and named[0] == window:
                data = self.read(self.name_of(hotkey), manifest_key(RUN, window, named[1]))
                opened = open_manifest(data, RUN, window, hotkey, verify)
                assert not isinstance(opened, Rejection)
                return opened
        raise AssertionError(f"no manifest of window {window} is on chain")

    def receipt(self, window: int, name: str) -> Receipt:
        data = self.read(name, receipt_key(RUN, window))
        opened = open_receipt(data, RUN, window, Keys(name).hotkey, verify)
        assert not isinstance(opened, Rejection)
        return opened

    def ordering(
        self, proposal: Proposal, objections: Mapping[str, Objection] | None = None
    ) -> Remains:
        """The run as it would be had this been ordered in the place of its window's manifest.

        Everybody approves, but for whom `objections` names.
        """
        against = objections or {}
        votes = {
            Keys(name).hotkey: Ballot(
                RUN, proposal.window, proposal.digest, against.get(name, Objection.NONE)
            )
            for name in STAKES
        }
        documents = tuple(
            json.loads(votes[Keys(name).hotkey].seal(Keys(name).hotkey, Keys(name).sign))
            for name in sorted(STAKES, key=lambda name: Keys(name).hotkey)
        )
        leader = self.name_of(proposal.leader)
        data = Manifest(proposal, votes, documents).seal(Keys(leader).sign)
        address = self.addresses[leader]
        Bucket.of(address).put(manifest_key(RUN, proposal.window, digest(data)), data)
        record = Commitment(
            Role.VALIDATOR, RUN, address, manifest=(proposal.window, digest(data))
        ).encode()
        kept = [row for row in self.records if (manifest_in(row[2]) or (-1,))[0] != proposal.window]
        block = CLOCK.decide(proposal.window)
        return replace(self, records=[*kept, (block, proposal.leader, record)])


def manifest_in(record: tuple[bytes, ...]) -> tuple[int, str] | None:
    """(window, digest) of the manifest in a validator's record."""
    held = decode(record)
    return held.manifest if held else None


@asynccontextmanager
async def auditor(
    remains: Remains, folder: Path, *, recompute: bool = False, chain: Chain | None = None
) -> AsyncIterator[Node]:
    """What `boltzmann audit` computes with, on this chain instead of a real one."""
    target = Target("scripted", RUN_CONFIG.run.netuid, recompute=recompute, device="cpu")
    chain = chain or ScriptedChain(remains.script(), "")
    folder.mkdir(exist_ok=True)
    async with auditing(target, RUN_CONFIG, chain, NoBucket("localhost"), Fanout(), folder) as node:
        yield node


async def audited(
    remains: Remains,
    folder: Path,
    first: int,
    last: int,
    *,
    recompute: bool = False,
    chain: Chain | None = None,
) -> dict[int, Report]:
    """The reports of windows `first` to `last`."""
    async with auditor(remains, folder, recompute=recompute, chain=chain) as node:
        found = [report async for report in audit(node, first, last, recompute=recompute)]
    return {report.window: report for report in found}


def trained(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Remains:
    """The run, trained once for every module that looks at it: each leaves it as it was."""
    if s3 not in _TRAINED:
        _TRAINED[s3] = asyncio.run(_train(s3, tmp_path_factory.mktemp("network")))
    return _TRAINED[s3]


def only(report: Report) -> Mismatch:
    """The one thing that is wrong."""
    assert report.status is Status.MISMATCH, report.line()
    assert len(report.mismatches) == 1, report.line()
    return report.mismatches[0]


def hotkey(name: str) -> str:
    return Keys(name).hotkey


async def _train(s3: str, folder: Path) -> Remains:
    script = Script(height=CLOCK.decide(0) - 2)
    nodes: dict[str, Running] = {}
    loops: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:
        for name in (*STAKES, *MINERS):
            script.register(name, stake=STAKES.get(name, 0.0))
            store = store_of(s3, name)
            announce(script, name, _role(name), store.address)
            nodes[name] = await stack.enter_async_context(
                running(script, name, store, folder / name, RUN_CONFIG)
            )
        for name, node in nodes.items():
            work: Coroutine[Any, Any, None] = (
                validate(node.node)
                if name in STAKES
                else mine(node.node, conduct_named(MINERS[name]))
            )
            loops.append(asyncio.create_task(work))
        try:
            await _windows(script, nodes, loops)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
    addresses = {name: node.node.store.address for name, node in nodes.items()}
    return Remains(script.neurons, script.records, script.height, addresses)


def _role(name: str) -> Role:
    return Role.VALIDATOR if name in STAKES else Role.MINER


async def _windows(
    script: Script, nodes: Mapping[str, Running], loops: list[asyncio.Task[None]]
) -> None:
    judges = [nodes[name] for name in STAKES]
    workers = [nodes[name] for name in MINERS]
    everybody = [*judges, *workers]

    async def all_of(*waits: Coroutine[Any, Any, Any]) -> None:
        done: asyncio.Future[Any] = asyncio.gather(*waits)
        both: set[asyncio.Future[Any]] = {done, *loops}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for loop in loops:
            if loop.done():
                done.cancel()
                loop.result()
        await done

    await all_of(nodes["ada"].told.seen("genesis", window=0))
    await script.advance(CLOCK.decide(0))
    await all_of(*(node.chain.has_read(CLOCK.decide(0)) for node in everybody))
    for window in range(1, LAST + 1):
        await script.advance(CLOCK.open(window))
        await all_of(*(node.chain.has_read(CLOCK.open(window)) for node in everybody))
        if window > 1:
            await all_of(*(node.told.seen("round", window=window - 1) for node in judges))
        await script.advance(CLOCK.close(window))
        await all_of(*(n.told.seen("stage", stage="commit", window=window) for n in workers))
        await script.advance(CLOCK.commit_by(window))
        await all_of(
            *(n.told.seen("stage", stage="pledges", window=window) for n in judges),
            *(n.told.seen("window", window=window) for n in workers),
        )
        await script.advance(CLOCK.upload_by(window))
        await all_of(*(node.told.seen("window", window=window) for node in judges))
        await script.advance(CLOCK.decide(window))
        await all_of(*(node.told.seen("applied", window=window) for node in everybody))
    # By then everybody has mirrored the last window's manifest.
    await script.advance(CLOCK.open(LAST + 1))
    await all_of(*(node.chain.has_read(CLOCK.open(LAST + 1)) for node in judges))
    copies = [node for node in judges if node.told.of("checkpoint")]
    assert copies, "nobody has published a checkpoint"
