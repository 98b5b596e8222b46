"""The report's still charts, as SVG: bars, lines and histograms over bins, and a confusion matrix.

Colours are classes of the page's style sheet (s0, s1, ...: of the series), so that they follow its theme.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mtl_vision.report.reading import number
from mtl_vision.report.story import own

WIDTH, HEIGHT = 372, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 12, 40
ROW, GAP = 13, 7  # of bars
ROUND = ' rx="2"'
ROOM = 18  # pixels of a cell that has its figure
MANY = 20  # classes, from which on a matrix is drawn larger
CONFUSED = 0.02  # of a class's pixels, from which on a confusion is named


def text(x: float, y: float, words: object, anchor: str = "start", more: str = "") -> str:
    """A line of text, escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(str(words))}</text>'


def rect(style: str, x: float, y: float, width: float, height: float, title: str = "", more: str = "") -> str:
    """A rectangle; title: what is told when the pointer is over it."""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{style}" {place}{more}>' + (f"<title>{escape(title)}</title>" if title else "") + "</rect>"


def frame(width: float, height: float, label: str, parts: Sequence[str], large: bool = False) -> str:
    """An SVG of this size in units, about pixels."""
    kind = "chart large" if large else "chart"
    head = f'<svg class="{kind}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">'
    return head + "".join(parts) + "</svg>"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values from low to high."""
    if not high > low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= next((f for f in (1, 2, 2.5, 5, 10) if (high - low) / (f * step) <= count), 10)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def bars(charts: Sequence[Mapping[str, Any]]) -> str:
    """A value a name, of each run one under the other."""
    names = [str(name) for name in charts[0]["names"]]
    rows = [[number(v) for v in next(iter(chart["values"].values()))] for chart in charts]
    highest = max((v for row in rows for v in row if v is not None), default=0.0)
    full = 100.0 if "%" in str(charts[0]["y"]) else highest or 1.0
    left = min(150, 14 + 6.6 * max(map(len, names), default=1))
    span = WIDTH - left - 44
    step = ROW * len(rows) + GAP
    parts = []
    for i, name in enumerate(names):
        y = i * step + 4
        parts.append(text(left - 8, y + (step - GAP) / 2 + 4, _cut(name, 22), "end"))
        for k, row in enumerate(rows):
            value = row[i] if i < len(row) else None
            top = y + k * ROW
            parts.append(rect("track", left, top, span, ROW - 2, more=ROUND))
            if value is None:
                parts.append(text(left + 4, top + ROW - 4, "not in the data", more=' class="quiet"'))
                continue
            parts.append(rect(f"s{k % 8} fill", left, top, max(span * min(value / full, 1), 0.5), ROW - 2, more=ROUND))
            parts.append(text(WIDTH, top + ROW - 3.5, f"{value:.1f}", "end", ' class="value"'))
    return frame(WIDTH, len(names) * step + 8, str(charts[0]["title"]), parts)


def binned(charts: Sequence[Mapping[str, Any]]) -> str:
    """Lines of a value a bin, over the bins' shares of all pixels; of several runs the first series of each."""
    lines = [(f"s{k % 8}", row) for k, row in enumerate(_series(charts))]
    known = [i + 1 for _, row in lines for i, v in enumerate(row) if v is not None]
    edges = [float(edge) for edge in charts[0]["edges"]][: max(known, default=0) + 1]
    highest = max((v for _, row in lines for v in row if v is not None), default=1.0) or 1.0
    axes = _Axes(edges[0], edges[-1], highest)
    shares = [number(v) or 0.0 for v in charts[0].get("shares") or ()]
    parts = []
    if shares and max(shares) > 0:
        for a, b, share in zip(edges, edges[1:], shares, strict=False):  # behind the lines, of half the height
            height = (axes.bottom - TOP) / 2 * share / max(shares)
            title = f"{a:g} to {b:g}: {share:.1f} % of the pixels"
            parts.append(rect("share", axes.x(a), axes.bottom - height, axes.x(b) - axes.x(a) - 0.5, height, title))
    parts += axes.drawn(charts[0]["x"], charts[0]["y"])
    for style, row in lines:
        parts.append(f'<path class="{style} line" d="{_steps(row, edges, axes)}"/>')
    return frame(WIDTH, HEIGHT, str(charts[0]["title"]), parts)


def histogram(charts: Sequence[Mapping[str, Any]]) -> str:
    """Shares of pixels a bin: filled for one run, outlines for several. The empty end is left out."""
    edges = [float(edge) for edge in charts[0]["edges"]]
    rows = [[number(v) or 0.0 for v in next(iter(chart["values"].values()))] for chart in charts]
    last = max((i for row in rows for i, v in enumerate(row) if v >= 0.1), default=0) + 1
    edges, rows = edges[: last + 1], [row[:last] for row in rows]
    axes = _Axes(edges[0], edges[-1], max(v for row in rows for v in row) or 1.0)
    parts = axes.drawn(charts[0]["x"], charts[0]["y"])
    if len(rows) == 1:
        for a, b, v in zip(edges, edges[1:], rows[0], strict=False):
            left, top = axes.x(a) + 0.5, axes.y(v)
            width = max(axes.x(b) - left - 0.5, 0.5)
            parts.append(rect("s0 fill", left, top, width, axes.bottom - top, f"{a:g} to {b:g}: {v:.2f} %"))
    else:
        parts += [f'<path class="s{k % 8} line" d="{_steps(row, edges, axes)}"/>' for k, row in enumerate(rows)]
    return frame(WIDTH, HEIGHT, str(charts[0]["title"]), parts)


def matrix(chart: Mapping[str, Any]) -> str:
    """Rows: true classes; columns: predicted ones. The darker, the more of the row's pixels."""
    names, rows = _counts(chart)
    n, large = len(names), len(names) > MANY
    side = 840 if large else WIDTH
    size = 11
    longest = 22 if large else 16  # letters
    label = min(max(map(len, names), default=1), longest) * size * 0.56 + 8
    cell = (side - label - 4) / max(n, 1)
    parts = [rect("track", label, label, n * cell, n * cell)]
    style = ' class="name"'
    for i, name in enumerate(names):
        middle = label + (i + 0.5) * cell
        parts.append(text(label - 5, middle + 4, _cut(name, longest), "end", style))
        turned = f' transform="rotate(-90 {middle + 4:.1f} {label - 5:.1f})"'
        parts.append(text(middle + 4, label - 5, _cut(name, longest), "start", style + turned))
    for i, row in enumerate(rows):
        for j, count in enumerate(row):
            if count:
                share = count / sum(row)
                x, y = label + j * cell, label + i * cell
                title = f"{names[i]} as {names[j]}: {100 * share:.3g} % ({count:,.0f} pixels)"
                opacity = f' fill-opacity="{max(share, 0.015):.3f}"'
                parts.append(rect("cell", x + 0.5, y + 0.5, cell - 1, cell - 1, title, opacity))
                if cell >= ROOM and share >= 0.095:
                    tone = ' class="on"' if share > 0.5 else ""
                    parts.append(text(x + cell / 2, y + cell / 2 + 3.5, f"{100 * share:.0f}", "middle", tone))
    return frame(side, label + n * cell + 4, str(chart["title"]), parts, large)


def confusions(chart: Mapping[str, Any], most: int = 3) -> list[str]:
    """The most frequent confusions in words."""
    names, rows = _counts(chart)
    found = [
        (count / sum(row), names[i], names[j])
        for i, row in enumerate(rows)
        for j, count in enumerate(row)
        if i != j and count >= CONFUSED * sum(row) > 0
    ]
    return [
        f"{100 * share:.0f} % of {own(true)} pixels are taken for {predicted}"
        for share, true, predicted in sorted(found, reverse=True)[:most]
    ]


def _counts(chart: Mapping[str, Any]) -> tuple[list[str], list[list[float]]]:
    names = [str(name) for name in chart["names"]]
    rows = [[number(v) or 0.0 for v in row][: len(names)] for row in chart["values"].values()]
    return names, rows[: len(names)]


def _series(charts: Sequence[Mapping[str, Any]]) -> list[list[float | None]]:
    if len(charts) == 1:
        return [[number(v) for v in row] for row in charts[0]["values"].values()]
    return [[number(v) for v in next(iter(chart["values"].values()))] for chart in charts]


def _steps(row: Sequence[float | None], edges: Sequence[float], axes: "_Axes") -> str:
    """A line that is level over each bin; broken at bins of no value."""
    path, open_ = [], False
    for a, b, v in zip(edges, edges[1:], row, strict=False):
        if v is None:
            open_ = False
            continue
        path.append(f"{'L' if open_ else 'M'}{axes.x(a):.1f} {axes.y(v):.1f}H{axes.x(b):.1f}")
        open_ = True
    return "".join(path)


class _Axes:
    """From values to places, both axes from their lowest value; y from 0."""

    bottom = HEIGHT - BOTTOM

    def __init__(self, low: float, high: float, highest: float) -> None:
        self.low, self.high, self.highest = low, high if high > low else low + 1, highest * 1.06

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.low) / (self.high - self.low)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - TOP) * value / self.highest

    def drawn(self, x: object, y: object) -> list[str]:
        """Grid, ticks and what the axes are."""
        parts = []
        for value in ticks(0, self.highest):
            at = self.y(value)
            parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(text(LEFT - 6, at + 4, f"{value:g}", "end"))
        parts += [
            text(self.x(value), self.bottom + 15, f"{value:g}", "middle") for value in ticks(self.low, self.high, 8)
        ]
        parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x, "middle", ' class="axis"'))
        middle = (TOP + self.bottom) / 2
        parts.append(text(11, middle, y, "middle", f' class="axis" transform="rotate(-90 11 {middle:.1f})"'))
        return parts


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
