"""The update that follows from accepted deltas: the same code for who proposes and who votes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from boltzmann.node.laps import Laps
from boltzmann.node.node import Node
from boltzmann.node.objects import expected
from boltzmann.node.round import Received, Round, blocks
from boltzmann.protocol.admission import Admission
from boltzmann.protocol.aggregate import Addend, aggregate
from boltzmann.protocol.documents import digest
from boltzmann.protocol.wire import Kind, seal


@dataclass(frozen=True)
class Candidate:
    """An update that is applied to the state, but not agreed yet. Its seal lies in the journal."""

    admission: Admission
    update: str
    update_bytes: int
    root: str

    @property
    def journalled(self) -> str:
        """The sealed object's name in the journal."""
        return f"update-{self.update[:16]}"


def build(
    node: Node, this: Round, admission: Admission, entries: Mapping[str, Received], laps: Laps
) -> Candidate:
    """Aggregate the accepted deltas and apply the result. In the worker's thread.

    Holds one and a half slices of float32 at most: each array is let go before the next is made.
    """
    state, codec = node.worker.state, node.run.exchange.codec
    base = state.position.root
    body = aggregated(node, this, admission, entries, laps)
    update = digest(body)
    root = state.apply(this.chosen, codec.decode(body), update, this.window)
    laps.end("apply")
    candidate = Candidate(admission, update, len(body), root.hex())
    if not node.outbox.has(this.window, candidate.journalled):
        known = expected(node.run, Kind.UPDATE, node.hotkey, this.window, base, this.chosen)
        sealed = seal(known, 0, body, node.keys.sign)
        node.outbox.keep(this.window, candidate.journalled, sealed)
    laps.end("journal")
    return candidate


def aggregated(
    node: Node, this: Round, admission: Admission, entries: Mapping[str, Received], laps: Laps
) -> bytearray:
    """The body of the update that follows from the accepted deltas. In the worker's thread."""
    deltas = {hotkey: Addend(entry.norm, blocks(entry)) for hotkey, entry in entries.items()}
    mean = aggregate(this.chosen.size, deltas, admission.norm_limit)
    laps.end("aggregate")
    body = node.run.exchange.codec.encode(mean)
    laps.end("encode")
    return body
