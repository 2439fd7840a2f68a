"""The gate's results as rows: printed, and to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.gate_cases import CHEAT, ELSEWHERE, HONEST, UNLIKE
from benchmarks.gate_figures import LEAST, MOST, Summary, merged


@dataclass(frozen=True)
class Row:
    """One case's audits. `kind`: HONEST, UNLIKE, CHEAT or ELSEWHERE."""

    case: str
    kind: str
    full: Summary
    spot: Summary

    @property
    def edge(self) -> int:
        """Which end of a distribution is nearest to the wrong side."""
        return LEAST if self.kind in (HONEST, UNLIKE) else MOST


@dataclass(frozen=True)
class Cell:
    """One model's windows after `window`. `loss`: nats per token; `notes`: what was left out."""

    model: str
    window: int
    loss: float
    seconds: float
    notes: Sequence[str]
    rows: Sequence[Row]


def cell_of(read: Mapping[str, Any]) -> Cell:
    """A cell as it was written."""
    rows = [
        Row(row["case"], row["kind"], Summary(**row["full"]), Summary(**row["spot"]))
        for row in read["rows"]
    ]
    return Cell(**{**read, "rows": rows})


def overall(cells: Sequence[Cell]) -> list[Row]:
    """Each case over all cells that have it, by kind, honest ones first."""
    parts: dict[tuple[str, str], list[Row]] = {}
    for cell in cells:
        for row in cell.rows:
            parts.setdefault((row.kind, row.case), []).append(row)
    rows = [
        Row(case, kind, merged([row.full for row in found]), merged([row.spot for row in found]))
        for (kind, case), found in parts.items()
    ]
    return sorted(rows, key=lambda row: (HONEST, UNLIKE, CHEAT, ELSEWHERE).index(row.kind))


def is_refused(rows: Sequence[Row]) -> bool:
    """Whether any audit of honest work was refused."""
    return any(row.full.refused or row.spot.refused for row in rows if row.kind == HONEST)


def show_rows(rows: Sequence[Row]) -> None:
    """A line a case: of gate and tensor the end nearest to the wrong side, of the others both."""
    print(
        f"{'':<36}{'full':>5} {'refused':<14}{'gate':>9}{'tensor':>9}{'norm':>13}{'shares':>9}"
        f"{'spot':>7} {'refused':<14}{'unsure':>7}{'gate':>9}{'tensor':>9}{'norm':>13}"
    )
    for row in rows:
        full, spot, edge = row.full.figures, row.spot.figures, row.edge
        unsure = row.spot.unsure / row.spot.audits
        print(
            f"{row.case:<36}{row.full.audits:>5} {_refused(row.full):<14}{full['gate'][edge]:>9.5f}"
            f"{full['tensor'][edge]:>9.4f}{_ends(full['norm']):>13}{full['shares'][edge]:>9.5f}"
            f"{row.spot.audits:>7} {_refused(row.spot):<14}{unsure:>7.0%}"
            f"{spot['gate'][edge]:>9.5f}{spot['tensor'][edge]:>9.4f}"
            f"{_ends(spot['norm']):>13}",
            flush=True,
        )
        if row.kind == HONEST:
            for name, found in (("full", row.full), ("spot", row.spot)):
                for tensor, count in found.tensors.items():
                    print(f"{'':<8}{name}: {count} of {found.audits} refused for {tensor}")


def _refused(found: Summary) -> str:
    if not found.refused:
        return "0"
    return f"{found.refused / found.audits:.0%} {next(iter(found.reasons))}"


def _ends(quantiles: Sequence[float]) -> str:
    return f"{quantiles[LEAST]:.2f}..{quantiles[MOST]:.2f}"
