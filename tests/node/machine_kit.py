"""A machine on which a person starts things: a prepared network, and a folder with its `.env`."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3

from boltzmann.local.network import ROOT, Network, _wallet, prepared, publish
from boltzmann.local.plan import NETUID, OWNER, Plan
from boltzmann.node.objects import config_key

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Ended:
    code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Machine:
    """A prepared network without nodes, and a folder to start a guest's miner in."""

    network: Network
    home: Path

    def folder(self, name: str) -> Path:
        """A working folder whose `.env` is the one the network wrote for its guest."""
        folder = self.home / name
        folder.mkdir()
        shutil.copy(self.network.folder / "guest.env", folder / ".env")
        return folder

    def environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        plain = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**plain, "HOME": str(self.home), "NETUID": str(NETUID), **changes}

    def run(self, name: str, changes: Mapping[str, str], *arguments: str) -> Ended:
        """miner.py, to its end."""
        return self.start([str(ROOT / "miner.py")], name, changes, *arguments)

    def boltzmann(self, name: str, changes: Mapping[str, str], *arguments: str) -> Ended:
        """The boltzmann command, to its end."""
        found = {"PYTHONPATH": str(ROOT), **changes}
        return self.start(["-m", "boltzmann"], name, found, *arguments)

    def start(
        self,
        program: list[str],
        name: str,
        changes: Mapping[str, str],
        *arguments: str,
        again: bool = False,
    ) -> Ended:
        """A program of Python's, to its end; `again`: in the folder of that name as it is."""
        done = subprocess.run(
            [sys.executable, *program, *arguments],
            cwd=self.home / name if again else self.folder(name),
            env=self.environment(changes),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def changed_run(self) -> Iterator[None]:
        """Somebody with the owner's keys writes another run.toml into its bucket."""
        url, run = self.network.s3.url, self.network.plan.run_config()
        names = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **names)
        place = {"Bucket": OWNER, "Key": config_key(run.run.id)}
        client.put_object(**place, Body=run.encode() + b"\n")
        yield
        client.put_object(**place, Body=run.encode())


@contextmanager
def machine_in(folder: Path) -> Iterator[Machine]:
    """A machine with a network whose run is published; `stranger` is a wallet nobody registered."""
    plan = Plan(miners=1, adversaries={}, workdir=folder / "network")
    with prepared(plan) as network:
        asyncio.run(publish(network))
        _wallet(plan, network.folder, "stranger")
        yield Machine(network, folder)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
