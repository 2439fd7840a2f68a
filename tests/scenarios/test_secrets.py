"""Planted secrets show nowhere: not in what a node writes, says or sends, whatever happens."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from leak_kit import Leaks, canary, command_lines, environments, files, objects
from network_kit import DEADLINE_S, Rogue, Running, events, running_network, small_plan
from wandb_server import WandbServer, wandb_server

from boltzmann.local.network import ROOT
from boltzmann.local.plan import GUEST

pytestmark = pytest.mark.scenario

AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
PLANTED = {name: canary(name[4:7]) for name in (*AWS, "HF_TOKEN")}
PLANTED["WANDB_API_KEY"] = canary("wandb", "-")  # the library takes no other signs
LAUNCHERS = {name: canary("launcher", "-") for name in PLANTED}


def hotkey_secrets(wallets: Path, name: str) -> dict[str, str]:
    """What a hotkey's file holds that nobody else may have, by the file's own names."""
    held = json.loads((wallets / name / "hotkeys" / "default").read_text())
    found = {
        f"{name}'s {key}": str(held[key]).removeprefix("0x")
        for key in ("secretSeed", "privateKey", "secretPhrase")
        if held.get(key)
    }
    assert found, f"no secret in the file: {sorted(held)}"
    return found


def dumps_allowed() -> None:
    """In the child, before it becomes the node: what an operator's shell may allow."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


@dataclass(frozen=True)
class Scene:
    """A network in which a guest mines as on any machine and miner0 talks too much."""

    running: Running
    guest: subprocess.Popen[bytes]
    home: Path
    wandb: WandbServer
    leaks: Leaks
    at_first: dict[str, bytes]  # environments, while miner0 was there

    @property
    def output(self) -> Path:
        return self.home / "output"

    @property
    def talk(self) -> Path:
        """What the libraries in miner0 have logged."""
        return self.running.process("miner0").log

    def shown(self) -> Iterator[tuple[str, bytes]]:
        """All that was written or sent, but where the secrets belong, and but `talk`."""
        folder = self.running.folder
        belongs = (folder / "wallets", folder / "guest.env", self.home / ".env")
        yield from files(
            folder, folder.parent / "network-home", self.home, but=(*belongs, self.talk)
        )
        yield from objects(self.running.network.s3.url)
        for number, request in enumerate(self.wandb.requests):
            rest = [pair for pair in request.headers if pair[0] != "Authorization"]
            yield f"request {number} to W&B", f"{request.path} {rest}".encode() + request.body


def start_guest(running: Running, home: Path, wandb_url: str) -> subprocess.Popen[bytes]:
    """miner.py in a folder with a `.env`, reporting to W&B, telling every event as JSON."""
    home.mkdir()
    (home / "tmp").mkdir()
    lines = (running.folder / "guest.env").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("AWS_")]
    lines += [f"{name}='{PLANTED[name]}'" for name in AWS]
    (home / ".env").write_text("\n".join(lines) + "\n")
    (home / ".env").chmod(0o600)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "OMP_NUM_THREADS": "1",
        "PYTHONFAULTHANDLER": "1",
        "WANDB_API_KEY": PLANTED["WANDB_API_KEY"],
        "HF_TOKEN": PLANTED["HF_TOKEN"],
        "WANDB_BASE_URL": wandb_url,
        "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "1",
    }
    with (home / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "miner.py"), "--trace", "--use_wandb"],
            cwd=home,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=dumps_allowed,
        )


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("secrets")
    plan = small_plan(folder / "network", miners=1, validators=1, block_time=0.7)
    (folder / "network-home").mkdir()
    place = {name: str(folder / "network-home") for name in ("HOME", "TMPDIR")}
    reports = {"USE_WANDB": "1", "WANDB_MODE": "offline", "DEBUG": "1"}
    rogue = Rogue("talking_miner.py", {**PLANTED, **place, **reports})
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, secret in LAUNCHERS.items():
            patch.setenv(name, secret)
        running = stack.enter_context(running_network(plan, {"miner0": rogue}))
        at_first = environments(psutil.Process())
        wandb = stack.enter_context(wandb_server())
        guest = start_guest(running, folder / "guest", wandb.url)
        stack.callback(guest.wait)
        stack.callback(guest.kill)
        keys: dict[str, str] = {}
        for name in (GUEST, "miner0", "validator0"):
            keys |= hotkey_secrets(running.folder / "wallets", name)
        launchers = {f"the launcher's {name}": secret for name, secret in LAUNCHERS.items()}
        leaks = Leaks({**PLANTED, **keys, **launchers})
        yield Scene(running, guest, folder / "guest", wandb, leaks, at_first)


def rows_at_wandb(scene: Scene) -> int:
    return sum(len(run.history) for run in scene.wandb.runs.values())


def test_while_nodes_run_nothing_is_shown(scene: Scene) -> None:
    scene.running.until(lambda: rows_at_wandb(scene) >= 1, "the guest's rows at W&B")
    assert scene.guest.poll() is None
    assert scene.leaks.of(command_lines()) == []
    assert scene.leaks.of(scene.shown()) == []
    # The scan has seen what there is to see.
    written = dict(scene.shown())
    for name in ("events.jsonl", "run.toml", "wandb.log", "debug-internal.log"):
        assert any(place.endswith(f"/{name}") and GUEST in place for place in written), name
    assert any("offline-run" in place and place.endswith(".wandb") for place in written)
    assert any(place.startswith(f"{GUEST}/") for place in written), "the guest's objects"
    assert "request 0 to W&B" in written


def test_other_programs_are_started_without_secrets(scene: Scene) -> None:
    scene.running.until(lambda: rows_at_wandb(scene) >= 1, "the guest's rows at W&B")
    found = {**scene.at_first, **environments(psutil.Process())}
    held = {line: scene.leaks.within(content) for line, content in found.items()}
    guests = [line for line in held if f"({scene.guest.pid})" in line]
    # The operator gave the guest both by its environment, and the others in `.env`.
    assert [held.pop(line) for line in guests] == [{"HF_TOKEN", "WANDB_API_KEY"}]
    workers = {line for line in held if "wandb_worker" in line or "wandb/bin/wandb-" in line}
    assert len([line for line in workers if "worker" in line]) == 2, "the guest's, miner0's"
    assert len(workers) >= 4, "and a service for each of them"
    with_key = {line for line in held if held[line]}
    assert with_key <= workers
    assert {name for line in with_key for name in held[line]} == {"WANDB_API_KEY"}
    assert any("moto_server" in line for line in held)
    assert any("forkserver" in line for line in held)


def test_an_exception_that_shows_everything_shows_no_secret(scene: Scene) -> None:
    miner = scene.running.process("miner0")
    miner.process.join(DEADLINE_S)
    assert miner.process.exitcode == 1
    said = scene.talk.read_text()
    assert said.splitlines()[-1].startswith("RuntimeError: ")
    assert "secret_key=***" in said
    assert "head_bucket" in said and "botocore" in said, "the libraries have talked"
    assert scene.running.events("miner0", "error")
    # botocore logs requests with their headers, in which S3 wants the key's name, at DEBUG only.
    assert scene.leaks.within(scene.talk.read_bytes()) == {"AWS_ACCESS_KEY_ID"}
    assert scene.leaks.of(scene.shown()) == []


def test_a_crash_leaves_no_image_of_the_memory(scene: Scene) -> None:
    aborting = [sys.executable, "-c", "import os; os.abort()"]
    control = subprocess.Popen(aborting, cwd=scene.home / "tmp", preexec_fn=dumps_allowed)
    _, status = os.waitpid(control.pid, 0)
    for image in (scene.home / "tmp").glob("core*"):
        image.unlink()
    if not os.WCOREDUMP(status):
        pytest.skip("this machine writes no images of crashed processes at all")
    scene.running.until(
        lambda: events(scene.running.folder, GUEST, "window"), "a window of the guest"
    )
    scene.guest.send_signal(signal.SIGABRT)
    _, status = os.waitpid(scene.guest.pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert b"Fatal Python error: Aborted" in scene.output.read_bytes()
    assert scene.leaks.of(scene.shown()) == []
