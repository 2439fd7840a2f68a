"""The network on the screen: a live table on a terminal, one line per window elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from boltzmann.local.network import Network
from boltzmann.local.progress import Progress
from boltzmann.local.summary import Outcome


class Show:
    """Prints what there is to see. Use as a context manager, so that the terminal is restored."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last_window = 0

    def __enter__(self) -> Show:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def update(self, network: Network, progress: Progress, block: int) -> None:
        """The present state of affairs."""
        if self._live is not None:
            head = Text(_headline(network, progress, block), style="bold")
            phases = Text(_phases(progress), style="dim")
            self._live.update(Group(head, _table(network, progress), phases), refresh=True)
        elif progress.closed_round > self._last_window:
            self._last_window = progress.closed_round
            self.say(_headline(network, progress, block))

    def outcome(self, network_folder: str, outcome: Outcome) -> None:
        """The summary: what was learnt, who earned, and what to do next."""
        table = Table(title="on chain at the end", title_justify="left")
        for column in ("uid", "miner", "role", "score", "gates", "weight", "refused", "sent"):
            table.add_column(column, justify="left" if column in ("miner", "role") else "right")
        for peer in outcome.peers:
            refused = ", ".join(f"{reason} {n}" for reason, n in sorted(peer.rejected.items()))
            gates = "-"
            if peer.gate_min is not None and peer.gate_max is not None:
                gates = f"{peer.gate_min:.4f} to {peer.gate_max:.4f}"
            table.add_row(
                str(peer.uid),
                peer.name,
                peer.role,
                f"{peer.score:.3f}",
                gates,
                f"{peer.weight:.3f}",
                refused or "-",
                f"{peer.bytes_up / 1e6:.1f} MB",
            )
        self._console.print(table)
        loss = f"{_number(outcome.loss_first)} -> {_number(outcome.loss_last)}"
        equal = "equal on all nodes" if outcome.roots_equal else "NOT EQUAL"
        windows = f"{outcome.windows} of {outcome.windows_past} windows had an update"
        self.say(f"{windows}, loss {loss} nats/token, state roots {equal}")
        self.say(
            f"first window trained after {_number(outcome.time_to_first_window_s)} s, "
            f"first weights after {_number(outcome.time_to_first_weights_s)} s"
        )
        for note in outcome.notes[:10]:
            self.say(f"note: {note}")
        if outcome.advice:
            self.say(outcome.advice)
        for name in outcome.honest_refused:
            self.say(f"FAILED: work of the honest {name} was refused")
        self.say(f"artefacts: {network_folder} (summary.json, logs/, nodes/*/…/events.jsonl)")
        self.say("next: --adversary copy --adversary half, --windows 100, or docs/local-network.md")


def _headline(network: Network, progress: Progress, block: int) -> str:
    clock = network.plan.clock()
    window, done = clock.window(block), progress.closed_round
    of = f"/{network.plan.windows}" if network.plan.windows else ""
    loss = progress.losses.get(done)
    roots = "equal" if progress.roots_equal else "DIFFER"
    entered = len(progress.accepted.get(done, []))
    phase = "train" if block < clock.close(window) else "exchange"
    return (
        f"window {done}{of}  loss {_number(loss)}  accepted {entered}  roots {roots}  "
        f"weights set {progress.weights_set}x  (block {block}, window {window}: {phase})"
    )


def _phases(progress: Progress) -> str:
    phases = "  ".join(f"{name} {value:.2f} s" for name, value in progress.seconds.items())
    notes = "".join(f"\n{note}" for note in progress.notes[-3:])
    return f"validator: {phases}{notes}"


def _table(network: Network, progress: Progress) -> Table:
    table = Table()
    for column in ("miner", "hotkey", "score", "gate", "moving", "weight", "refused", "sent"):
        table.add_column(column, justify="left" if column in ("miner", "hotkey") else "right")
    for item in network.processes:
        if not item.member.is_miner:
            continue
        line = progress.peers[item.hotkey]
        refused = ", ".join(f"{reason} {n}" for reason, n in sorted(line.rejected.items()))
        table.add_row(
            item.member.name,
            f"{item.hotkey[:6]}…",
            f"{line.score:.3f}",
            f"{line.gate:.4f}",
            f"{line.moving:.3f}",
            f"{line.weight:.3f}",
            refused or "-",
            f"{line.bytes_up / 1e6:.1f} MB",
            style="red" if line.refused else "",
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
