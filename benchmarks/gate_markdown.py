"""The tables of docs/gate.md, from what `benchmarks.gate` has measured.

python -m benchmarks.gate_markdown [benchmarks/results/gate.json]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.gate_cases import CHEAT, HONEST, UNLIKE
from benchmarks.gate_figures import merged
from benchmarks.gate_table import Cell, Row, cell_of, overall

RESULTS = Path(__file__).resolve().parent / "results" / "gate.json"
FP32, BF16, COMPILED = "fp32 run, all ways", "bf16 run, other batches", "bf16 run, compiled"
ORDER = (FP32, BF16, COMPILED)
TOLD_APART = ("copy", "half the pages", "one page made up", "94% of the tokens")
Show = Callable[[Row], str]


def main() -> None:
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    found = json.loads(results.read_text())
    if found["settings"]["device"] != "cpu":
        raise SystemExit(f"{results} is of a GPU, whose ways have other names than these tables")
    cells = [cell_of(cell) for cell in found["cells"]]
    cells.sort(key=lambda cell: (float(cell.model.rstrip("M")), cell.window))
    print("**Honest work**\n")
    by_cell(cells, HONEST, ORDER, FIGURES)
    print("\n**Another precision**\n")
    unlike = [row.case for row in overall(cells) if row.kind == UNLIKE]
    by_cell(cells, UNLIKE, unlike, FIGURES)
    print("\n**Cheats**\n")
    by_cell(cells, CHEAT, TOLD_APART, NEAREST)
    print("\n**All cases**\n")
    all_cases(cells)


def grouped(rows: Sequence[Row]) -> list[Row]:
    """The rows, of honest work those that come to the same as one."""
    honest = sorted((row for row in rows if row.kind == HONEST), key=group)
    found = []
    for name, same in groupby(honest, key=group):
        parts = list(same)
        full, spot = (merged([getattr(row, w) for row in parts]) for w in ("full", "spot"))
        found.append(Row(name, HONEST, full, spot))
    found.sort(key=lambda row: ORDER.index(row.case))
    return [*found, *(row for row in rows if row.kind != HONEST)]


def group(row: Row) -> str:
    """Under which name an honest way is shown."""
    if not row.case.startswith("a bf16 run"):
        return FP32
    return COMPILED if "compile" in row.case else BF16


def by_cell(
    cells: Sequence[Cell], kind: str, cases: Sequence[str], shows: Mapping[str, Show]
) -> None:
    """For each case a line a figure, and a column for each model and window."""
    line("model, windows", [f"{cell.model}, {cell.window}" for cell in cells])
    print("|---" * (len(cells) + 1) + "|")
    for case in cases:
        for name, show in shows.items():
            line(f"{case}; {name}", [shown(cell, kind, case, show) for cell in cells])


def all_cases(cells: Sequence[Cell]) -> None:
    """A line a case over all cells."""
    names = ("gate", "tensor", "share", "shares")
    line("case", ["full: ρ", "tensor", "least share", "mean share", "refused"], end="")
    print(" spot: ρ | refused | decided in full |")
    print("|---" * 9 + "|")
    for row in grouped(overall(cells)):
        figures = [f"{end(row, name):.4f}" for name in names]
        spot = f"{row.spot.figures['gate'][row.edge]:.4f}"
        told = f"{row.spot.refused} of {row.spot.audits}"
        line(row.case, [*figures, refused(row), spot, told, str(row.spot.unsure)])


def shown(cell: Cell, kind: str, case: str, show: Show) -> str:
    """Of the cell's row of that case; where torch.compile is missing something there is none."""
    found = [row for row in grouped(cell.rows) if (row.kind, row.case) == (kind, case)]
    return show(found[0]) if found else "–"


def end(row: Row, figure: str) -> float:
    """The end of a full audit's figure that is nearest to the wrong side."""
    return row.full.figures[figure][row.edge]


def refused(row: Row) -> str:
    """Of full audits."""
    return f"{row.full.refused} of {row.full.audits}"


def line(first: str, values: Sequence[str], end: str = "\n") -> None:
    print("|", " | ".join([first, *values]), "|", end=end)


FIGURES: Mapping[str, Show] = {
    "full: ρ": lambda row: f"{end(row, 'gate'):.5f}",
    "full: worst tensor": lambda row: f"{end(row, 'tensor'):.4f}",
    "full: mean share": lambda row: f"{end(row, 'shares'):.5f}",
    "spot: ρ": lambda row: f"{row.spot.figures['gate'][row.edge]:.5f}",
    "refused in full": refused,
}
NEAREST: Mapping[str, Show] = {
    "ρ, mean share": lambda row: f"{end(row, 'gate'):.4f}, {end(row, 'shares'):.4f}",
    "refused": refused,
}


if __name__ == "__main__":
    main()
