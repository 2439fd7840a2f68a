"""`boltzmann status` of a run with a miner and a validator that has put a window in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from machine_kit import Machine, machine_in

from boltzmann.app.status import phase_of
from boltzmann.chain.connect import connect
from boltzmann.chain.keys import load_wallet
from boltzmann.local.plan import GUEST, NETUID
from boltzmann.protocol.clock import WindowClock
from boltzmann.protocol.commitment import Commitment, Role

CLOCK = WindowClock(
    train_blocks=3, exchange_blocks=8, upload_blocks=2, receipt_blocks=2, turn_blocks=1
)
MINER_BUCKET, VALIDATOR_BUCKET = "http://127.0.0.1:9/guest", "http://127.0.0.1:9/validator0"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_in(tmp_path_factory.mktemp("status")) as found:
        asyncio.run(_take_part(found))
        yield found


async def _take_part(machine: Machine) -> None:
    run = machine.network.plan.run_config().run.id
    for name, record in (
        (GUEST, Commitment(Role.MINER, run, MINER_BUCKET)),
        ("validator0", Commitment(Role.VALIDATOR, run, VALIDATOR_BUCKET, manifest=(3, "ab" * 32))),
    ):
        wallet = load_wallet(name, "default", str(machine.network.folder / "wallets"))
        chain = await connect(f"embedded:{machine.network.chain}", NETUID, wallet)
        await chain.commit(record.encode())
        await chain.close()


def status(machine: Machine, name: str, *options: str) -> str:
    network = f"embedded:{machine.network.chain}"
    ended = machine.boltzmann(
        name, {}, "status", "--netuid", str(NETUID), "--subtensor.network", network, *options
    )
    assert ended.code == 0, ended.errors
    return ended.output


def test_a_run_and_who_takes_part(machine: Machine) -> None:
    found = json.loads(status(machine, "json", "--json"))
    config, hotkeys = machine.network.plan.run_config(), machine.network.hotkeys
    assert (found["run"], found["config"]) == (config.run.id, config.sha256)
    assert (found["netuid"], found["agreed"]) == (NETUID, 3)
    (miner,), (validator,) = found["miners"], found["validators"]
    assert (miner["hotkey"], miner["bucket"]) == (hotkeys[GUEST], MINER_BUCKET)
    assert (validator["hotkey"], validator["manifest"]) == (hotkeys["validator0"], 3)
    assert validator["stake"] > 0
    clock = config.windows
    assert found["window"] == clock.window(found["block"])


def test_the_same_for_people(machine: Machine) -> None:
    text = status(machine, "text")
    hotkeys = machine.network.hotkeys
    assert "newest in order: window 3" in text
    assert MINER_BUCKET in text
    assert hotkeys[GUEST][:8] in text and hotkeys["validator0"][:8] in text


def test_the_phase_follows_from_the_block() -> None:
    blocks = [phase_of(CLOCK, 2, block) for block in range(CLOCK.open(2), CLOCK.open(3))]
    names = ["training", "commits", "uploads", "receipts", "agreement", "order"]
    assert list(dict.fromkeys(name for name, _ in blocks)) == names
    assert [end for _, end in dict(blocks).items()] == [
        *(CLOCK.close(2), CLOCK.commit_by(2), CLOCK.upload_by(2)),
        *(CLOCK.receipts_by(2), CLOCK.decide(2), CLOCK.open(3)),
    ]
