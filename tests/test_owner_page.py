"""docs/owner.md: its run.toml is one that nodes take, and its script puts a run on a chain."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import bittensor as bt
from bittensor.sp_core import Keypair

from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import create_chain, release_chain
from boltzmann.config import RunConfig
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


def test_the_script_publishes_the_run(s3: str, tmp_path: Path) -> None:
    S3Store(s3, "owner-page", "key", "secret").ensure_bucket()
    chain_file = tmp_path / "chain.sqlite"
    start_chain(chain_file, tmp_path / "wallets")
    (tmp_path / "run.toml").write_bytes(PLAN.run_config().encode())
    (tmp_path / "publish.py").write_text(block("python"))
    settings = {
        "NETUID": NETUID,
        "SUBTENSOR_NETWORK": f"embedded:{chain_file}",
        "BT_WALLET_NAME": OWNER,
        "BT_WALLET_PATH": tmp_path / "wallets",
        "BUCKET": "owner-page",
        "S3_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "publish.py"], cwd=tmp_path, env=environment, check=True)
    assert asyncio.run(published(f"embedded:{chain_file}")) == PLAN.run_config()


async def published(network: str) -> RunConfig:
    """The run of the chain's subnet, as nodes find it."""
    chain = await connect(network, NETUID)
    try:
        return await find_run(
            chain, PublicReader("localhost"), NETUID, PLAN.run_config().sha256, 10.0
        )
    finally:
        await chain.close()


def start_chain(path: Path, wallets: Path) -> None:
    """A running chain whose subnet is the wallet's that the page's script is to use."""
    wallet = bt.Wallet(OWNER, "default", str(wallets))
    quiet = {"use_password": False, "overwrite": False, "suppress": True}
    wallet.regenerate_coldkey(seed=PLAN.secret("coldkey", OWNER), **quiet)
    wallet.regenerate_hotkey(seed=PLAN.secret("hotkey", OWNER), **quiet)
    names = ["validator0", "miner0", "guest"]
    hot = {name: address(f"//{name}//hot") for name in names}
    cold = {name: address(f"//{name}//cold") for name in names}
    hot[OWNER] = str(wallet.hotkey.ss58_address)
    cold[OWNER] = str(wallet.coldkeypub.ss58_address)
    create_chain(path, genesis=PLAN.genesis(hot, cold))
    release_chain(path)


def address(uri: str) -> str:
    return str(Keypair.create_from_uri(uri).ss58_address)
