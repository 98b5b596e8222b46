"""The curves of a history: what a step recorded of each task, thinned to what a screen can show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_vision.report.reading import number

POINTS = 3000  # of a chart's table, of all runs together
MEANS = 150  # points of a smoothed curve
SERIES = 16  # at most, of a key: tasks
LEARNING_RATE = "lr"
MEASURED = "metrics"


@dataclass(frozen=True)
class Table:
    """What was recorded under a key: steps (n,), names (S), values (S, n) float64, NaN where there is none."""

    steps: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray

    def taken(self, at: np.ndarray) -> "Table":
        """Some of the records."""
        return Table(self.steps[at], self.names, self.values[:, at])


def tables(history: Iterable[Mapping[str, Any]]) -> dict[str, Table]:
    """A table a key: each mapping from task to number, the learning rate (of one series, ""), and the metrics.

    Steps rise; of records of one step the last one counts. What is no number is NaN.
    """
    found: dict[str, dict[int, dict[str, float]]] = {}
    for record in history:
        for key, value in record.items():
            group = {"": value} if key == LEARNING_RATE else value
            if isinstance(group, dict):
                numbers = {str(name): n for name, item in group.items() if (n := number(item)) is not None}
                if numbers:
                    found.setdefault(key, {})[record["step"]] = numbers
    return {key: _table(rows, None if key == MEASURED else SERIES) for key, rows in found.items()}


def _table(rows: Mapping[int, Mapping[str, float]], most: int | None) -> Table:
    steps = sorted(rows)
    names = list(dict.fromkeys(name for row in rows.values() for name in row))[:most]
    values = [[rows[step].get(name, np.nan) for step in steps] for name in names]
    return Table(np.array(steps, np.int64), tuple(names), np.array(values, float).reshape(len(names), len(steps)))


def thinned(table: Table, most: int = POINTS) -> Table:
    """At most about `most` of the records, as they are: of each bucket those where a series is lowest and highest."""
    S, n = table.values.shape
    if n <= most:
        return table
    buckets = max(most // max(2 * S, 1), 1)
    keep = {0, n - 1}
    for part in np.array_split(np.arange(n), buckets):
        values = table.values[:, part]
        low, high = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
        for at in (low.argmin(axis=1), high.argmax(axis=1)):
            keep.update(part[at].tolist())
    return table.taken(np.array(sorted(keep)))


def smoothed(table: Table, points: int = MEANS) -> Table | None:
    """The means over as many buckets of records, at their middle; None where there are too few to need it."""
    n = len(table.steps)
    if n <= 2 * points:
        return None
    parts = np.array_split(np.arange(n), points)
    count = np.stack([(~np.isnan(table.values[:, part])).sum(axis=1) for part in parts], axis=1)
    total = np.stack([np.nansum(table.values[:, part], axis=1) for part in parts], axis=1)
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Table(np.array([round(table.steps[part].mean()) for part in parts]), table.names, means)


def rounded(values: np.ndarray) -> list[float | None]:
    """Of five digits, as JSON has them."""
    return [None if np.isnan(v) else float(f"{v:.5g}") for v in values.tolist()]


TITLES = {
    "weight": "Task weights",
    "grad_norm": "Gradient norms",
    "rate": "Relative rates",
    "loss": "Losses",
    LEARNING_RATE: "Learning rate",
    "head_weight": "Weights of the heads",
    "kpi": "Performance indicators",
}
NOTES = {
    "weight": "what each task's loss is multiplied by",
    "grad_norm": "dashed: the targets that the balancer moves them to",
    "rate": "above 1: the task has come less far than the others",
    "loss": "in training, of each step's batch",
    LEARNING_RATE: "the highest of the optimiser's",
    "kpi": "share of pixels predicted well, which the weights follow",
}
WITH = {"target": "grad_norm"}  # what is drawn dashed in another one's chart, where it is of one run
LOG = ("grad_norm", "loss")


def charts(runs: Sequence[Mapping[str, Table]]) -> list[dict[str, Any]]:
    """Every chart with the tables that are drawn in it, as JSON has them; of all runs over each other.

    A table: steps `x` and series, each with the index of its run, its task, its kind (raw, mean, target, measured) and
    values `y`.
    """
    keys = dict.fromkeys([*TITLES, *(key for run in runs for key in run)])
    keys = [key for key in keys if key not in (*WITH, MEASURED) and any(key in run for run in runs)]
    most = max(POINTS // len(runs), 200)
    found = []
    for key in keys:
        parts = []
        for index, run in enumerate(runs):
            beside = [other for other, place in WITH.items() if place == key and len(runs) == 1]
            for name in (key, *beside):
                if name in run:
                    parts += _parts(run[name], index, "raw" if name == key else name, most)
        title = TITLES.get(key, key.replace("_", " "))
        has_target = any(one["kind"] == "target" for part in parts for one in part["series"])
        note = "" if key == "grad_norm" and not has_target else NOTES.get(key, "")
        found.append({"key": key, "title": title, "note": note, "log": key in LOG, "tables": parts})
    return found


def measured(runs: Sequence[Mapping[str, Table]], figures: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A chart a main metric, where a run was measured more than once."""
    found = []
    for key in (key for key, figure in figures.items() if figure.get("main")):
        parts = []
        for index, run in enumerate(runs):
            table = run.get(MEASURED)
            if table is not None and key in table.names and len(table.steps) > 1:
                row = table.values[table.names.index(key)]
                series = {"run": index, "task": key.partition(".")[0], "kind": "measured", "y": rounded(row)}
                parts.append({"x": table.steps.tolist(), "series": [series]})
        if parts:
            unit = str(figures[key].get("unit") or "")
            title = f"{key}{f' ({unit})' if unit else ''}"
            better = "higher" if figures[key].get("higher_is_better") else "lower"
            found.append(
                {"key": key, "title": title, "note": f"measured; {better} is better", "log": False, "tables": parts}
            )
    return found


def _parts(table: Table, run: int, kind: str, most: int) -> list[dict[str, Any]]:
    """The records, and their means where there are many."""
    means = smoothed(table) if kind == "raw" else None
    shown = [(thinned(table, most if kind == "raw" else most // 3), kind)]
    shown += [] if means is None else [(means, "mean")]
    return [
        {
            "x": one.steps.tolist(),
            "series": [
                {"run": run, "task": name, "kind": what, "y": rounded(row)}
                for name, row in zip(one.names, one.values, strict=True)
            ],
        }
        for one, what in shown
    ]
