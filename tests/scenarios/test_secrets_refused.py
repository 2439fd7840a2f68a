"""What a node, and each command, says when it is refused or misled holds no planted secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest
from leak_kit import Leaks, canary, files
from machine_kit import Ended, Machine, closed_port, machine_in
from store_servers import Place, rclone_place

KEY, SECRET, TOKEN = canary("key"), canary("secret"), canary("token")
WANDB, PATH_KEY, ACCOUNT = (canary(name, "-") for name in ("wandb", "path", "account"))
PLANTED = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "HF_TOKEN": TOKEN,
    "WANDB_API_KEY": WANDB,
}
Address = Callable[["Scene"], dict[str, str]]
COMMANDS = {
    "doctor": ("doctor", "--json"),
    "bucket": ("doctor", "bucket"),
    "status": ("status", "--json"),
    "pay": ("pay", "--json"),
}


@dataclass(frozen=True)
class Scene:
    machine: Machine
    strict: Place  # an S3 server that checks signatures


def dead() -> str:
    return f"127.0.0.1:{closed_port()}"


# What is wrong, how the settings come to be so, and what the miner's one sentence says.
CASES: dict[str, tuple[Address, str]] = {
    "no server": (lambda _: {"S3_ENDPOINT_URL": f"http://{dead()}"}, "does not answer"),
    "wrong keys": (
        lambda scene: {"S3_ENDPOINT_URL": scene.strict.endpoint},
        "refuses this node's keys",
    ),
    "account in the endpoint": (
        lambda _: {"S3_ENDPOINT_URL": f"http://{ACCOUNT}:{PATH_KEY}@{dead()}"},
        "cannot be used",
    ),
    "signature in the public address": (
        lambda _: {"S3_PUBLIC_URL": f"http://{dead()}/b?X-Amz-Signature={PATH_KEY}"},
        "cannot be used",
    ),
    "key in the chain's address": (
        lambda _: {"SUBTENSOR_NETWORK": f"ws://{dead()}/{PATH_KEY}?apikey={ACCOUNT}"},
        "/***?***",
    ),
    "key in a chain's address that is none": (
        lambda _: {"SUBTENSOR_NETWORK": f"https://{ACCOUNT}@{dead()}/?apikey={PATH_KEY}"},
        "is unknown",
    ),
    "account in the data's address": (
        lambda _: {"DATA_SOURCE": f"https://{ACCOUNT}:{PATH_KEY}@{dead()}/data"},
        "without account",
    ),
    "key in the data's address": (
        lambda _: {"DATA_SOURCE": f"https://{dead()}/data?token={PATH_KEY}"},
        "without account, ?",
    ),
    "token for another hub": (
        lambda scene: {
            "DATA_SOURCE": f"hf://datasets/owner/name@{'0' * 40}",
            "HF_ENDPOINT": scene.strict.public,
        },
        "owner/name",
    ),
    "carriage return": (lambda _: {"AWS_ACCESS_KEY_ID": f"{KEY}\r"}, "line end"),
    "foreign letter": (lambda _: {"AWS_SECRET_ACCESS_KEY": f"{SECRET}\u2019"}, "another sign"),
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        strict = stack.enter_context(rclone_place(tmp_path_factory.mktemp("strict")))
        machine = stack.enter_context(machine_in(tmp_path_factory.mktemp("refused")))
        yield Scene(machine, strict)


def require_quiet(scene: Scene, name: str, ended: Ended) -> None:
    """No secret in what it said, nor in any file of this user's."""
    leaks = Leaks({**PLANTED, "the key in an address": PATH_KEY, "the account": ACCOUNT})
    home: Path = scene.machine.home
    said = [("stdout", ended.output.encode()), ("stderr", ended.errors.encode())]
    assert leaks.of(said) == []
    assert leaks.of(files(home / name, home / "network" / "nodes", home / "network" / "logs")) == []
    assert leaks.of((str(path), b"") for path in home.iterdir()) == []
    assert "Traceback" not in ended.errors


@pytest.mark.parametrize("case", CASES)
def test_a_miner_that_cannot_start_says_why_without_its_keys(scene: Scene, case: str) -> None:
    make, said = CASES[case]
    name = f"miner, {case}"
    ended = scene.machine.run(name, {**PLANTED, **make(scene)}, "--debug")
    assert ended.code == 1
    assert len(ended.errors.splitlines()) == 1
    assert ended.errors.startswith("miner: ")
    assert said in ended.errors
    require_quiet(scene, name, ended)


# Each kind of trouble by one command, each command with several kinds: a start takes seconds.
@pytest.mark.parametrize(("case", "command"), list(zip(CASES, cycle(COMMANDS), strict=False)))
def test_no_command_shows_them(scene: Scene, case: str, command: str) -> None:
    make, _ = CASES[case]
    name = f"{command}, {case}"
    ended = scene.machine.boltzmann(name, {**PLANTED, **make(scene)}, *COMMANDS[command])
    assert ended.output or ended.errors
    require_quiet(scene, name, ended)


def test_setup_names_what_is_missing_and_not_what_is_there(scene: Scene) -> None:
    name = "setup"
    (scene.machine.folder(name) / ".env").unlink()
    program = ["-m", "boltzmann"]
    path = str(Path(__file__).parents[2])
    changes = {**PLANTED, "PYTHONPATH": path}
    ended = scene.machine.start(program, name, changes, "setup", again=True)
    assert ended.code == 1
    assert "BUCKET" in ended.errors and "AWS_SECRET_ACCESS_KEY" not in ended.errors
    require_quiet(scene, name, ended)
