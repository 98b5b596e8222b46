"""Runs beside each other: metrics with differences, delta_m, and in what their recipes differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtl_vision.report.reading import Recorded, flat, number

OWN = ("run.name", "run.dir", "run.resume", "run.tensorboard", "data.cache", "data.workers")  # no part of a recipe
PROTOCOL = ("split", "samples", "size", "crop", "ground_truth", "normals")


@dataclass(frozen=True)
class Cell:
    """A run's value of a metric. change: against the baseline, percent; None for none. better: whether it is a gain."""

    value: str
    change: float | None = None
    better: bool | None = None
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A metric over the runs."""

    name: str
    unit: str
    higher_is_better: bool | None
    main: bool
    cells: list[Cell]


def delta_m(metrics: Mapping[str, Any], single: Mapping[str, Any], higher: Mapping[str, bool]) -> float:
    """Mean relative gain over single-task runs in percent, positive is better: 100 / M sum (-1)^lower (m - s) / s.

    higher: metric -> whether higher is better; the metrics that are compared.
    """
    gains = [(1 if up else -1) * (metrics[name] - single[name]) / single[name] for name, up in higher.items()]
    return 100 * sum(gains) / len(gains)


def figures_of(runs: Sequence[Recorded]) -> dict[str, Mapping[str, Any]]:
    """What the runs' metrics are, by key."""
    return {key: figure for run in runs for key, figure in run.figures.items() if isinstance(figure, dict)}


def baseline_of(runs: Sequence[Recorded]) -> dict[str, float]:
    """The metrics that others are compared with: those of one run, or of single-task runs, each its own task's."""
    return {key: n for run in runs for key, value in run.metrics.items() if (n := number(value)) is not None}


def metric_rows(runs: Sequence[Recorded], baseline: Mapping[str, float]) -> dict[str, list[Row]]:
    """Rows by task; changes where there is a baseline that is not the run itself."""
    rows: dict[str, list[Row]] = {}
    for key, figure in figures_of(runs).items():
        values = [number(run.metrics.get(key)) for run in runs]
        if any(value is not None for value in values):
            task, _, name = key.partition(".")
            rows.setdefault(task, []).append(_row(name, figure, values, baseline.get(key)))
    return rows


def _row(name: str, figure: Mapping[str, Any], values: Sequence[float | None], base: float | None) -> Row:
    up, unit = bool(figure.get("higher_is_better")), str(figure.get("unit") or "")
    known = [value for value in values if value is not None]
    best = (max if up else min)(known) if len(values) > 1 else None
    cells = []
    for value in values:
        if value is None:
            cells.append(Cell("–"))
            continue
        change = 100 * (value - base) / abs(base) if base and len(values) > 1 else None
        better = None if not change else (change > 0) == up
        cells.append(Cell(shown(value, unit), change, better, value == best))
    return Row(name, unit, up, bool(figure.get("main")), cells)


def shown(value: float, unit: str) -> str:
    """A metric's value: percent and degrees with two digits, others with four."""
    return f"{value:.2f}" if unit in ("%", "deg") else f"{value:.4f}"


def delta_rows(runs: Sequence[Recorded], baseline: Mapping[str, float]) -> list[Row]:
    """delta_m over one metric a task, and over the literature's nine, where all of them were measured."""
    found = []
    figures = figures_of(runs)
    for label, which in (("over one metric a task", "main"), ("over the literature's nine", "nine")):
        higher = {k: bool(f.get("higher_is_better")) for k, f in figures.items() if f.get(which)}
        if which == "main":  # of the tasks that there are
            higher = {k: up for k, up in higher.items() if any(number(run.metrics.get(k)) is not None for run in runs)}
        cells = []
        for run in runs:
            good = higher and all(number(run.metrics.get(k)) is not None and baseline.get(k) for k in higher)
            value = delta_m(run.metrics, baseline, higher) if good else None
            cells.append(Cell("–") if value is None else Cell(f"{value:+.2f}", None, value > 0 if value else None))
        if any(cell.value != "–" for cell in cells):
            found.append(Row(label, "%", True, which == "main", cells))
    return found


def recipe_differences(runs: Sequence[Recorded]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs, and their values."""
    settings = [flat(run.config) for run in runs]
    keys = [key for key in dict.fromkeys(key for one in settings for key in one) if key not in OWN]
    values = {key: [_setting(one.get(key)) if key in one else "–" for one in settings] for key in keys}
    return [(key, row) for key, row in values.items() if len(set(row)) > 1]


def protocol_differences(runs: Sequence[Recorded]) -> list[str]:
    """What was not measured alike: such figures are no comparison."""
    return [name for name in PROTOCOL if len({str(run.metrics.get(f"protocol.{name}")) for run in runs}) > 1]


def _setting(value: Any) -> str:
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
