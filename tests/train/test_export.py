"""The exported folder: transformers loads the node's own model from it, and the run's tokens."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from test_full_disk import no_file_may_grow
from train_kit import BOTH, OUTER, RUN, TINY, logits, model_state, update
from transformers import AutoModelForCausalLM, AutoTokenizer

from boltzmann.cli import checkpoint as command
from boltzmann.config import (
    DataConfig,
    ExchangeConfig,
    Identity,
    ModelConfig,
    RunConfig,
)
from boltzmann.data.tokenizer import ByteTokenizer
from boltzmann.errors import BoltzmannError, ConfigError, CorruptState, DataError, StateError
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.rewards import RewardConfig
from boltzmann.protocol.scoring import GateConfig
from boltzmann.train import checkpoint
from boltzmann.train.export import export_transformers
from boltzmann.train.model import build_model
from boltzmann.train.state import ModelState


def trained(folder: Path, config: ModelConfig = TINY) -> ModelState:
    """A state one window after its genesis."""
    state = model_state(folder, config)
    update(state.layout, 1).apply_to(state)
    return state


def own_logits(state: ModelState, config: ModelConfig) -> torch.Tensor:
    return logits(build_model(config, state.parameters, torch.device("cpu")))


@BOTH
def test_transformers_loads_the_nodes_own_model(tmp_path: Path, config: ModelConfig) -> None:
    state = trained(tmp_path, config)
    theta = state.theta.copy()
    export_transformers(state, config, tmp_path / "out", "byte")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(logits(model), own_logits(state, config))
    assert model.dtype == torch.float32
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == config.tie_word_embeddings
    assert (state.theta == theta).all()


def test_the_exported_model_continues_text(tmp_path: Path) -> None:
    config = ModelConfig(**{**vars(TINY), "vocab_size": ByteTokenizer.vocab_size})
    export_transformers(trained(tmp_path, config), config, tmp_path / "out", "byte")
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = tokenizer("Once", return_tensors="pt")
    continued = model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert continued[0, :4].tolist() == ByteTokenizer().encode("Once")
    assert 4 < continued.shape[1] <= 7
    assert model.generation_config.eos_token_id == ByteTokenizer.eos


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_transformers(trained(folder), TINY, folder / "out", "byte")
    return folder / "out"


@given(text=st.text())
@example(text="</s><pad> <unk><0x41>")
@example(text=" \r\n日本\u0301\x00")
def test_the_exported_tokenizer_is_the_runs(exported: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported)
    ids = tokenizer(text)["input_ids"]
    assert ids == ByteTokenizer().encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == ByteTokenizer.eos


def test_a_saved_tokenizer_goes_along(tmp_path: Path, exported: Path) -> None:
    export_transformers(trained(tmp_path), TINY, tmp_path / "out", str(exported))
    again = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again("text")["input_ids"] == ByteTokenizer().encode("text")


def test_a_tokenizer_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run's tokenizer .*absent cannot be loaded"):
        export_transformers(trained(tmp_path), TINY, tmp_path / "out", str(tmp_path / "absent"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["full", "file"])
def test_what_is_there_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    if kind == "full":
        target.mkdir()
    kept = target / "mine" if kind == "full" else target
    kept.write_text("precious")
    with pytest.raises(ConfigError, match="not an empty folder"):
        export_transformers(trained(tmp_path), TINY, target, "byte")
    assert kept.read_text() == "precious"


def test_a_disk_that_is_full_leaves_no_half_an_export(tmp_path: Path) -> None:
    state = trained(tmp_path)
    before = sorted(tmp_path.iterdir())
    with no_file_may_grow(), pytest.raises(StateError, match="make room there"):
        export_transformers(state, TINY, tmp_path / "out", "byte")
    assert sorted(tmp_path.iterdir()) == before


# The command.


def run_toml(folder: Path) -> Path:
    config = RunConfig(
        run=Identity(RUN, 220, "ab" * 32),
        windows=WindowClock(train_blocks=4, exchange_blocks=9),
        data=DataConfig("bundled", "cd" * 32, 3, 256, 2, 8, 2),
        model=TINY,
        exchange=ExchangeConfig(chunk_size=16),
        outer=OUTER,
        gate=GateConfig(0.995, 0.98, 0.9, 1.1),
        rewards=RewardConfig(0.1, 0.25, 10),
    )
    path = folder / "run.toml"
    path.write_bytes(config.encode())
    return path


def boltzmann(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers(required=True))
    options = parser.parse_args(["checkpoint", "export", *map(str, arguments)])
    code: int = options.run(options)
    return code


@pytest.mark.parametrize("kind", ["own copy", "download"])
@pytest.mark.parametrize("existing", [False, True])
def test_the_command_exports_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, existing: bool
) -> None:
    state, target = trained(tmp_path), tmp_path / "new" / "out"
    checkpoint.write(state, RUN, tmp_path / "state", shard_bytes=5000)
    if kind == "download":
        (tmp_path / "state" / checkpoint.CHECKSUM).unlink()
    if existing:
        target.mkdir(parents=True)
    toml = run_toml(tmp_path)
    config = ("--config", toml) if existing else ()  # beside the state, it need not be named
    assert boltzmann("--from", tmp_path / "state", "--to", target, *config) == 0
    model = AutoModelForCausalLM.from_pretrained(target)
    assert torch.equal(logits(model), own_logits(state, TINY))
    assert "window 1 of run run-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("trouble", "kind", "says"),
    [
        ("no checkpoint", ConfigError, "no checkpoint in .*state"),
        ("no config", ConfigError, r"run\.toml cannot be read"),
        ("damage", CorruptState, "is damaged"),
        ("full target", ConfigError, "not an empty folder"),
    ],
)
def test_the_command_names_its_trouble(
    tmp_path: Path, trouble: str, kind: type[BoltzmannError], says: str
) -> None:
    toml, source = run_toml(tmp_path), tmp_path / "state"
    descriptor = checkpoint.write(trained(tmp_path), RUN, source)
    if trouble == "no checkpoint":
        source.rename(tmp_path / "elsewhere")
    elif trouble == "no config":
        toml.unlink()
    elif trouble == "damage":
        with (source / checkpoint.shard_name(descriptor.shards[0])).open("r+b") as shard:
            shard.write(b"other")
    else:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").touch()
    with pytest.raises(kind, match=says):
        boltzmann("--from", source, "--to", tmp_path / "out", "--config", toml)
