"""The evaluation's charts, drawn: of all runs over each other where they can be, else one a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from mtl_vision.report import svg
from mtl_vision.report.reading import EVALUATION, Recorded

Found = list[tuple[Recorded, Mapping[str, Any]]]  # charts of one title, with their runs
TOGETHER: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], str]] = {
    "bars": svg.bars,
    "binned": svg.binned,
    "histogram": svg.histogram,
}
# what reading values of a damaged file as what they should be may raise; RuntimeError: StopIteration in a generator
DAMAGE = (LookupError, TypeError, ArithmeticError, AttributeError, StopIteration, RuntimeError, ValueError)


@dataclass(frozen=True)
class Still:
    """A chart as it stands on the page. run: whose it is, where it is one of several. legend: what its colours are."""

    task: str
    title: str
    svg: Markup
    run: str = ""
    legend: Sequence[str] = ()
    words: Sequence[str] = field(default=())
    shares: bool = False
    wide: bool = False


def stills(runs: Sequence[Recorded], tasks: Sequence[str]) -> list[Still]:
    """By task. Raises ValueError for charts that evaluation.json has damaged."""
    shown: list[Still] = []
    for task in tasks:
        found: dict[tuple[str, str], Found] = {}
        for run in runs:
            charts = run.evaluation.get("charts")
            for chart in (charts.get(task) if isinstance(charts, dict) else None) or ():
                if isinstance(chart, dict):
                    found.setdefault((str(chart.get("kind")), str(chart.get("title"))), []).append((run, chart))
        for (kind, title), charts in found.items():
            try:
                shown += (
                    _each(task, title, charts, len(runs)) if kind == "matrix" else _together(task, kind, title, charts)
                )
            except DAMAGE as error:
                raise ValueError(
                    f"{charts[0][0].folder / EVALUATION} is damaged: its chart '{title:.60}' of {task:.60} can not be "
                    "drawn; remove it to do without it"
                ) from error
    return shown


def _each(task: str, title: str, charts: Found, several: int) -> list[Still]:
    return [
        Still(
            task,
            title,
            Markup(svg.matrix(chart)),
            run=run.name if several > 1 else "",
            words=svg.confusions(chart),
            wide=len(chart["names"]) > svg.MANY,
        )
        for run, chart in charts
    ]


def _together(task: str, kind: str, title: str, charts: Found) -> list[Still]:
    """One chart of the runs that have the same names and bins; none of a kind that a later version made."""
    if (draw := TOGETHER.get(kind)) is None:
        return []
    first = charts[0][1]
    same = [(run, chart) for run, chart in charts if all(chart[key] == first[key] for key in ("names", "edges"))]
    names = [run.name for run, _ in same] if len(same) > 1 else list(first["values"])
    drawn = Markup(draw([chart for _, chart in same]))
    legend = names if len(names) > 1 else ()
    return [Still(task, title, drawn, legend=legend, shares=kind == "binned" and bool(first.get("shares")))]
