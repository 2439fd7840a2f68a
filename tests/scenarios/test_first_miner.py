"""From a fresh clone to a miner whose work counts: the steps that README.md asks of somebody new.

One thing is shortened. The clone's `.venv` does not install its own packages, which would fetch two
gigabytes: it finds those that run this test, through one .pth file, and holds the stamp that
scripts/venv.sh leaves behind after an install of these requirements.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import bittensor as bt
import pytest
from network_kit import DEADLINE_S, ROOT, Running, release, small_plan
from rpc_kit import node_over

from boltzmann.chain.embedded.accounts import RAO_PER_TAO
from boltzmann.local.network import prepared
from boltzmann.local.plan import NETUID
from boltzmann.store.s3 import S3Store

pytestmark = pytest.mark.scenario

WALLET, BUCKET = "newcomer", "newcomers-bucket"
KEY, SECRET = "newcomers-key", "newcomers-secret"
QUESTION = re.compile(r"\[([A-Z0-9_]+)\][^\n]*: $")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def clone(home: Path) -> Path:
    """What `git clone` gives: the tracked files; and the environment that run.sh would make."""
    place = home / "boltzmann"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists():  # a file that is deleted, but not yet committed
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    borrow_packages(place)
    return place


def borrow_packages(place: Path) -> None:
    """A `.venv` that has what this Python has, in the state after a complete install."""
    venv.create(place / ".venv", with_pip=False, symlinks=True)
    folders = {"base": str(place / ".venv"), "platbase": str(place / ".venv")}
    packages = Path(sysconfig.get_path("purelib", vars=folders))
    borrowed = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    command = ["bash", "-c", ". scripts/venv.sh; requirements_stamp"]
    stamp = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout
    (place / ".venv" / "requirements.txt.installed").write_text(stamp)


@pytest.fixture(scope="module")
def wallet(home: Path) -> bt.Wallet:
    """As the SDK makes it where people have their wallets: two files, no password."""
    wallet = bt.Wallet(WALLET, "default", str(home / ".bittensor" / "wallets"))
    wallet.create_new_coldkey(use_password=False, suppress=True)
    wallet.create_new_hotkey(suppress=True)
    return wallet


@dataclass(frozen=True)
class Subnet:
    """A network that trains already, and the URL of a websocket node of its chain."""

    running: Running
    url: str


@pytest.fixture(scope="module")
def subnet(tmp_path_factory: pytest.TempPathFactory, wallet: bt.Wallet) -> Iterator[Subnet]:
    plan = small_plan(
        tmp_path_factory.mktemp("subnet") / "network",
        miners=1,
        validators=2,
        block_time=0.9,
        balances_rao={str(wallet.coldkeypub.ss58_address): RAO_PER_TAO},
    )
    with (
        pytest.MonkeyPatch.context() as environment,
        prepared(plan) as network,
        node_over(network.chain, environment, newer_items=True) as node,
    ):
        running = Running(network)
        release(running, {})
        yield Subnet(running, node.url)


@dataclass
class Terminal:
    """A command at a terminal, with somebody who answers what it asks for by its [NAME]."""

    command: list[str]
    folder: Path
    environment: Mapping[str, str]
    answers: dict[str, str]
    output: str = ""
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._fd, theirs = pty.openpty()
        try:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=dict(self.environment),
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            os.close(theirs)

    def attend(self, seconds: float = 0.0) -> None:
        """Read what it has printed by now, and answer if it asks."""
        while select.select([self._fd], [], [], seconds)[0]:
            try:
                self.output += os.read(self._fd, 1 << 16).decode(errors="replace")
            except OSError:  # the other end of a terminal is closed
                return
            question = QUESTION.search(self.output.replace("\r", ""))
            if question is not None:
                self.asked.append(question[1])
                os.write(self._fd, (self.answers[question[1]] + "\n").encode())
                self.output += "\n"

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        deadline = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"{self.command} does not end: {self.output}"
            self.attend(0.1)
        self.attend()
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._fd)


@dataclass(frozen=True)
class Newcomer:
    """Somebody with a clone, a home, and nothing of this project in the environment."""

    clone: Path
    home: Path
    hotkey: str
    subnet: Subnet

    def at_a_terminal(self, *command: str, **answers: str) -> Terminal:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        threads = {"OMP_NUM_THREADS": "1"}  # this machine runs other nodes beside it
        return Terminal(list(command), self.clone, {**environment, **threads}, answers)

    def run_miner(self, **answers: str) -> Terminal:
        return self.at_a_terminal(
            "bash", "scripts/run.sh", "miner", "--netuid", str(NETUID), **answers
        )


@pytest.fixture(scope="module")
def newcomer(clone: Path, home: Path, wallet: bt.Wallet, subnet: Subnet) -> Newcomer:
    return Newcomer(clone, home, str(wallet.hotkey.ss58_address), subnet)


@pytest.fixture(scope="module")
def advice(newcomer: Newcomer) -> str:
    """The first start: it asks for everything once, checks it, and ends with what is to be done."""
    network = newcomer.subnet.running.network
    S3Store(network.s3.url, BUCKET, KEY, SECRET).ensure_bucket()
    terminal = newcomer.run_miner(
        BUCKET=BUCKET,
        S3_ENDPOINT_URL=network.s3.url,
        AWS_ACCESS_KEY_ID=KEY,
        AWS_SECRET_ACCESS_KEY=SECRET,
        BT_WALLET_NAME=WALLET,
        BT_WALLET_HOTKEY="",  # the default
        SUBTENSOR_NETWORK=newcomer.subnet.url,
    )
    try:
        code = terminal.end()
        assert code == 1, terminal.output
        assert sorted(terminal.asked) == sorted(terminal.answers)
        assert SECRET not in terminal.output
        return terminal.output
    finally:
        terminal.close()


def test_what_is_answered_is_kept_for_its_user_alone(newcomer: Newcomer, advice: str) -> None:
    kept = newcomer.clone / ".env"
    assert kept.stat().st_mode & 0o077 == 0
    assert SECRET in kept.read_text()
    assert "the first time" not in advice, "it installed something"


def test_it_says_how_to_register_and_then_mines(newcomer: Newcomer, advice: str) -> None:
    running = newcomer.subnet.running
    (line,) = set(re.findall("`(btcli [^`\r\n]*)`", advice))
    btcli = newcomer.at_a_terminal(
        str(Path(sys.executable).with_name("btcli")), *shlex.split(line)[1:], "--yes"
    )
    try:
        assert btcli.end() == 0, btcli.output
    finally:
        btcli.close()

    miner = newcomer.run_miner()
    try:
        running.until(
            lambda: accepted(running, miner, newcomer.hotkey), "its first delta in an update"
        )
        assert miner.asked == []
        miner.process.send_signal(signal.SIGTERM)
        assert miner.end() == 0, miner.output
    finally:
        miner.close()


def accepted(running: Running, miner: Terminal, hotkey: str) -> bool:
    """Whether an update that a validator applied holds a delta of this hotkey."""
    miner.attend()
    assert miner.process.poll() is None, miner.output
    applied = [event for name in running.validators for event in running.events(name, "applied")]
    return any(hotkey in event["accepted"] for event in applied)
