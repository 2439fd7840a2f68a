"""What came of each kind of adversary, against what it may earn at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from statistics import fmean
from typing import Any

from boltzmann.simulate.adversaries import attack_named
from boltzmann.simulate.adversaries.patience import PATTERN
from boltzmann.simulate.plan import HONEST
from boltzmann.simulate.results import PeerResult, SimulationResult

TOLERANCE = 1.05  # what pay differs by between honest miners, and accomplices may gain


def kind_rows(result: SimulationResult) -> list[dict[str, Any]]:
    """One row per kind of miner, honest ones first. Pay and work: an honest miner's are 1."""
    return [_row(result, kind.kind) for kind in result.kinds]


def _row(result: SimulationResult, kind: str) -> dict[str, Any]:
    peers = [peer for peer in result.peers if peer.kind == kind]
    pay = fmean(peer.pay for peer in peers) / (result.honest_pay or 1.0)
    work = min(1.0, fmean(peer.work or 0.0 for peer in peers) / result.windows)
    delays = next(k for k in result.kinds if k.kind == kind)
    reasons: Counter[str] = Counter()
    for peer in peers:
        reasons.update(peer.rejected)
    bound = None if kind == HONEST else _bound(kind, work)
    return {
        "kind": kind,
        "peers": len(peers),
        "pay": pay,
        "work": work,
        "bound": bound,
        "within": bound is None or pay <= bound,
        "accepted": fmean(peer.accepted for peer in peers) / result.windows,
        "bad_before": fmean(peer.bad_before for peer in peers),
        "bad_after": fmean(peer.bad_after for peer in peers),
        "delay_median": _delay(delays.delay_median),
        "delay_p95": _delay(delays.delay_p95),
        "refused": sum(map(_failures, peers)) if kind == HONEST else None,
        "reasons": dict(reasons.most_common()),
    }


def _bound(kind: str, work: float) -> float:
    """Nothing for who only cheats; for the patient what its work would have earned."""
    if PATTERN.fullmatch(kind):
        return work
    earns = attack_named(kind).earns
    return TOLERANCE * work if isinstance(earns, str) else earns


def _delay(windows: float | None) -> float | str | None:
    return "never" if windows == inf else windows


def _failures(peer: PeerResult) -> int:
    return sum(peer.rejected.values()) if peer.caught is not None else 0


def show_kinds(rows: Sequence[dict[str, Any]], result: SimulationResult) -> str:
    """The kinds as a table, those that earn more than their bound named below it."""
    shown = [
        {**row, "within": "" if row["within"] else "ABOVE", "reasons": _reasons(row["reasons"])}
        for row in rows
    ]
    beyond = ", ".join(row["kind"] for row in rows if not row["within"])
    return "\n".join(
        (
            show_rows([{k: v for k, v in row.items() if k != "refused"} for row in shown]),
            f"{result.updates} of {result.windows} windows had an update; roots "
            f"{'equal' if result.agreed else 'DIFFER'}; loss {result.loss_last:.4f}; honest miners "
            f"with refused work: {len(result.honest_refused)}; above their bound: "
            f"{beyond or 'none'}",
        )
    )


def _reasons(counted: dict[str, int]) -> str:
    return " ".join(f"{reason}:{count}" for reason, count in list(counted.items())[:3])


def show_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of equal keys as a table."""
    if not rows:
        return ""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))) for row in cells
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else str(value)
