"""Starting miner.py as a person does: what is wrong is said in one sentence, before anything heavy.

Each case is a process of its own, with settings from its environment and from `.env` alone.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from machine_kit import DEADLINE_S, Ended, Machine, closed_port, machine_in

from boltzmann.app.settings import read_settings
from boltzmann.app.setup import open_node
from boltzmann.chain.connect import connect
from boltzmann.local.network import ROOT
from boltzmann.local.plan import GUEST, NETUID, OWNER, Plan
from boltzmann.protocol.commitment import Commitment, Role, decode
from boltzmann.store.s3 import S3Store


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_in(tmp_path_factory.mktemp("start")) as found:
        yield found


@dataclass(frozen=True)
class Case:
    """A mistake, and what must be said of it."""

    words: tuple[str, ...]
    changes: Mapping[str, str]
    arguments: tuple[str, ...] = ()


HASH = Plan(miners=1, adversaries={}).run_config().sha256
CASES = {
    "no wallet": Case(("no hotkey file", "nobody", "new-hotkey"), {"BT_WALLET_NAME": "nobody"}),
    "no setting": Case(("--bucket or BUCKET", "BUCKET=", ".env"), {}, ("--bucket", "")),
    "unknown network": Case(
        ("--subtensor.network 'nowhere'", "finney"), {}, ("--subtensor.network", "nowhere")
    ),
    "no chain": Case(("no-such-chain",), {"SUBTENSOR_NETWORK": "embedded:no-such-chain"}),
    "wrong netuid": Case(("no subnet with netuid 7", str(NETUID)), {}, ("--netuid", "7")),
    "unregistered": Case(
        ("is not registered on netuid 220", "stranger/default"), {"BT_WALLET_NAME": "stranger"}
    ),
    "wrong bucket": Case(("There is no bucket 'not-there'", "create it"), {"BUCKET": "not-there"}),
    "silent bucket": Case(
        ("bucket 'guest'", "does not answer"),
        {"S3_ENDPOINT_URL": f"http://127.0.0.1:{closed_port()}"},
    ),
    "endpoint no url": Case(("endpoint",), {"S3_ENDPOINT_URL": "localhost:9000"}),
    "a read key that writes": Case(
        ("may write and remove objects", "everybody will have it"),
        {"S3_READ_KEY_ID": "reader", "S3_READ_SECRET": "its-secret"},
    ),
    "half a read key": Case(("belong together",), {"S3_READ_KEY_ID": "reader"}),
    "another run": Case((HASH, "0" * 64, "RUN_HASH", "update the pin"), {"RUN_HASH": "0" * 64}),
    "owner's hotkey": Case(
        ("subnet's owner", "another hotkey"), {"BT_WALLET_NAME": OWNER, "BUCKET": OWNER}
    ),
    "no workdir": Case(("--workdir /dev/null", "another folder"), {"WORKDIR": "/dev/null"}),
    "no device": Case(("--device meta is not supported",), {"DEVICE": "meta"}),
    "a cheat on a real network": Case(
        ("--adversary is for embedded networks only",),
        {"SUBTENSOR_NETWORK": "finney"},
        ("--adversary", "copy"),
    ),
    "a crash on a real network": Case(
        ("--crash_at is for embedded networks only",),
        {"SUBTENSOR_NETWORK": "finney"},
        ("--crash_at", "before:seal:3"),
    ),
    "an unknown cheat": Case(("--adversary sloth is unknown",), {"ADVERSARY": "sloth"}),
}


@pytest.fixture(scope="module")
def endings(machine: Machine) -> dict[str, Ended]:
    """All cases, two at a time: most of their time is the import of the SDK."""
    with ThreadPoolExecutor(2) as pool:
        running = {
            name: pool.submit(machine.run, name, case.changes, *case.arguments)
            for name, case in CASES.items()
        }
        found = {name: future.result() for name, future in running.items()}
    with machine.changed_run():
        found["changed run"] = machine.run("changed run", {})
    return found


@pytest.mark.parametrize("name", [*CASES, "changed run"])
def test_a_mistake_is_one_sentence_with_the_mend(endings: dict[str, Ended], name: str) -> None:
    ended = endings[name]
    words = CASES[name].words if name in CASES else ("somebody changed the file", HASH)
    assert ended.code == 1
    assert "Traceback" not in ended.errors + ended.output
    (line,) = ended.errors.splitlines()
    assert line.startswith("miner: ")
    for word in words:
        assert word in line
    assert "local-secret" not in ended.errors + ended.output


async def test_a_guest_joins_from_its_env_file_and_leaves_on_interrupt(machine: Machine) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "miner.py"),
        cwd=machine.folder("guest"),
        env=machine.environment({"WORKDIR": "work"}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    seen = b""
    try:
        while b"started" not in seen:
            line = await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)
            assert line, seen.decode()
            seen += line
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 0
    assert b"Traceback" not in seen + rest
    assert b"stopped" in rest
    network = machine.network
    chain = await connect(f"embedded:{network.chain}", NETUID)
    head = await chain.head()
    record = decode((await chain.commitments(head.number))[network.hotkeys[GUEST]])
    await chain.close()
    run = network.plan.run_config().run.id
    assert record == Commitment(Role.MINER, run, f"{network.s3.url}/{GUEST}")


async def test_a_node_reads_many_buckets_at_once_and_drops_what_a_killed_one_was_reading(
    machine: Machine,
) -> None:
    folder = machine.folder("begun")
    found = machine.environment({"WORKDIR": str(folder / "work")})
    settings = read_settings("miner", "", [], found, folder / ".env")
    cut_off = settings.folder / machine.network.plan.run_config().run.id / "updates" / "some.part"
    cut_off.parent.mkdir(parents=True)
    cut_off.write_bytes(b"half of it")
    many = threading.Barrier(64)
    async with open_node(settings, Role.MINER):
        assert not cut_off.exists()
        # It opens when all wait in it, each in a thread of its own.
        await asyncio.gather(*(asyncio.to_thread(many.wait, DEADLINE_S) for _ in range(64)))


def test_a_bucket_whose_address_no_record_can_hold_is_told(machine: Machine) -> None:
    url, name = machine.network.s3.url, "b" * 60
    S3Store(url, name, "local", "local-secret").ensure_bucket()
    port = url.rpartition(":")[2]
    address = f"http://[0000:0000:0000:0000:0000:ffff:127.0.0.1]:{port}/{name}"
    ended = machine.run("long address", {"BUCKET": name, "S3_PUBLIC_URL": address})
    assert ended.code == 1
    (line,) = ended.errors.splitlines()
    assert "record on chain cannot hold its bucket" in line
    assert "--s3.public_url" in line
