"""docs/owner.md: its run.toml is one that nodes take, and publishing puts a run on a chain."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import bittensor as bt
import pytest
from bittensor.sp_core import Keypair

from boltzmann.app.publish import EXAMPLE_SEED
from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import create_chain, release_chain
from boltzmann.config import RunConfig
from boltzmann.errors import ConfigError
from boltzmann.local.plan import NETUID, OWNER, Plan
from boltzmann.node.runconfig import find_run
from boltzmann.store.reader import PublicReader
from boltzmann.store.s3 import S3Store
from boltzmann.train.presets import PRESETS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "owner.md").read_text(encoding="utf-8")
PLAN = Plan(miners=1, validators=1, adversaries={}, block_time=0.1)


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_example_is_a_run_that_nodes_take() -> None:
    run = RunConfig.parse(block("toml").encode())
    assert run.model == PRESETS["124M"]
    clock = run.windows
    steps = clock.commit_blocks + clock.upload_blocks + clock.receipt_blocks + clock.order_blocks
    assert clock.exchange_blocks >= steps + 3 + clock.turn_blocks  # the page's own rule


@pytest.fixture
def owner(s3: str, tmp_path: Path) -> Path:
    """A folder as the page's steps leave it: a registered wallet, a bucket, `.env`, the file."""
    bucket = f"owner-{tmp_path.name}".replace("_", "-").lower()[-60:]
    S3Store(s3, bucket, "key", "secret").ensure_bucket()
    chain_file = tmp_path / "chain.sqlite"
    start_chain(chain_file, tmp_path / "wallets")
    (tmp_path / "run.toml").write_bytes(PLAN.run_config().encode())
    settings = {
        "SUBTENSOR_NETWORK": f"embedded:{chain_file}",
        "BT_WALLET_NAME": OWNER,
        "BT_WALLET_PATH": tmp_path / "wallets",
        "BUCKET": bucket,
        "S3_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return tmp_path


def publish(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "boltzmann", "config", "publish", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def run_on(folder: Path, run: RunConfig) -> RunConfig:
    return asyncio.run(published(f"embedded:{folder / 'chain.sqlite'}", run.sha256))


def test_publishing_puts_the_run_where_nodes_find_it(owner: Path) -> None:
    done = publish(owner, "run.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"--run.hash {PLAN.run_config().sha256}" in done.stdout
    assert run_on(owner, PLAN.run_config()) == PLAN.run_config()
    assert publish(owner, "run.toml").returncode == 0  # once more is no harm


def test_another_run_takes_the_place_of_one_on_request_only(owner: Path) -> None:
    assert publish(owner, "run.toml").returncode == 0
    other = PLAN.run_config().encode().replace(b'id = "local', b'id = "other')
    (owner / "other.toml").write_bytes(other)
    refused = publish(owner, "other.toml")
    assert refused.returncode == 1
    assert "which would end: say --replace" in refused.stderr
    changed = PLAN.run_config().encode().replace(b"moving_alpha = 0.", b"moving_alpha = 0.1")
    assert changed != PLAN.run_config().encode()
    (owner / "changed.toml").write_bytes(changed)
    for options in ((), ("--replace",)):
        refused = publish(owner, "changed.toml", *options)
        assert refused.returncode == 1
        assert "give the new run another run.id" in refused.stderr
    assert run_on(owner, PLAN.run_config()) == PLAN.run_config()
    assert publish(owner, "other.toml", "--replace").returncode == 0
    assert run_on(owner, RunConfig.parse(other)) == RunConfig.parse(other)


def test_a_wallet_that_is_not_the_owners_publishes_nothing(owner: Path) -> None:
    refused = publish(owner, "run.toml", "--wallet.name", "guest")
    assert refused.returncode == 1
    assert "is not the owner's of netuid" in refused.stderr
    with pytest.raises(ConfigError, match="has no Boltzmann run"):
        run_on(owner, PLAN.run_config())


def test_the_examples_seed_and_other_data_are_refused(owner: Path) -> None:
    run = PLAN.run_config()
    assert f'seed = "{EXAMPLE_SEED}"' in block("toml")
    told = {
        "run.seed is the documentation's example": run.encode().replace(
            run.run.seed.encode(), EXAMPLE_SEED.encode()
        ),
        "has the fingerprint": run.encode().replace(
            f'revision = "{run.data.revision}"'.encode(), b'revision = "another"'
        ),
    }
    for sentence, file in told.items():
        (owner / "run.toml").write_bytes(file)
        refused = publish(owner, "run.toml")
        assert refused.returncode == 1
        assert sentence in refused.stderr
    with pytest.raises(ConfigError, match="has no Boltzmann run"):
        run_on(owner, run)


async def published(network: str, sha256: str) -> RunConfig:
    """The run of the chain's subnet, as nodes find it."""
    chain = await connect(network, NETUID)
    try:
        return await find_run(chain, PublicReader("localhost"), NETUID, sha256, 10.0)
    finally:
        await chain.close()


def start_chain(path: Path, wallets: Path) -> None:
    """A running chain with the owner's wallet on its machine, and a guest's."""
    names = ["validator0", "miner0"]
    hot = {name: address(f"//{name}//hot") for name in names}
    cold = {name: address(f"//{name}//cold") for name in names}
    for name in (OWNER, "guest"):
        made = wallet(wallets, name)
        hot[name] = str(made.hotkey.ss58_address)
        cold[name] = str(made.coldkeypub.ss58_address)
    create_chain(path, genesis=PLAN.genesis(hot, cold))
    release_chain(path)


def wallet(wallets: Path, name: str) -> bt.Wallet:
    """A new wallet on disk, without a password."""
    made = bt.Wallet(name, "default", str(wallets))
    quiet = {"use_password": False, "overwrite": False, "suppress": True}
    made.regenerate_coldkey(seed=PLAN.secret("coldkey", name), **quiet)
    made.regenerate_hotkey(seed=PLAN.secret("hotkey", name), **quiet)
    return made


def address(uri: str) -> str:
    return str(Keypair.create_from_uri(uri).ss58_address)
