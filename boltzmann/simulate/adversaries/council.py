"""Attacks of validators, each with a minority of the stake. As miners they take no part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean, median

from boltzmann.errors import ChainRefused
from boltzmann.node.node import Node
from boltzmann.node.objects import alarms_key, receipt_key
from boltzmann.node.validator import validate
from boltzmann.protocol.alarms import Alarms, Judged
from boltzmann.protocol.receipts import Receipt, Verdict, open_receipt
from boltzmann.protocol.rejection import Reason
from boltzmann.simulate.adversaries.base import Adversary, adversary, bucket, ledger
from boltzmann.simulate.adversaries.faking import HalfPages
from boltzmann.simulate.chain import LedgerChain
from boltzmann.simulate.store import MemoryStore

STAKE = 500.0  # half an honest validator's
PROTEGE, FAVOURED, STRETCHED = "protege", "favoured", "stretched"


@adversary("weight-copier")
class WeightCopier(Adversary):
    """A validator that audits nothing and sets the mean of the others' last weights."""

    stake = STAKE

    async def drive(self, node: Node) -> None:
        clock = node.clock
        while True:
            window = clock.window(node.blocks.latest) + 1
            await node.blocks.until(clock.open(window) + 1)
            rows = await node.chain.weights(node.blocks.latest)
            neurons = await node.chain.neurons(node.blocks.latest)
            there = {neuron.uid for neuron in neurons}
            others = {neuron.uid for neuron in neurons if neuron.hotkey != node.hotkey}
            seen = [row for uid, row in rows.items() if uid in others]
            uids = sorted({uid for row in seen for uid in row} & there)
            mean = {uid: fmean(row.get(uid, 0) for row in seen) for uid in uids}
            if any(mean.values()):
                try:
                    await node.chain.set_weights(mean, 0)
                except ChainRefused:  # too soon after the last ones
                    continue


class Liar(Adversary):
    """The honest validator, but for what its receipts tell of."""

    stake = STAKE

    async def drive(self, node: Node) -> None:
        await validate(replace(node, store=_Lying(node, self)))

    def told(self, node: Node, receipt: Receipt) -> Receipt:
        """What it publishes instead."""
        return replace(receipt, verdicts=self.verdicts(node, receipt))

    def verdicts(self, node: Node, receipt: Receipt) -> tuple[Verdict, ...]:
        """What it says of audits, in hotkey order."""
        return receipt.verdicts


class _Lying(MemoryStore):
    """A bucket into which other receipts go than the node has written."""

    def __init__(self, node: Node, liar: Liar) -> None:
        super().__init__(bucket(node).buckets, node.hotkey, node.store.address)
        self._node, self._liar = node, liar

    def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        node, parts = self._node, key.split("/")
        if key == receipt_key(parts[0], int(parts[1]) if parts[1].isdecimal() else 0):
            window = int(parts[1])
            receipt = open_receipt(body, node.run.run.id, window, node.hotkey, node.verify)
            if isinstance(receipt, Receipt):
                told = self._liar.told(node, receipt)
                body = told.seal(node.hotkey, node.keys.sign)
        super().put(key, body)


@adversary("false-alarms")
class FalseAlarms(Liar):
    """A validator that says of every delta that it failed its audit, early and in its receipt."""

    def verdicts(self, node: Node, receipt: Receipt) -> tuple[Verdict, ...]:
        lies = accuse(node, receipt, {entry.hotkey for entry in receipt.entries})
        return tuple(lie.verdict for lie in lies)


@adversary("alarmist")
class Alarmist(Liar):
    """A validator whose alarms about `stretched` friends, who pass narrowly, never look false."""

    def verdicts(self, node: Node, receipt: Receipt) -> tuple[Verdict, ...]:
        chain = ledger(node)
        accuse(node, receipt, friends_of(chain.records(chain.height), STRETCHED))
        return receipt.verdicts


def accuse(node: Node, receipt: Receipt, accused: set[str]) -> tuple[Judged, ...]:
    """Say in the next window that what some of them sent in this one failed its audit."""
    lies = tuple(
        Judged(
            Verdict(entry.hotkey, receipt.window, Reason.GATE.value, 0.0, 0.0, 0.0), entry.sha256
        )
        for entry in receipt.entries
        if entry.received and entry.hotkey in accused
    )
    run, later = node.run.run.id, receipt.window + 1
    node.store.put(
        alarms_key(run, later), Alarms(run, later, lies).seal(node.hotkey, node.keys.sign)
    )
    return lies


@adversary("patron")
class Patron(Liar):
    """A validator that passes every `protege`, whatever it sends, and pays nobody else."""

    async def drive(self, node: Node) -> None:
        chain = _Paying(ledger(node), node.hotkey)
        await validate(replace(node, store=_Lying(node, self), chain=chain))

    def verdicts(self, node: Node, receipt: Receipt) -> tuple[Verdict, ...]:
        chain = ledger(node)
        friends = friends_of(chain.records(chain.height), PROTEGE)
        norm = median([v.norm for v in receipt.verdicts if v.passed] or [1.0])
        known = {verdict.hotkey: verdict for verdict in receipt.verdicts}
        for entry in receipt.entries:
            if entry.hotkey in friends and not entry.refusal:
                known[entry.hotkey] = Verdict(entry.hotkey, receipt.window, "", 1.0, 1.0, norm)
        return tuple(verdict for _, verdict in sorted(known.items()))


@adversary("idle-witness")
class IdleWitness(Liar):
    """A validator that says of everybody, in each receipt, that it has audited and passed it."""

    def verdicts(self, node: Node, receipt: Receipt) -> tuple[Verdict, ...]:
        seen = [entry.hotkey for entry in receipt.entries if entry.received]
        return tuple(Verdict(hotkey, receipt.window - 1, "", 1.0, 1.0, 1.0) for hotkey in seen)


@adversary("captor")
class Captor(Liar):
    """A validator that says it received its friends' deltas only, to lead with nothing else."""

    def told(self, node: Node, receipt: Receipt) -> Receipt:
        chain = ledger(node)
        friends = friends_of(chain.records(chain.height), FAVOURED)
        entries = tuple(
            entry
            if entry.hotkey in friends or not entry.received
            else replace(entry, refusal=Reason.SLOW.value)
            for entry in receipt.entries
        )
        return replace(receipt, entries=entries)


def friends_of(records: Mapping[str, tuple[bytes, ...]], kind: str) -> set[str]:
    """Who has a bucket of such a name."""
    return {hotkey for hotkey, fields in records.items() if f"/{kind}".encode() in fields[0]}


class _Paying(LedgerChain):
    """The chain of a validator that sets weights for its friends alone."""

    async def set_weights(self, weights: Mapping[int, float], version_key: int) -> int:
        """Set this hotkey's weights. Raises: ChainRefused."""
        height = self.ledger.height
        friends = friends_of(self.ledger.records(height), PROTEGE)
        paid = {n.uid: 1.0 for n in self.ledger.neurons(height) if n.hotkey in friends}
        return await super().set_weights(paid or weights, version_key)


@adversary(PROTEGE)
class Protege(HalfPages):
    """Trains half its pages, and counts on a `patron` among the validators."""
