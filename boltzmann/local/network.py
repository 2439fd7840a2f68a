"""Starting and stopping the local network's processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import bittensor as bt

from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.chain.connect import connect
from boltzmann.chain.embedded import create_chain
from boltzmann.chain.keys import EMBEDDED
from boltzmann.errors import BoltzmannError, ConfigError
from boltzmann.local.child import prepare, run_program
from boltzmann.local.plan import GUEST, NETUID, OWNER, Member, Plan
from boltzmann.node.runconfig import publish_run
from boltzmann.privacy import public_environment
from boltzmann.store.s3 import S3Store
from boltzmann.store.server import ServerProcess, start_moto

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 15.0
_ACCESS_KEY, _SECRET_KEY = "local", "local-secret"


@dataclass(frozen=True)
class Process:
    """One node's process and where its files lie."""

    member: Member
    hotkey: str
    process: ForkServerProcess
    events: Path
    log: Path


@dataclass(frozen=True)
class Network:
    """A running network. `hotkeys` by name, the owner's and the guest's among them."""

    plan: Plan
    folder: Path
    s3: ServerProcess
    hotkeys: Mapping[str, str]
    context: ForkServerContext
    processes: list[Process]

    @property
    def chain(self) -> Path:
        """The chain's file."""
        return self.folder / "chain.sqlite"

    def spawn_all(self) -> None:
        """Start every node. The run must have been published: nodes look for it at once."""
        for member in self.plan.members:
            self.spawn(member)

    def spawn(
        self,
        member: Member,
        settings: Mapping[str, str] | None = None,
        program: Path | None = None,
    ) -> Process:
        """Start a node, for the first time or again after its end; its log and state go on.

        `settings`: more of them than it has from the plan, by their environment names; `program`:
        what it runs in place of miner.py or validator.py.
        """
        process = _spawn(self, member, program or ROOT / member.program, settings or {})
        self.processes[:] = [p for p in self.processes if p.member != member] + [process]
        return process


@contextmanager
def prepared(plan: Plan) -> Iterator[Network]:
    """A held chain, an S3 server and everybody's keys and buckets, but no node yet.

    Whatever runs is ended when the block is left, however that happens.

    Raises: ConfigError if the working folder holds something else, StoreUnavailable.
    """
    folder = _fresh(plan.workdir)
    context = prepare({**_inherited(), "PYTHONPATH": str(ROOT)})
    with ExitStack() as stack:
        s3 = stack.enter_context(start_moto(folder / "logs" / "s3.log"))
        names = [OWNER, *(member.name for member in plan.members), GUEST]
        wallets = {name: _wallet(plan, folder, name) for name in names}
        hotkeys = {name: str(wallet.hotkey.ss58_address) for name, wallet in wallets.items()}
        coldkeys = {name: str(w.coldkeypub.ss58_address) for name, w in wallets.items()}
        network = Network(plan, folder, s3, hotkeys, context, [])
        create_chain(network.chain, genesis=plan.genesis(hotkeys, coldkeys))
        for name in names:
            _store(s3, name).ensure_bucket()
        stack.callback(stop, network.processes)
        _write_guest(network)
        yield network


async def publish(network: Network) -> None:
    """As the subnet's owner: run.toml into the owner's bucket, its hash on chain."""
    wallet = _wallet(network.plan, network.folder, OWNER)
    chain = await connect(f"{EMBEDDED}{network.chain}", NETUID, wallet)
    try:
        await publish_run(chain, _store(network.s3, OWNER), network.plan.run_config())
    finally:
        await chain.close()


def stop(processes: list[Process]) -> None:
    """End all nodes: first all are told, then each is waited for, at last killed."""
    for item in processes:
        item.process.terminate()
    for item in processes:
        item.process.join(STOP_SECONDS)
        if item.process.exitcode is None:
            item.process.kill()
            item.process.join()


def _fresh(folder: Path) -> Path:
    """An empty working folder, absolute. Raises: ConfigError rather than touching other files."""
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"--workdir {folder} is not empty: give a new folder, or remove it if it is the rest "
            f"of an earlier network"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _wallet(plan: Plan, folder: Path, name: str) -> bt.Wallet:
    """The wallet of one participant, made from the plan's seed; throw-away keys, no password."""
    wallet = bt.Wallet(name, "default", str(folder / "wallets"))
    if not Path(wallet.hotkey_file.path).exists():
        quiet = {"use_password": False, "overwrite": False, "suppress": True}
        wallet.regenerate_coldkey(seed=plan.secret("coldkey", name), **quiet)
        wallet.regenerate_hotkey(seed=plan.secret("hotkey", name), **quiet)
    return wallet


def _store(s3: ServerProcess, name: str) -> S3Store:
    return S3Store(s3.url, name, _ACCESS_KEY, _SECRET_KEY)


def _settings(network: Network, name: str) -> dict[str, str]:
    """The settings of one node, under their environment names."""
    return {
        "NETUID": str(NETUID),
        "SUBTENSOR_NETWORK": f"{EMBEDDED}{network.chain}",
        "BT_WALLET_NAME": name,
        "BT_WALLET_HOTKEY": "default",
        "BT_WALLET_PATH": str(network.folder / "wallets"),
        "BUCKET": name,
        "S3_ENDPOINT_URL": network.s3.url,
        "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
        "WORKDIR": str(network.folder / "nodes" / name),
        "DEVICE": "cpu",
    }


def _spawn(network: Network, member: Member, program: Path, settings: Mapping[str, str]) -> Process:
    if not program.exists():
        raise BoltzmannError(f"{program} is not there: run from a checkout of the repository")
    environment = {**_inherited(), **_settings(network, member.name)}
    if member.role not in ("honest", "validator"):
        environment["ADVERSARY"] = member.role
    environment.update(settings)
    home = network.folder / "nodes" / member.name
    home.mkdir(parents=True, exist_ok=True)
    log = network.folder / "logs" / f"{member.name}.log"
    process = network.context.Process(
        target=run_program,
        args=(str(program), str(home), str(log), environment),
        name=member.name,
    )
    process.start()
    config = f"{NETUID}-{member.name}-default"
    events = home / config / f"local-{network.plan.seed}" / "events.jsonl"
    return Process(member, network.hotkeys[member.name], process, events, log)


def _inherited() -> dict[str, str]:
    """The launcher's environment without its own node settings and secrets; one thread per node.

    Processes that share cores lose more to two threads each than they gain.
    """
    own = {item.metadata["env"] for item in fields(NodeConfig)}
    public = public_environment(os.environ)
    kept = {name: value for name, value in public.items() if name not in own}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **threads, "PYTHONUNBUFFERED": "1"}


def _write_guest(network: Network) -> None:
    """A .env with which one more miner can join: its hotkey is registered already."""
    settings = _settings(network, GUEST)
    lines = [f"{name}={value}" for name, value in settings.items()]
    path = network.folder / "guest.env"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
