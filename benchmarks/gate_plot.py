"""The gate's distributions against its thresholds, as an SVG of simple shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

from benchmarks.gate_cases import CHEAT, HONEST, UNLIKE
from benchmarks.gate_figures import HIGH, LEAST, LOW, MEDIAN, MOST, Limits
from benchmarks.gate_table import Row

LABELS, PANEL, GAP, LINE, TOP, BOTTOM = 210, 142, 14, 15, 62, 34
COLOURS = {HONEST: "#1a7f37", UNLIKE: "#57606a", CHEAT: "#c62828"}
SABOTAGE = "#b26a00"


@dataclass(frozen=True)
class Panel:
    """One figure's axis. `place`: from a figure to 0 (left) .. 1; `ticks`: (figure, label);
    `limits`: beyond them an audit refuses; `doubts`: beyond them a full audit has to decide."""

    audit: str
    figure: str
    title: str
    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]
    limits: Sequence[float]
    doubts: Sequence[float] = ()


def draw_plot(rows: Sequence[Row], limits: Limits, about: str) -> str:
    """A line a case and a column a figure: bars from 1% to 99%, whiskers to the ends."""
    panels = _panels(limits)
    width = LABELS + len(panels) * (PANEL + GAP)
    height = TOP + LINE * len(rows) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(8, 16, f"Audits of honest work and of cheats, {about}", size=13, weight="bold"),
        _text(8, 32, "bar: 1% to 99%; line: least to most; dot: median", colour="#666666"),
        _text(
            8,
            45,
            "blue: threshold, shaded: refused; dashed: a full audit has to decide",
            colour="#666666",
        ),
    ]
    for number, row in enumerate(rows):
        y = TOP + LINE * number + LINE - 4
        parts.append(_text(LABELS - 8, y, row.case, colour=_colour(row.kind), anchor="end"))
    for number, panel in enumerate(panels):
        parts += _draw_panel(panel, LABELS + number * (PANEL + GAP), rows)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panels(limits: Limits) -> list[Panel]:
    gate, share_min = limits.gate, limits.audit.share_min
    share_mean_min = limits.audit.share_mean_min
    near = [(0.0, "0"), (0.9, "0.9"), (0.999, "0.999"), (1 - 1e-6, "1−10⁻⁶")]
    norms = (gate.norm_min, gate.norm_max)
    halves = [(0.25, "¼"), (0.5, "½"), (1.0, "1"), (2.0, "2"), (4.0, "4")]
    tenths = [(0.01, "0.01"), (1.0, "1"), (100.0, "100")]
    length, room = _log_of(0.15, 6.5), _log_of(1e-3, 1e4)
    return [
        Panel("full", "gate", "full: gate ρ", _near_one, near, [gate.gate_min]),
        Panel("full", "tensor", "full: worst tensor", _near_one, near, [gate.tensor_min]),
        Panel("full", "norm", "full: norm ratio", length, halves, norms),
        Panel("full", "shares", "full: mean share's ρ", _near_one, near, [share_mean_min]),
        Panel("full", "room", "full: room", room, tenths, [1.0]),
        Panel("spot", "gate", "spot: share's ρ", _near_one, near, [share_min], [gate.gate_min]),
        Panel("spot", "tensor", "spot: worst tensor", _near_one, near, [], [gate.tensor_min]),
        Panel("spot", "norm", "spot: norm ratio", length, halves, [], norms),
    ]


def _draw_panel(panel: Panel, left: int, rows: Sequence[Row]) -> list[str]:
    bottom = TOP + LINE * len(rows)
    edges = [panel.place(limit) * PANEL for limit in panel.limits]
    parts = [
        _text(left, TOP - 6, panel.title, weight="bold"),
        f'<rect x="{left}" y="{TOP}" width="{PANEL}" height="{bottom - TOP}" fill="#f6f8fa"/>',
    ]
    if edges:
        parts.append(_shade(left, edges[0], bottom))
    if len(edges) > 1:
        parts.append(_shade(left + edges[1], PANEL - edges[1], bottom))
    for value, label in panel.ticks:
        x = left + panel.place(value) * PANEL
        parts.append(_line(x, TOP, x, bottom, "#d0d7de", 0.5))
        parts.append(_text(x, bottom + 12, label, colour="#666666", anchor="middle"))
    doubts = [panel.place(limit) * PANEL for limit in panel.doubts]
    parts += [_line(left + x, TOP, left + x, bottom, "#0550ae", 1.2) for x in edges]
    parts += [_line(left + x, TOP, left + x, bottom, "#0550ae", 1.2, "4 3") for x in doubts]
    for number, row in enumerate(rows):
        found = row.full if panel.audit == "full" else row.spot
        spots = [left + panel.place(value) * PANEL for value in found.figures[panel.figure]]
        parts += _distribution(spots, TOP + LINE * number + LINE / 2, _colour(row.kind))
    return parts


def _distribution(spots: Sequence[float], y: float, colour: str) -> list[str]:
    bar = max(1.5, spots[HIGH] - spots[LOW])
    return [
        _line(spots[LEAST], y, spots[MOST], y, colour, 1.0),
        f'<rect x="{spots[LOW]:.1f}" y="{y - 3:.1f}" width="{bar:.1f}" height="6" '
        f'fill="{colour}" fill-opacity="0.45"/>',
        f'<circle cx="{spots[MEDIAN]:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>',
    ]


def _near_one(value: float) -> float:
    """1 - value on a logarithmic axis from 2 (left) to 1e-8."""
    return _clamped((log10(2.0) - log10(max(1.0 - value, 1e-9))) / (log10(2.0) + 8.0))


def _log_of(least: float, most: float) -> Callable[[float], float]:
    span = log10(most) - log10(least)
    return lambda value: _clamped((log10(max(value, 1e-12)) - log10(least)) / span)


def _clamped(place: float) -> float:
    return min(1.0, max(0.0, place))


def _colour(kind: str) -> str:
    return COLOURS.get(kind, SABOTAGE)


def _shade(x: float, width: float, bottom: float) -> str:
    return (
        f'<rect x="{x:.1f}" y="{TOP}" width="{max(0.0, width):.1f}" height="{bottom - TOP}" '
        'fill="#0550ae" fill-opacity="0.08"/>'
    )


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: float, dashes: str = "none"
) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}" stroke-dasharray="{dashes}"/>'
    )


def _text(
    x: float,
    y: float,
    words: str,
    size: int = 10,
    weight: str = "normal",
    colour: str = "#24292f",
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'
    )
