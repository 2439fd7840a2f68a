"""A validator's checkpoints: the same bytes as everybody's, published, named, and retired."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from node_kit import CLOCK, CONFIG, RUN, Bucket, Running, announce, running, store_of
from scripted_chain import DEADLINE_S, Keys, Script
from scripted_leader import Closing, Leader, Saved

from boltzmann.errors import StoreError, StoreUnavailable
from boltzmann.node import checkpoints as checkpoints_module
from boltzmann.node.checkpoints import (
    NAMING_WINDOWS,
    Checkpoints,
    checkpoint_objection,
    folder_of,
    newest_checkpoint,
)
from boltzmann.node.follow import follow
from boltzmann.node.manifests import Held
from boltzmann.node.node import Node
from boltzmann.node.objects import descriptor_key
from boltzmann.protocol.ballots import Objection
from boltzmann.protocol.commitment import Role
from boltzmann.protocol.manifest import CheckpointName
from boltzmann.store.s3 import S3Store


@dataclass
class Scene:
    """A leader that closes windows by hand, and a validator that keeps checkpoints of them."""

    script: Script
    leader: Leader
    validator: Running
    checkpoints: Checkpoints

    @property
    def node(self) -> Node:
        return self.validator.node

    @property
    def base(self) -> Held:
        return self.node.manifests[self.node.worker.state.position.head]

    async def close(self, window: int) -> Closing:
        """One window; then the validator enters the next one."""
        closing = self.leader.close(window)
        self.leader.publish(closing)
        await self.enter(window + 1)
        return closing

    async def enter(self, window: int, node: Node | None = None) -> None:
        await self.script.advance(max(self.script.height, CLOCK.decide(window - 1)))
        await self.node.blocks.until(CLOCK.decide(window - 1))
        assert await follow(self.node, window - 1) is None
        if node is not None:
            self.checkpoints = Checkpoints(node)
        await self.checkpoints.enter(window)

    async def saved_in_vain(self, failing: pytest.MonkeyPatch, module: Any, name: str) -> None:
        """Window 2 is entered on a disk that does not take what `name` makes."""
        real = getattr(module, name)

        def full(path: Path, *args: Any, **named: Any) -> Any:
            if "checkpoints" in str(args[0] if name == "link" else path):
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(path, *args, **named)

        failing.setattr(module, name, full)
        await self.enter(2)
        await self.published()

    async def published(self) -> None:
        """What is under way ends."""
        upload = self.checkpoints._upload
        if upload is not None:
            await asyncio.wait_for(upload, DEADLINE_S)

    def kept(self) -> list[int]:
        """The windows of the descriptors in the validator's bucket."""
        keys = Bucket.of(self.node.store.address).listed()
        return sorted(int(key.split("/")[1]) for key in keys if key.endswith(".json"))

    def shards(self) -> int:
        keys = Bucket.of(self.node.store.address).listed()
        return sum(key.endswith(".safetensors") for key in keys)


@asynccontextmanager
async def scene(s3: str, folder: Path, *, copies: int = 2) -> AsyncIterator[Scene]:
    config = replace(CONFIG, exchange=replace(CONFIG.exchange, checkpoint_copies=copies))
    script = Script()
    script.register("leader", stake=10.0)
    script.register("second", stake=1.0)
    leader = Leader(script, "leader", Bucket(s3, "leader"), folder / "leader")
    store = store_of(s3, "second")
    for name, address in (("leader", leader.bucket.address), ("second", store.address)):
        announce(script, name, Role.VALIDATOR, address)
    leader.publish(leader.genesis())
    async with running(script, "second", store, folder / "second", config) as node:
        at = Scene(script, leader, node, Checkpoints(node.node))
        yield at
        await at.checkpoints.close()


async def test_equal_states_give_equal_checkpoints_and_they_are_published(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await at.close(1)  # an epoch has two windows
        await at.published()
        theirs = at.leader.checkpoint()
        (told,) = at.validator.told.of("checkpoint")
        assert (told["digest"], told["bytes_up"]) == (
            theirs.descriptor.digest,
            theirs.descriptor.size,
        )
        bucket = Bucket.of(at.node.store.address)
        assert set(theirs.objects) <= bucket.listed()
        for key, body in theirs.objects.items():
            stored = at.node.store.get(at.node.store.address, key, max_bytes=1 << 20, seconds=5.0)
            assert stored == body
        assert newest_checkpoint(at.node, at.base, 2) == theirs.name
        folders = [path.name for path in (at.node.folder / "checkpoints").iterdir()]
        assert folders == ["1"]  # nothing half-made


async def test_within_an_epoch_nothing_is_made(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        await at.enter(1)
        await at.published()
        assert at.kept() == []
        await at.close(1)
        await at.published()
        assert at.kept() == [1]
        await at.close(2)
        await at.published()
        assert at.kept() == [1]
        assert len(at.validator.told.of("checkpoint")) == 1


async def test_old_ones_are_retired_the_descriptor_first(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        await at.close(1)
        await at.published()
        for window, kept in ((2, [1]), (3, [1, 3]), (4, [1, 3]), (5, [3, 5]), (6, [3, 5])):
            await at.close(window)
            await at.published()
            assert at.kept() == kept
        assert at.shards() == 2
        on_disk = sorted(int(p.name) for p in (at.node.folder / "checkpoints").iterdir())
        assert on_disk == [3, 5]
        assert at.validator.told.of("error") == []


async def test_the_genesis_is_never_retired(s3: str, tmp_path: Path) -> None:
    """Audits may begin there, and a node that finds no other checkpoint."""
    async with scene(s3, tmp_path) as at:
        put_genesis(at.node, next(iter(at.leader.saved.values())))
        for window in (1, 2, 3, 4, 5):
            await at.close(window)
            await at.published()
        assert at.kept() == [0, 3, 5]


def put_genesis(node: Node, saved: Saved) -> None:
    """As the validator has it that began the run."""
    folder = folder_of(node, 0)
    folder.mkdir(parents=True)
    (folder / "descriptor.json").write_bytes(saved.descriptor.encode())
    for shard, body in zip(saved.descriptor.shards, saved.shards, strict=True):
        (folder / f"{shard.sha256}.safetensors").write_bytes(body)
    for key, body in saved.objects.items():
        node.store.put(key, body)


async def test_who_is_not_drawn_makes_one_and_publishes_none(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path, copies=1) as at:
        drawn = []
        for window in (1, 2, 3, 4, 5):
            await at.close(window)
            await at.published()
            if window % 2:
                assert folder_of(at.node, window).exists()
                council = await at.node.councils.at(window)
                drawn.append(council.order[0] == Keys("second").hotkey)
        # With a tenth of the stake it is not always first.
        assert not all(drawn)
        assert len(at.validator.told.of("checkpoint")) == sum(drawn)


async def test_what_a_proposal_may_name(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        first = CheckpointName(0, at.leader.saved.popitem()[0])
        await at.close(1)
        own = newest_checkpoint(at.node, at.base, 2)
        assert own.window == 1
        for name, objection in (
            (first, Objection.NONE),  # what the parent names
            (own, Objection.NONE),
            (CheckpointName(1, "00" * 32), Objection.CHECKPOINT),
        ):
            assert checkpoint_objection(at.node, at.base, name) is objection
        # A checkpoint of a state that was taken back since is not named.
        await at.node.worker.run(at.validator.state.undo)
        assert newest_checkpoint(at.node, at.base, 2) == first


async def test_a_checkpoint_is_named_soon_or_not_at_all(s3: str, tmp_path: Path) -> None:
    """Half of the stake may have stood elsewhere when it was made."""
    async with scene(s3, tmp_path) as at:
        first = CheckpointName(0, at.leader.saved.popitem()[0])
        await at.close(1)
        own = newest_checkpoint(at.node, at.base, 2)
        assert own != first
        exchange = replace(at.node.run.exchange, epoch_windows=8)
        node = replace(at.node, run=replace(at.node.run, exchange=exchange))
        named = [newest_checkpoint(node, at.base, window) for window in range(8, 17)]
        assert named == [own] * NAMING_WINDOWS + [first] * (8 - NAMING_WINDOWS) + [own]


async def test_who_came_late_to_the_state_an_epoch_began_at_makes_its_checkpoint_then(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        closing = at.leader.close(1)
        at.leader.publish(closing, withhold=["manifest"])
        await at.enter(2)
        assert at.validator.state.position.window == 0
        made = at.node.folder / "checkpoints"
        assert [path.name for path in made.iterdir()] == ["0"]
        at.leader.publish(closing)
        await at.enter(3)
        assert at.validator.state.position.window == 1
        assert sorted(path.name for path in made.iterdir()) == ["0", "1"]
        theirs = at.leader.checkpoint()
        assert newest_checkpoint(at.node, at.base, 3) == theirs.name
        assert checkpoint_objection(at.node, at.base, theirs.name) is Objection.NONE


@pytest.mark.parametrize(("module", "name"), [(os, "link"), (Path, "mkdir"), (Path, "touch")])
async def test_a_disk_that_does_not_take_a_checkpoint_costs_no_more_than_that(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    """A full one, or a file system without hard links."""
    async with scene(s3, tmp_path) as at:
        at.leader.publish(at.leader.close(1))
        with monkeypatch.context() as failing:
            await at.saved_in_vain(failing, module, name)
        (told,) = at.validator.told.of("error")
        assert told["what"] == "keeping the checkpoint made at window 2"
        assert "No space left" in told["detail"]
        assert list((at.node.folder / "checkpoints").glob("*")) == []
        for window in (2, 3):
            await at.close(window)
        await at.published()
        assert at.kept() == [3]


async def test_a_disk_that_does_not_take_the_mark_of_publishing_is_told(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(s3, tmp_path) as at:
        touch = Path.touch

        def full(path: Path, *args: Any, **named: Any) -> None:
            if path.name == "published":
                raise OSError(errno.ENOSPC, "No space left on device")
            touch(path, *args, **named)

        with monkeypatch.context() as failing:
            failing.setattr(Path, "touch", full)
            await at.close(1)
            await at.published()
        (told,) = at.validator.told.of("error")
        assert told["what"] == "publishing a checkpoint"
        assert "make room there" in told["detail"]
        await at.close(2)
        await at.published()
        assert len(at.validator.told.of("checkpoint")) == 1


class Killed(Exception):
    """The node ends here."""


class Silent(S3Store):
    """A bucket that answers nothing until it is told to."""

    speaks = False

    def put_file(self, key: str, path: Path) -> None:
        if not self.speaks:
            raise StoreUnavailable("the bucket does not answer")
        super().put_file(key, path)


async def test_a_silent_bucket_is_waited_for_without_holding_up_the_window(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints_module, "_RETRY_SECONDS", 0.01)
    async with scene(s3, tmp_path) as at:
        silent = Silent(s3, at.node.store.address.rpartition("/")[2], "key", "secret")
        at.leader.publish(at.leader.close(1))
        await at.enter(2, replace(at.node, store=silent))
        await at.validator.told.seen("waiting")
        assert at.kept() == []
        silent.speaks = True
        await at.published()
        assert at.kept() == [1]


class Refusing(S3Store):
    """A bucket that neither takes nor removes anything until it is told to."""

    agrees = False

    def put_file(self, key: str, path: Path) -> None:
        self._ask()
        super().put_file(key, path)

    def delete(self, key: str) -> None:
        self._ask()
        super().delete(key)

    def _ask(self) -> None:
        if not self.agrees:
            raise StoreError("the bucket refuses")


def on_disk(node: Node) -> list[int]:
    return sorted(int(path.name) for path in (node.folder / "checkpoints").iterdir())


async def test_a_bucket_that_refuses_keeps_no_old_checkpoints_on_the_disk(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        await at.close(1)
        await at.published()
        store = Refusing(s3, at.node.store.address.rpartition("/")[2], "key", "secret")
        at.checkpoints = Checkpoints(replace(at.node, store=store))
        for window, kept in ((2, [1]), (3, [1, 3]), (4, [1, 3]), (5, [3, 5]), (6, [3, 5])):
            await at.close(window)
            await at.published()
            assert on_disk(at.node) == kept
        assert at.kept() == [1]  # as it would have it
        told = {event["what"] for event in at.validator.told.of("error")}
        assert told == {"publishing a checkpoint", "removing old checkpoints"}
        store.agrees = True
        for window in (7, 8):
            await at.close(window)
            await at.published()
        assert (at.kept(), at.shards(), on_disk(at.node)) == ([7], 1, [5, 7])


async def test_a_bucket_that_is_silent_for_epochs_keeps_none_there_either(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints_module, "_RETRY_SECONDS", 0.01)
    async with scene(s3, tmp_path) as at:
        silent = Silent(s3, at.node.store.address.rpartition("/")[2], "key", "secret")
        at.checkpoints = Checkpoints(replace(at.node, store=silent))
        for window in (1, 2, 3, 4, 5):
            await at.close(window)
        await at.published()  # the first one's upload is given up
        assert on_disk(at.node) == [3, 5]
        silent.speaks = True
        await at.close(6)
        await at.published()
        assert at.kept() == [5]


async def test_one_that_is_there_is_marked_for_publishing_whenever_its_node_is_killed(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(s3, tmp_path) as at:
        at.leader.publish(at.leader.close(1))
        rename = Path.rename

        def killed(path: Path, target: Path) -> Path:
            rename(path, target)
            raise Killed

        with monkeypatch.context() as killing, pytest.raises(Killed):
            killing.setattr(Path, "rename", killed)
            await at.enter(2)
        await at.enter(2)
        await at.published()
        assert at.kept() == [1]


async def test_an_upload_that_was_cut_off_is_taken_up_at_the_next_start(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        silent = Silent(s3, at.node.store.address.rpartition("/")[2], "key", "secret")
        at.leader.publish(at.leader.close(1))
        await at.enter(2, replace(at.node, store=silent))
        await at.validator.told.seen("waiting")
        await at.checkpoints.close()
        at.leader.publish(at.leader.close(2))
        await at.enter(3, at.node)
        await at.published()
        digest = newest_checkpoint(at.node, at.base, 3).digest
        assert descriptor_key(RUN, 1, digest) in Bucket.of(at.node.store.address).listed()
