"""`boltzmann pay`: payrolls from real buckets, for weights that stand on a real chain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from machine_kit import Ended, Machine, machine_in

from boltzmann.chain.connect import connect
from boltzmann.chain.keys import WalletKeys, load_wallet
from boltzmann.local.network import _store
from boltzmann.local.plan import GUEST, NETUID
from boltzmann.node.objects import payroll_key
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.payroll import Payroll, payroll
from boltzmann.protocol.rewards import Standing

JUDGE = "validator0"


@dataclass
class Paid:
    """A validator that has set the guest's weight, at `block`, and a bucket for its reasons."""

    machine: Machine
    keys: WalletKeys
    guest: str
    uid: int
    block: int = 0

    def roll(self, window: int) -> Payroll:
        run = self.machine.network.plan.run_config().run.id
        standings = {
            self.guest: Standing(registered_at=0, moving=0.75),
            "5Debtor": Standing(registered_at=0, moving=0.5, debt=3.0),
        }
        uids = {self.guest: self.uid, "5Debtor": 200}
        return payroll(run, window, window, standings, uids, {self.guest: window})

    def put(self, sealed: bytes) -> None:
        store, roll = _store(self.machine.network.s3, JUDGE), self.roll(self.window)
        store.delete(payroll_key(roll.run, self.window))
        store.put(payroll_key(roll.run, self.window), sealed)

    @property
    def window(self) -> int:
        return self.machine.network.plan.run_config().windows.window(self.block)

    def pay(self, name: str, *options: str) -> Ended:
        network = f"embedded:{self.machine.network.chain}"
        which = ("--netuid", str(NETUID), "--subtensor.network", network)
        return self.machine.boltzmann(name, {}, "pay", *which, *options)


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paid]:
    with machine_in(tmp_path_factory.mktemp("pay")) as machine:
        yield asyncio.run(_set_weights(machine))


async def _set_weights(machine: Machine) -> Paid:
    network, run = machine.network, machine.network.plan.run_config().run.id
    wallets = {
        name: load_wallet(name, "default", str(network.folder / "wallets"))
        for name in (GUEST, JUDGE)
    }
    for name, role in ((GUEST, Role.MINER), (JUDGE, Role.VALIDATOR)):
        chain = await connect(f"embedded:{network.chain}", NETUID, wallets[name])
        await chain.commit(Commitment(role, run, _store(network.s3, name).address).encode())
        await chain.close()
    chain = await connect(f"embedded:{network.chain}", NETUID, wallets[JUDGE])
    try:
        neurons = {n.hotkey: n.uid for n in await chain.neurons((await chain.head()).number)}
        guest = network.hotkeys[GUEST]
        found = Paid(machine, WalletKeys(wallets[JUDGE]), guest, neurons[guest])
        version = (await chain.rules((await chain.head()).number)).weights_version
        found.block = await chain.set_weights({found.uid: 1.0}, version)
        return found
    finally:
        await chain.close()


def test_a_validator_without_a_payroll_is_told_as_such(paid: Paid) -> None:
    ended = paid.pay("none")
    assert ended.code == 0, ended.errors
    assert f"no payroll of window {paid.window}: absent" in ended.output


def test_who_is_paid_what_and_why(paid: Paid) -> None:
    paid.put(paid.roll(paid.window).seal(paid.keys.hotkey, paid.keys.sign))
    (statement,) = json.loads(paid.pay("json", "--json").output)["validators"]
    assert (statement["hotkey"], statement["block"]) == (paid.keys.hotkey, paid.block)
    assert (statement["window"], statement["settled"]) == (paid.window, paid.window)
    assert statement["on_chain"] == {str(paid.uid): 1.0}
    assert statement["lines"] == [
        {
            "hotkey": paid.guest,
            "uid": paid.uid,
            "weight": 1.0,
            "moving": 0.75,
            "debt": 0.0,
            "audited": paid.window,
        },
        {
            "hotkey": "5Debtor",
            "uid": 200,
            "weight": 0.0,
            "moving": 0.5,
            "debt": 3.0,
            "audited": -1,
        },
    ]
    text = paid.pay("text").output.splitlines()
    assert [line.split()[:6] for line in text[4:]] == [
        [str(paid.uid), paid.guest[:8], "1.0000", "1.0000", "0.7500", "0.00"],
        ["200", "5Debtor", "0.0000", "0.0000", "0.5000", "3.00"],
    ]
    mine = paid.pay("mine", "--hotkey", paid.guest).output.splitlines()
    assert [line.split()[1] for line in mine[4:]] == [paid.guest[:8]]


def test_a_payroll_that_another_hotkey_has_signed_counts_for_nothing(paid: Paid) -> None:
    wallet = load_wallet(GUEST, "default", str(paid.machine.network.folder / "wallets"))
    paid.put(paid.roll(paid.window).seal(paid.keys.hotkey, WalletKeys(wallet).sign))
    assert "bad_signature" in paid.pay("forged").output


def test_a_hotkey_that_takes_no_part_is_an_error(paid: Paid) -> None:
    ended = paid.pay("stranger", "--hotkey", "5Stranger")
    assert (ended.code, ended.output) == (1, "")
    assert "hotkey 5Stranger takes no part in run" in ended.errors
