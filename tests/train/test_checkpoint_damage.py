"""A checkpoint that is damaged, made up, or another model's: never taken for a state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save
from train_kit import (
    RUN,
    SHAPES,
    Picture,
    Shapes,
    another,
    new_state,
    parameters,
    picture,
    state_after,
)

from boltzmann.errors import CorruptState
from boltzmann.protocol.documents import digest
from boltzmann.train import checkpoint
from boltzmann.train.checkpoint import Descriptor, Shard
from boltzmann.train.state import ModelState

Tensors = Mapping[str, NDArray[np.generic]]

DAMAGE = ["cut", "empty", "gone", "longer"]


def written(folder: Path, windows: int = 2, shapes: Shapes = SHAPES) -> ModelState:
    state = state_after(folder, windows, shapes)
    checkpoint.write(state, RUN, folder / "state", shard_bytes=500)
    return state


def files(folder: Path) -> list[Path]:
    return sorted((folder / "state").iterdir())


def loaded(folder: Path) -> Picture:
    state = another(folder)
    try:
        assert checkpoint.read(state, folder / "state", RUN) is not None
    except CorruptState:
        assert state.heads == ()  # neither saved nor followed
        raise
    return picture(state)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelState]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, written(folder)


@given(data=st.data(), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_taken_for_the_state(
    whole: tuple[Path, ModelState], data: st.DataObject, place: float, bit: int
) -> None:
    folder, state = whole
    path = data.draw(st.sampled_from(files(folder)))
    original = path.read_bytes()
    damaged = bytearray(original)
    damaged[int(place * len(damaged))] ^= 1 << bit
    path.write_bytes(damaged)
    try:
        # What the checksum's file says of the other's name may change without harm.
        assert loaded(folder) == picture(state)
        assert path.name == checkpoint.CHECKSUM
    except CorruptState as error:
        assert str(folder / "state") in str(error)
        assert "delete it" in str(error)
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("key", ["head", "window", "genesis", "root", "layout"])
def test_a_changed_position_is_refused(tmp_path: Path, key: str) -> None:
    written(tmp_path)
    path = tmp_path / "state" / checkpoint.DESCRIPTOR
    stored = json.loads(path.read_text())
    value = stored[key]
    stored[key] = value + 1 if isinstance(value, int) else value[:-1] + "0"
    if stored[key] == value:
        stored[key] = value[:-1] + "1"
    path.write_text(json.dumps(stored, sort_keys=True, separators=(",", ":")))
    with pytest.raises(CorruptState, match=r"descriptor\.json has not the sha256"):
        loaded(tmp_path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    state = written(tmp_path)
    refused = 0
    for path in files(tmp_path):
        if path.name == checkpoint.CHECKSUM:
            continue  # its own test below
        data = path.read_bytes()
        path.write_bytes({"cut": data[:-1], "longer": data + b"more"}.get(damage, b""))
        if damage == "gone":
            path.unlink()
        with pytest.raises(CorruptState, match=r"saved state in .*state cannot be used.*delete it"):
            loaded(tmp_path)
        path.write_bytes(data)
        refused += 1
    assert refused > 3
    assert loaded(tmp_path) == picture(state)


def test_a_damaged_checksum_is_refused_and_a_missing_one_is_a_downloads(tmp_path: Path) -> None:
    state = written(tmp_path)
    path = tmp_path / "state" / checkpoint.CHECKSUM
    path.write_bytes(b"")
    with pytest.raises(CorruptState, match="has not the sha256"):
        loaded(tmp_path)
    path.unlink()
    assert loaded(tmp_path) == picture(state)


def test_the_shard_that_is_damaged_is_named(tmp_path: Path) -> None:
    descriptor = checkpoint.write(new_state(tmp_path, SHAPES), RUN, tmp_path / "s", shard_bytes=400)
    paths = [tmp_path / "s" / checkpoint.shard_name(shard) for shard in descriptor.shards]
    state = another(tmp_path)
    with pytest.raises(CorruptState, match=rf"the shard .*{paths[1].name} is damaged"):
        checkpoint.load(state, descriptor, [paths[1], *paths[1:]])
    assert state.heads == ()
    longer = replace(descriptor.shards[0], size=descriptor.shards[0].size + 1)
    claimed = replace(descriptor, shards=(longer, *descriptor.shards[1:]))
    with pytest.raises(CorruptState, match=rf"the shard .*{paths[0].name} is damaged"):
        checkpoint.load(state, claimed, paths)
    with pytest.raises(CorruptState, match=f"has {len(paths)} shards, not {len(paths) - 1}"):
        checkpoint.load(state, descriptor, paths[1:])
    checkpoint.load(state, descriptor, paths)
    assert picture(state) == picture(new_state(tmp_path / "again", SHAPES))


@pytest.mark.parametrize(
    "shapes",
    [
        {**SHAPES, "c": (4, 5)},
        {"a": (3,), "b.weight": (5, 7), "renamed": (4, 4)},
        {"a": (3,), "b.weight": (7, 5), "c": (4, 4)},  # as many coordinates, as many chunks
        {"a": (1,)},
    ],
)
def test_another_models_checkpoint_is_refused(tmp_path: Path, shapes: Shapes) -> None:
    written(tmp_path)
    with pytest.raises(CorruptState, match="other tensors or chunks"):
        checkpoint.read(another(tmp_path, shapes), tmp_path / "state", RUN)


def test_a_checkpoint_of_other_chunks_is_refused(tmp_path: Path) -> None:
    state = new_state(tmp_path / "a", {"t": (16,)}, chunk_size=4)
    checkpoint.write(state, RUN, tmp_path / "state")
    other = new_state(tmp_path / "b", {"t": (16,)}, chunk_size=5)
    assert [len(counts) for counts in other.counts] == [4]
    with pytest.raises(CorruptState, match="other tensors or chunks"):
        checkpoint.read(other, tmp_path / "state", RUN)


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(CorruptState, match=r"wrong_run \('run-1'\)"):
        checkpoint.read(another(tmp_path), tmp_path / "state", "run-2")


# What no node writes, under digests that are right: a checkpoint made up by a peer.


def made_up(state: ModelState, folder: Path, window: int, *shards: Tensors) -> None:
    """Load safetensors files of these tensors as the checkpoint of `window`."""
    folder.mkdir(exist_ok=True)
    named, paths = [], []
    for number, tensors in enumerate(shards):
        data = save(dict(tensors))
        paths.append(folder / f"{number}.safetensors")
        paths[-1].write_bytes(data)
        named.append(Shard(digest(data), len(data)))
    layout, root = checkpoint.layout_digest(state), genesis_root_of(state).hex()
    checkpoint.load(state, Descriptor(RUN, window, 0, "", root, layout, tuple(named)), paths)


def genesis_root_of(state: ModelState) -> bytes:
    state.reset(parameters(SHAPES), "", 0)
    return state.position.root


def theta(**changes: NDArray[np.generic] | None) -> dict[str, NDArray[np.generic]]:
    flats: dict[str, NDArray[np.generic] | None] = {
        f"theta.{name}": values.reshape(-1) for name, values in parameters(SHAPES).items()
    }
    flats.update({name.replace("__", "."): values for name, values in changes.items()})
    return {name: values for name, values in flats.items() if values is not None}


def ones(count: int, kind: type[np.generic] = np.float32) -> NDArray[np.generic]:
    return np.ones(count, kind)


def test_tensors_may_be_spread_as_one_likes(tmp_path: Path) -> None:
    state = another(tmp_path)
    c = parameters(SHAPES)["c"].reshape(-1)
    pieces = {"theta.c#0": c[:5]}, {"theta.c#1": c[5:]}
    made_up(state, tmp_path / "made", 0, theta(theta__c=None), *pieces)
    assert picture(state).theta == picture(new_state(tmp_path / "genesis", SHAPES)).theta
    made_up(state, tmp_path / "made", 3, theta(m__a=ones(3), counts__c=ones(2, np.int32)))
    assert state.m.tolist()[:4] == [1.0, 1.0, 1.0, 0.0]
    assert [counts.tolist() for counts in state.counts] == [[0], [0] * 5, [1, 1]]


@pytest.mark.parametrize(
    ("shards", "complaint"),
    [
        ([theta(other=ones(3))], "holds other, which has no place"),
        ([theta(theta__other=ones(3))], "holds theta.other, which has no place"),
        ([theta(), {"theta.a": ones(3)}], "holds theta.a, which has no place"),
        ([theta(), {"theta.a#0": ones(1)}], "holds theta.a#0 as"),
        ([theta(), {"m.c#1": ones(16)}], "holds m.c#1, which has no place"),
        ([theta(), {"m.c#0": ones(8)}, {"m.c#2": ones(8)}], "holds m.c#2, which has no place"),
        ([theta(), {"m.c#0": ones(8)}, {"m.c#0": ones(8)}], "holds m.c#0, which has no place"),
        ([theta(), {"m.c#00": ones(16)}], "holds m.c#00, which has no place"),
        ([theta(), {"m.c#0": ones(8)}, {"m.c": ones(8)}], "holds m.c, which has no place"),
        ([theta(), {"m.c#0": ones(17)}], "not as up to 16 values"),
        ([theta(m__c=ones(15))], "hold 15 of the 16 values of m.c"),
        ([theta(theta__c=ones(15))], "hold 15 of the 16 values of theta.c"),
        ([theta(theta__c=None)], "hold 0 of the 16 values of theta.c"),
        ([theta(m__c=ones(0))], "not as up to 16 values"),
        ([theta(m__c=ones(16, np.float64))], "holds m.c as F64"),
        ([theta(m__c=ones(16, np.float16))], "holds m.c as F16"),
        ([theta(m__c=ones(16, np.int32))], "holds m.c as I32"),
        ([theta(counts__c=ones(2))], "holds counts.c as F32"),
        ([theta(counts__c=ones(2, np.int64))], "holds counts.c as I64"),
        ([theta(m__c=ones(16).reshape(4, 4))], r"holds m.c as F32 \[4, 4\]"),
    ],
)
def test_tensors_that_are_not_exactly_the_models_are_refused(
    tmp_path: Path, shards: list[Tensors], complaint: str
) -> None:
    state = another(tmp_path)
    with pytest.raises(CorruptState, match=complaint):
        made_up(state, tmp_path / "made", 3, *shards)
    assert state.heads == ()
    assert state.position.window == -1


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        (theta(theta__a=ones(3)), "its values give the root"),
        (theta(m__a=ones(3)), "holds moments or counts"),
        (theta(counts__a=ones(1, np.int32)), "holds moments or counts"),
    ],
)
def test_a_genesis_must_have_its_root_and_nothing_but_parameters(
    tmp_path: Path, tensors: Tensors, complaint: str
) -> None:
    with pytest.raises(CorruptState, match=f"says it is the run's genesis, but {complaint}"):
        made_up(another(tmp_path), tmp_path / "made", 0, tensors)


@given(data=st.binary(max_size=200))
def test_garbage_is_refused(whole: tuple[Path, ModelState], data: bytes) -> None:
    folder, state = whole
    path = folder / "garbage"
    path.write_bytes(data)
    shard = Shard(digest(data), len(data))
    layout = checkpoint.layout_digest(state)
    descriptor = Descriptor(RUN, 3, 0, "", "00" * 32, layout, (shard,))
    with pytest.raises(CorruptState, match="no safetensors file"):
        checkpoint.load(another(folder), descriptor, [path])


def header(kind: object) -> bytes:
    text = json.dumps({"theta.a": {"dtype": kind, "shape": [2], "data_offsets": [0, 4]}}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F999", 3])
def test_kinds_that_numpy_lacks_are_refused(tmp_path: Path, kind: object) -> None:
    path = tmp_path / "shard"
    path.write_bytes(header(kind))
    state = another(tmp_path)
    shard = Shard(checkpoint.file_sha256(path), len(header(kind)))
    layout = checkpoint.layout_digest(state)
    with pytest.raises(CorruptState, match=str(path)):
        checkpoint.load(state, Descriptor(RUN, 3, 0, "", "00" * 32, layout, (shard,)), [path])


def test_a_name_given_twice_in_one_shard_is_refused(tmp_path: Path) -> None:
    entry = '"theta.a":{"dtype":"F32","shape":[3],"data_offsets":[%d,%d]}'
    text = ("{" + entry % (0, 12) + "," + entry % (12, 24) + "}").encode()
    path = tmp_path / "shard"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(24))
    state = another(tmp_path)
    shard = Shard(checkpoint.file_sha256(path), path.stat().st_size)
    descriptor = Descriptor(RUN, 3, 0, "", "00" * 32, checkpoint.layout_digest(state), (shard,))
    with pytest.raises(CorruptState, match="no safetensors file"):
        checkpoint.load(state, descriptor, [path])
