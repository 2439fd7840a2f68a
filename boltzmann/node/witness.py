"""This node's receipt: what it saw of a window and what its audits say, signed for everybody."""

from __future__ import annotations

from boltzmann.node.book import Book
from boltzmann.node.node import Node
from boltzmann.node.objects import receipt_key
from boltzmann.node.publish import publish
from boltzmann.node.round import Round
from boltzmann.protocol.receipts import Entry, Receipt


async def publish_receipt(node: Node, book: Book, this: Round) -> bool:
    """Seal the receipt, or take the one that was written down, and put it into the bucket.

    Whether this node has one to show: only a witness that saw everything in time does.
    """
    if node.hotkey not in this.council.witnesses:
        return False
    sealed = node.outbox.find(this.window, "receipt")
    if sealed is None:
        if not this.is_witness:
            return False
        sealed = _receipt(node, book, this).seal(node.hotkey, node.keys.sign)
        node.outbox.keep(this.window, "receipt", sealed)
    key = receipt_key(node.run.run.id, this.window)
    return await publish(node, key, sealed, before=node.clock.decide(this.window))


def _receipt(node: Node, book: Book, this: Round) -> Receipt:
    return Receipt(
        run=node.run.run.id,
        window=this.window,
        entries=tuple(_entry(this, hotkey) for hotkey in sorted(this.received | this.refused)),
        verdicts=book.told(this.window, node.run.rewards.trust_windows),
    )


def _entry(this: Round, hotkey: str) -> Entry:
    pledge, refusal = this.pledges.get(hotkey), this.refused.get(hotkey)
    sha256, signature = (pledge.sha256, pledge.signature) if pledge else ("", "")
    return Entry(hotkey, sha256, signature, refusal.reason.value if refusal else "")
