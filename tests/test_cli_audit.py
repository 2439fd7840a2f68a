"""`boltzmann audit` as it is typed: bad usage, and a network of processes that has trained."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from bittensor.sp_core import Keypair

from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import create_chain, release_chain
from boltzmann.chain.keys import EMBEDDED
from boltzmann.cli import audit
from boltzmann.errors import BoltzmannError, ConfigError
from boltzmann.local.network import prepared, publish
from boltzmann.local.plan import NETUID, Plan
from boltzmann.local.run import until_ready

WINDOWS = 3
DEADLINE_S = 180.0


def run(arguments: Sequence[str]) -> int:
    """The command's exit code. Raises: SystemExit for bad usage, BoltzmannError."""
    parser = argparse.ArgumentParser("boltzmann")
    audit.add(parser.add_subparsers(required=True))
    options = parser.parse_args(["audit", *arguments])
    code: int = options.run(options)
    return code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--netuid", "1"], "--window --from is required"),
        (["--window", "3", "--from", "2", "--netuid", "1"], "not allowed with"),
        (["--window", "three", "--netuid", "1"], "'three' is no whole number"),
        (["--window", "-3", "--netuid", "1"], "no whole number"),
        (["--window", "3", "--to", "4", "--netuid", "1"], "--to goes with --from"),
        (["--from", "3", "--netuid", "1"], "--from needs --to"),
        (["--from", "3", "--to", "2", "--netuid", "1"], "--from 3 comes after --to 2"),
    ],
)
def test_bad_usage_is_told_before_anything_is_opened(
    arguments: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run(arguments)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "--netuid or NETUID is not set"), (["--netuid", "65536"], "0 to 65535, got 65536")],
)
def test_a_subnet_that_cannot_be_is_told(
    arguments: Sequence[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no .env here
    monkeypatch.delenv("NETUID", raising=False)
    with pytest.raises(ConfigError, match=said):
        run(["--window", "3", *arguments])


def test_the_subnet_may_stand_in_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NETUID", "SUBTENSOR_NETWORK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("NETUID=7\nSUBTENSOR_NETWORK=embedded:no-such-chain\n")
    with pytest.raises(BoltzmannError, match="no-such-chain"):
        run(["--window", "3"])


def test_a_subnet_without_a_run_is_told(tmp_path: Path) -> None:
    plan = Plan(workdir=tmp_path)
    names = ["owner", "guest", *(member.name for member in plan.members)]
    keys = {name: str(Keypair.create_from_uri(f"//{name}").ss58_address) for name in names}
    chain = tmp_path / "chain.sqlite"
    create_chain(chain, genesis=plan.genesis(keys, keys))
    where = ["--netuid", str(NETUID), "--subtensor.network", f"{EMBEDDED}{chain}"]
    with pytest.raises(ConfigError, match=f"netuid {NETUID} has no Boltzmann run"):
        run(["--window", "1", *where])


@dataclass(frozen=True)
class Trained:
    """A network whose nodes still run. `where`: the options that lead to it."""

    where: list[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    plan = Plan(
        miners=2,
        validators=2,
        adversaries={"random": 1},
        train_blocks=3,
        exchange_blocks=7,
        block_time=0.7,
        workdir=tmp_path_factory.mktemp("network") / "work",
    )
    with prepared(plan) as network:
        name = f"{EMBEDDED}{network.chain}"

        async def train() -> None:
            await publish(network)
            network.spawn_all()
            chain = await connect(name, NETUID)
            try:
                await until_ready(network, chain)
                release_chain(network.chain)
                deadline = time.monotonic() + DEADLINE_S
                # By then everybody has mirrored the last manifest.
                while (await chain.head()).number < plan.clock().close(WINDOWS + 1):
                    assert time.monotonic() < deadline, "the chain stands still"
                    await asyncio.sleep(0.2)
            finally:
                await chain.close()

        asyncio.run(train())
        yield Trained(["--netuid", str(NETUID), "--subtensor.network", name])


@pytest.mark.scenario
def test_a_network_that_trained_is_recomputed_without_a_wallet(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    which = ["--from", "0", "--to", str(WINDOWS), "--recompute", "--device", "cpu"]
    code = run([*which, "--json", *trained.where])
    captured = capsys.readouterr()
    told = [json.loads(line) for line in captured.out.splitlines()]
    assert [report["window"] for report in told] == list(range(WINDOWS + 1))
    assert code == 0, captured.out
    assert [report["status"] for report in told if report["manifest"]].count("match") >= 2
    assert captured.err == ""


@pytest.mark.scenario
def test_one_window_is_one_line(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--window", "0", *trained.where]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("window 0  match  accepted 0  leader 5")


@pytest.mark.scenario
def test_another_runs_hash_is_refused(trained: Trained) -> None:
    with pytest.raises(ConfigError, match=r"--run\.hash"):
        run(["--window", "0", "--run.hash", "ab" * 32, *trained.where])


@pytest.mark.scenario
def test_a_window_to_come_is_refused(trained: Trained) -> None:
    with pytest.raises(ConfigError, match="window 100000 is not decided yet"):
        run(["--window", "100000", *trained.where])
