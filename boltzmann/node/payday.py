"""Setting weights on chain, at the subnet's cadence."""

from __future__ import annotations

from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.node.book import Book
from boltzmann.node.node import Node
from boltzmann.protocol.rewards import weights


class Payday:
    """When this validator may set weights next. A refusal is reported by the chain's own name."""

    def __init__(self) -> None:
        self._next_block = 0

    async def settle(self, node: Node, book: Book) -> None:
        """Set the weights if it is time and somebody has earned.

        Called while the miners train: one hotkey's calls must not race each other for a nonce, and
        the blocks before the decision belong to the manifest's.
        """
        block = node.blocks.latest
        shares = weights(book.standings)
        if block < self._next_block or not shares:
            return
        rules = await node.chain.rules(block)
        neurons = {neuron.hotkey: neuron for neuron in await node.chain.neurons(block)}
        by_uid = {neurons[h].uid: share for h, share in shares.items() if h in neurons}
        if not by_uid:
            return
        try:
            included = await node.chain.set_weights(by_uid, rules.weights_version)
        except ChainRefused as error:
            # Too fast: wait from what the chain counts from. Anything else: not sooner than that.
            last = neurons[node.hotkey].last_update if node.hotkey in neurons else block
            counted = last if error.name == "SettingWeightsTooFast" else block
            self._next_block = max(block + 1, counted + rules.weights_rate_limit)
            self._report(node, error)
        except ChainUnavailable as error:
            self._next_block = block + 1
            self._report(node, error)
        else:
            self._next_block = included + rules.weights_rate_limit
            node.telemetry.event("weights", block=included, weights=by_uid)

    def _report(self, node: Node, error: Exception) -> None:
        detail = f"{error}; next try from block {self._next_block}"
        node.telemetry.event("error", what="setting weights", detail=detail)
