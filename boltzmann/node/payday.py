"""Setting weights on chain, at the subnet's cadence."""

from __future__ import annotations

from collections.abc import Mapping

from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.node.book import Book
from boltzmann.node.node import Node
from boltzmann.node.objects import payroll_key
from boltzmann.node.publish import publish
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.payroll import Payroll, open_payroll, payroll
from boltzmann.protocol.rewards import weights

_JOURNAL = "payroll"


class Payday:
    """When this validator may set weights next. A refusal is reported by the chain's own name."""

    def __init__(self) -> None:
        self._next_block = 0

    async def settle(self, node: Node, book: Book) -> None:
        """Set the weights if it is time and somebody has earned; the reasons are published first.

        Called while the miners train: one hotkey's calls must not race each other for a nonce, and
        the blocks before the decision belong to the manifest's. It ends with the training: the
        window does not wait for a chain that says nothing.
        """
        block = node.blocks.latest
        if block < self._next_block:
            return
        rules = await node.chain.rules(block)
        neurons = {neuron.hotkey: neuron for neuron in await node.chain.neurons(block)}
        window = node.clock.window(block)
        if not weights(book.standings) or _is_stale(node, book, window):
            return
        roll, sealed = _journalled(node, window) or _written(node, book, window, neurons)
        if not roll.weights:
            return
        key = payroll_key(roll.run, window)
        if not await publish(node, key, sealed, before=_next_close(node, block)):
            return
        try:
            setting = node.chain.set_weights(roll.weights, rules.weights_version)
            included = await node.blocks.before(_next_close(node, block), setting)
        except ChainRefused as error:
            # Too fast: wait from what the chain counts from. Anything else: not sooner than that.
            last = neurons[node.hotkey].last_update if node.hotkey in neurons else block
            counted = last if error.name == "SettingWeightsTooFast" else block
            self._next_block = max(block + 1, counted + rules.weights_rate_limit)
            self._report(node, error)
        except ChainUnavailable as error:
            self._next_block = node.blocks.latest + 1
            self._report(node, error)
        else:
            self._next_block = included + rules.weights_rate_limit
            node.telemetry.event("weights", block=included, weights=roll.weights)

    def _report(self, node: Node, error: Exception) -> None:
        detail = f"{error}; next try from block {self._next_block}"
        node.telemetry.event("error", what="setting weights", detail=detail)


def _next_close(node: Node, block: int) -> int:
    """The first closing block after `block`."""
    window = node.clock.window(block)
    return node.clock.close(window if block < node.clock.close(window) else window + 1)


def _journalled(node: Node, window: int) -> tuple[Payroll, bytes] | None:
    """What this node had written down for the window before it was killed."""
    kept = node.outbox.find(window, _JOURNAL)
    if kept is None:
        return None
    opened = open_payroll(kept, node.run.run.id, window, node.hotkey, node.verify)
    return (opened, kept) if isinstance(opened, Payroll) else None


def _written(
    node: Node, book: Book, window: int, neurons: Mapping[str, Neuron]
) -> tuple[Payroll, bytes]:
    standings = book.standings
    # Who lost its slot and registered anew since the last window has a standing, but not this one.
    uids = {
        hotkey: neuron.uid
        for hotkey, neuron in neurons.items()
        if hotkey in standings and standings[hotkey].registered_at == neuron.registered_at
    }
    settled = max(0, book.settled)
    roll = payroll(node.run.run.id, window, settled, standings, uids, book.audited)
    sealed = roll.seal(node.hotkey, node.keys.sign)
    if roll.weights:
        node.outbox.keep(window, _JOURNAL, sealed)
    return roll, sealed


def _is_stale(node: Node, book: Book, window: int) -> bool:
    """Whether the last paid window is so old that nothing of it should be set on chain again."""
    settled = max(0, book.settled)
    age = window - settled
    if age <= node.run.rewards.trust_windows + 1:
        return False
    detail = f"the last window paid for is {settled}, {age} windows ago: not set again"
    node.telemetry.event("error", what="setting weights", detail=detail)
    return True
