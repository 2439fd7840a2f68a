"""The node's own copy of its state, saved once per epoch and at the end."""

from __future__ import annotations

from boltzmann.node.node import Node
from boltzmann.node.stages import Stage
from boltzmann.train import checkpoint

_JOURNAL_WINDOWS = 2  # whose entries stay: mirrors may still be on their way


def tidy(node: Node, window: int) -> None:
    """Drop the journal's entries of windows that are long over."""
    node.outbox.forget_before(window - _JOURNAL_WINDOWS)


async def keep_state(node: Node, window: int) -> None:
    """At the start of a window: save the state if it is an epoch's first."""
    if window % node.run.exchange.epoch_windows == 0:
        await save_state(node, window)


async def save_state(node: Node, window: int) -> bool:
    """Save the state. A disk that does not take it costs a longer catch-up, not the node."""
    with node.stage(Stage.SAVE, window):
        state, run = node.worker.state, node.run.run.id
        try:
            await node.worker.run(lambda: checkpoint.write(state, run, node.snapshot))
        except OSError as error:
            node.telemetry.event(
                "error", what=f"saving the state to {node.snapshot}", detail=str(error)
            )
            return False
    return True
