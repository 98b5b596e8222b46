"""What the studies show: tables in Markdown and figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from matplotlib.figure import Figure

from mtl_vision.runtime.files import atomic_path
from mtl_vision.tasks import TASKS
from studies.common import FIGURES

COLOURS = {name: f"C{i}" for i, name in enumerate(TASKS)}


@dataclass(frozen=True)
class Column:
    """title; key: of the values; digits after the point; higher: whether higher is better (None: nothing is)."""

    title: str
    key: str
    digits: int
    higher: bool | None = None


def metric_columns(names: Collection[str]) -> list[Column]:
    """Columns of metrics with their units, task by task."""
    return [
        Column(
            f"{name} ({figure.unit})" if figure.unit else name,
            name,
            3 if figure.unit in ("", "m") else 2,
            figure.higher_is_better,
        )
        for name, figure in FIGURES.items()
        if name in names
    ]


def table(rows: Mapping[str, Mapping[str, Sequence[float]]], columns: Sequence[Column], rivals: Collection[str]) -> str:
    """Markdown: a row a label, `mean ± spread` of each column's values, the best mean among the rivals in bold."""
    cells = [["", *(column.title for column in columns)], *([label] for label in rows)]
    for column in columns:
        means = {label: fmean(values[column.key]) for label, values in rows.items() if values.get(column.key)}
        among = [value for label, value in means.items() if label in rivals]
        best = None if column.higher is None or len(among) < 2 else (max if column.higher else min)(among)
        for line, (label, values) in zip(cells[1:], rows.items(), strict=True):
            text = spread(values.get(column.key, ()), column.digits)
            line.append(f"**{text}**" if label in rivals and means.get(label) == best is not None else text)
    return markdown(cells)


def spread(values: Sequence[float], digits: int) -> str:
    """`mean ± sample standard deviation`; of one value, the value; of none, a dash."""
    if not values:
        return "-"
    text = f"{fmean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {stdev(values):.{digits}f}"


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """An aligned table; the first line is its head, the first column leans left."""
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(cells[0]))]

    def row(line: Sequence[str]) -> str:
        padded = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        return "| " + " | ".join([line[0].ljust(widths[0]), *padded[1:]]) + " |"

    rule = "|" + "|".join([f":{'-' * (widths[0] + 1)}", *(f"{'-' * (width + 1)}:" for width in widths[1:])]) + "|"
    return "\n".join([row(cells[0]), rule, *(row(line) for line in cells[1:])])


def save_figure(figure: Figure, path: Path) -> None:
    """A PNG, whole or not at all."""
    with atomic_path(path) as work:
        figure.savefig(work, dpi=110)
