"""The node's own copy of its state, saved once per epoch and at the end."""

from __future__ import annotations

from boltzmann.node.node import Node
from boltzmann.train import snapshot


async def keep_state(node: Node) -> None:
    """Save the state if an epoch has ended since it was last saved; drop old journal entries."""
    window = node.worker.state.position.window
    node.outbox.forget_before(window)
    if window % node.run.exchange.epoch_windows == 0:
        await save_state(node)


async def save_state(node: Node) -> None:
    """Save the state. A disk that does not take it costs a longer catch-up, not the node."""
    try:
        await node.worker.run(lambda: snapshot.save(node.worker.state, node.snapshot))
    except OSError as error:
        node.telemetry.event(
            "error", what=f"saving the state to {node.snapshot}", detail=str(error)
        )
