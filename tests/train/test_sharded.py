"""Two processes that share a model compute what one does, and no gradient is whole in either."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from team_member import BATCHES, HOWS
from train_kit import BOTH, COMPILER, TIED, TINY, model_state

from boltzmann.config import ModelConfig
from boltzmann.protocol.points import draw
from boltzmann.protocol.slices import select
from boltzmann.train.gradients import LossModel, gradient, mean_loss
from boltzmann.train.model import build_model

Values = dict[str, NDArray[np.float64]]
SIZE = 2
DEADLINE_S = 240.0


def team(script: str, *arguments: str) -> list[subprocess.Popen[str]]:
    """A process of each rank, started as torchrun does it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = Path(__file__).parent
    path = os.pathsep.join([str(place), str(place.parents[1])])
    return [
        subprocess.Popen(
            [sys.executable, str(place / script), *arguments],
            env={
                **os.environ,
                "PYTHONPATH": path,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(SIZE),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(SIZE)
    ]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Values]:
    """What each process of the team has found."""
    out = tmp_path_factory.mktemp("team") / "found"
    for process in team("team_member.py", str(out)):
        _, errors = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, errors[-2000:]
    found = []
    for rank in range(SIZE):
        with np.load(f"{out}-{rank}.npz") as values:
            found.append(dict(values))
    return found


@pytest.fixture(scope="module")
def found(members: list[Values]) -> Values:
    """What the leader has found."""
    return members[0]


@pytest.mark.parametrize("how", HOWS)
@BOTH
def test_a_team_computes_what_one_process_does(
    found: Values, tmp_path: Path, config: ModelConfig, how: str
) -> None:
    state = model_state(tmp_path, config)
    chosen, points = select(state.layout, bytes(32)), draw(state.layout, bytes(32), 100)
    model = LossModel(build_model(config, state.parameters, torch.device("cpu")))
    delta = gradient(model, BATCHES, points)
    key = f"{'tied' if config is TIED else 'untied'}-{how}"
    loss, tokens, tested = found[f"{key}-loss"]
    assert loss == pytest.approx(delta.loss, rel=1e-6)
    assert tested == pytest.approx(delta.loss, rel=1e-6)
    assert tokens == delta.tokens
    for part, usual in (
        ("slice", delta.on_slice(chosen)),
        ("points", delta.on_points(points)),
        ("shares", delta.shares),
    ):
        np.testing.assert_allclose(found[f"{key}-{part}"], usual, rtol=1e-3, atol=1e-7)
    assert str(found[f"{key}-error"][0]) == "page 9 is missing"


def test_the_two_are_alike_enough_for_any_gate(found: Values, tmp_path: Path) -> None:
    state = model_state(tmp_path)
    chosen = select(state.layout, bytes(32))
    model = LossModel(build_model(TINY, state.parameters, torch.device("cpu")))
    one = gradient(model, BATCHES).on_slice(chosen).astype(np.float64)
    two = found["untied-plain-slice"].astype(np.float64)
    assert one @ two / np.sqrt((one @ one) * (two @ two)) >= 0.9999


@COMPILER
def test_in_bf16_a_teams_compiled_layers_round_as_others_do(found: Values) -> None:
    def slice_of(label: str) -> NDArray[np.float64]:
        values = found[f"{label}-slice"].astype(np.float64)
        return values / np.linalg.norm(values)

    apart = np.linalg.norm(slice_of("bf16-compiled") - slice_of("bf16"))
    from_exact = np.linalg.norm(slice_of("untied-plain") - slice_of("bf16"))
    assert from_exact > 1e-3
    assert apart < 0.01 * from_exact


def test_a_leaders_orders_come_to_the_same(found: Values, tmp_path: Path) -> None:
    for part in ("slice", "shares", "loss"):
        assert np.array_equal(found[f"orders-{part}"], found[f"untied-plain-{part}"]), part
    state = model_state(tmp_path)
    model = LossModel(build_model(TINY, state.parameters, torch.device("cpu")))
    whole = np.concatenate(list(gradient(model, BATCHES).tensors))
    np.testing.assert_allclose(found["orders-whole"], whole, rtol=1e-3, atol=1e-7)


def test_a_page_nobody_can_read_ends_no_team_and_an_old_gradient_is_gone(found: Values) -> None:
    assert str(found["orders-error"][0]) == "page 9 is missing"
    assert "keeps its last gradient only" in str(found["orders-stale"][0])


def test_a_team_computes_at_the_parameters_it_was_given_last(found: Values, tmp_path: Path) -> None:
    state = model_state(tmp_path)
    state.theta *= np.float32(1.5)
    model = LossModel(build_model(TINY, state.parameters, torch.device("cpu")))
    moved = gradient(model, BATCHES)
    whole = np.concatenate(list(moved.tensors))
    np.testing.assert_allclose(found["orders-moved-whole"], whole, rtol=1e-3, atol=1e-6)
    expected = [moved.loss, moved.tokens, mean_loss(model, BATCHES)]
    np.testing.assert_allclose(found["orders-moved-loss"], expected, rtol=1e-5)


def test_what_nobody_waits_for_is_broken_off_by_all_of_a_team(found: Values) -> None:
    assert "broken off between two pages" in str(found["orders-broken-off"][0])
    assert np.array_equal(found["orders-after"], found["orders-slice"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_thread_of_a_team_is_left_to_abort_the_process_at_its_end(members: list[Values]) -> None:
    for found in members:
        of_team = [name for name in found["threads-of-team"] if "gloo" in name]
        assert of_team
        assert not set(of_team) & set(found["threads-left"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nor_is_one_left_where_the_work_has_failed() -> None:
    for process, held in zip(
        team("failing_member.py"), ("TeamEngine", "ShardedModel"), strict=True
    ):
        said, errors = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1
        assert f"miner: {held} is there" in errors
        of_team, left = map(int, said.split())
        assert of_team > 0
        assert left == 0
