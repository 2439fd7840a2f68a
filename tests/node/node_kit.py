"""What the tests of nodes share: real nodes on a tiny run.

Only the other side of a seam is made up: the chain's script, and where events go. Keys are sr25519,
the store is S3 over http, model, state and data are the real ones.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import numpy as np
import torch
from numpy.typing import NDArray
from scripted_chain import DEADLINE_S, Keys, Script, ScriptedChain

from boltzmann.chain.keys import verify
from boltzmann.config import DataConfig, ExchangeConfig, Identity, ModelConfig, RunConfig
from boltzmann.data.bundled import BundledPages
from boltzmann.data.prefetch import Prefetch
from boltzmann.data.tokenizer import ByteTokenizer
from boltzmann.node.blocks import Blocks
from boltzmann.node.councils import Councils
from boltzmann.node.manifests import Manifests
from boltzmann.node.node import Node
from boltzmann.node.outbox import Outbox
from boltzmann.node.round import chosen_in, points_of
from boltzmann.node.stages import Trip, nothing
from boltzmann.node.worker import Worker
from boltzmann.ports import Store
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.outer import OuterConfig
from boltzmann.protocol.rewards import RewardConfig
from boltzmann.protocol.scoring import AuditConfig, GateConfig
from boltzmann.protocol.wire import Expected, Sign, seal
from boltzmann.store import s3 as s3_module
from boltzmann.store.s3 import S3Store
from boltzmann.train.model import parameter_shapes
from boltzmann.train.state import ModelState

Floats = NDArray[np.float32]

RUN = "run-1"
NETUID = 220

CONFIG = RunConfig(
    run=Identity(RUN, NETUID, bytes(range(32)).hex()),
    windows=WindowClock(
        train_blocks=2,
        exchange_blocks=8,
        commit_blocks=1,
        upload_blocks=1,
        receipt_blocks=1,
        turn_blocks=1,
        order_blocks=1,
    ),
    data=DataConfig(
        source="bundled",
        revision="the bundled text is opened without a check here",
        rows_per_page=1,
        sequence_length=64,
        pages_per_member=2,
        members_max=8,
        control_pages=2,
    ),
    model=ModelConfig(
        vocab_size=259,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    ),
    exchange=ExchangeConfig(chunk_size=16, slice_ratio=2, history=3, epoch_windows=2),
    outer=OuterConfig(
        schedule=((0, 0.01), (4, 0.02)), beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.0
    ),
    gate=GateConfig(gate_min=0.995, tensor_min=0.98, norm_min=0.9, norm_max=1.1),
    rewards=RewardConfig(moving_alpha=0.5, audit_rate=1.0, trust_windows=3),
    audit=AuditConfig(points=400),
)
CLOCK = CONFIG.windows
FETCH_SECONDS = 5.0
_BUCKETS = itertools.count()
_shared_client = cache(s3_module._client)


@dataclass
class Record:
    """Telemetry that keeps what it is told."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))
        self._told.set()

    def close(self) -> None:
        pass

    def of(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == name]

    async def seen(self, name: str, **wanted: object) -> dict[str, Any]:
        """The first event of this name with these fields, waited for."""

        async def wait() -> dict[str, Any]:
            while True:
                self._told.clear()
                for fields in self.of(name):
                    if wanted.items() <= fields.items():
                        return fields
                await self._told.wait()

        return await asyncio.wait_for(wait(), DEADLINE_S)


def store_of(url: str, name: str) -> S3Store:
    """The store of a new bucket, whatever other tests called theirs.

    All of them share one client of boto3, which takes .2 s to make.
    """
    with mock.patch.object(s3_module, "_client", _shared_client):
        store = S3Store(url, f"{name}-{next(_BUCKETS)}", "key", "secret")
    store.ensure_bucket()
    return store


@cache
def _client(url: str) -> Any:
    names = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", **names)


class Bucket:
    """A new bucket of somebody who only publishes; all of them share one client of boto3."""

    def __init__(self, url: str, name: str) -> None:
        self._client, self._name = _client(url), f"{name}-{next(_BUCKETS)}"
        self._client.create_bucket(Bucket=self._name, ACL="public-read")
        self.address = f"{url}/{self._name}"

    @staticmethod
    def of(address: str) -> Bucket:
        """The bucket of a node, for a test that looks into it or does it harm."""
        found = Bucket.__new__(Bucket)
        found.address = address
        url, _, found._name = address.rpartition("/")
        found._client = _client(url)
        return found

    def put(self, key: str, body: bytes) -> None:
        """Store an object, in the place of what is there already."""
        self._client.put_object(Bucket=self._name, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._name, Key=key)

    def listed(self) -> set[str]:
        """All keys in the bucket."""
        found = self._client.list_objects_v2(Bucket=self._name)
        return {row["Key"] for row in found.get("Contents", ())}


@cache
def reading_store(url: str) -> S3Store:
    """The store of a bucket for nodes that write nothing."""
    return store_of(url, "reader")


@dataclass(frozen=True)
class Running:
    """A node of the tests and where its events and chain calls can be seen."""

    node: Node
    told: Record
    chain: ScriptedChain

    @property
    def state(self) -> ModelState:
        return self.node.worker.state


@cache
def _bundled(rows_per_page: int) -> BundledPages:
    return BundledPages(rows_per_page)


def new_state(folder: Path, config: RunConfig = CONFIG) -> ModelState:
    shapes = parameter_shapes(config.model)
    return ModelState(
        config.layout(shapes), shapes, config.outer, folder / "undo", config.exchange.history
    )


@asynccontextmanager
async def running(
    script: Script,
    name: str,
    store: Store,
    folder: Path,
    config: RunConfig = CONFIG,
    *,
    trip: Trip = nothing,
) -> AsyncIterator[Running]:
    """A node of hotkey `name`, with its thread and its watch of the blocks."""
    keys, told = Keys(name), Record()
    chain = ScriptedChain(script, keys.hotkey)
    pages = _bundled(config.data.rows_per_page)
    blocks = Blocks(chain, told)
    await blocks.start()
    state = new_state(folder, config)
    load = partial(Prefetch, pages, ByteTokenizer(), config.data.sequence_length)
    worker = Worker(config, state, load, torch.device("cpu"))
    node = Node(
        run=config,
        keys=keys,
        verify=verify,
        chain=chain,
        blocks=blocks,
        store=store,
        schedule=config.schedule(pages.count),
        worker=worker,
        outbox=Outbox(folder / "outbox"),
        telemetry=told,
        folder=folder,
        fetch_seconds=FETCH_SECONDS,
        poll_seconds=0.02,
        councils=Councils(chain, config),
        manifests=Manifests(store, verify, config.run.id, FETCH_SECONDS),
        trip=trip,
    )
    try:
        yield Running(node, told, chain)
    finally:
        await blocks.close()
        worker.close()


def announce(script: Script, name: str, role: Role, address: str, block: int = 0) -> None:
    """A hotkey's record without a manifest."""
    script.commit(Keys(name).hotkey, Commitment(role, RUN, address), block)


@dataclass(frozen=True)
class Made:
    """What a miner made of its pages: the slice's values, its pages' shares, its tokens."""

    values: Floats
    shares: Floats
    tokens: int

    def times(self, factor: float) -> Made:
        by = np.float32(factor)
        return Made(self.values * by, self.shares * by, self.tokens)


async def made(node: Node, window: int, pages: Sequence[int]) -> Made:
    """The honest work on these pages in a window that has closed."""
    points, chosen = await points_of(node, window), await chosen_in(node, window)
    delta = await node.worker.delta(pages, points)
    return Made(chosen.gather(delta.tensors), delta.shares, delta.tokens)


def sealed_delta(known: Expected, made: Made, sign: Sign) -> bytes:
    """The object that a miner sends."""
    body = known.codec.encode(made.values) + known.codec.encode(made.shares.reshape(-1))
    return seal(known, made.tokens, body, sign)
