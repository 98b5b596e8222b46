"""Losses of runs over the epochs, in training and on the split that is measured: which task is overfitted, and when.

    python train.py --config configs/nyuv2_paper.yaml --data.root ROOT --train.epochs 200 --train.eval_every 5 ...
    python studies/curves.py runs/EQUAL runs/GRADNORM --out curves.png

A panel a task. Solid: after so many epochs, on the split that is measured; dotted: in training, the mean over an epoch.
The last line is JSON: RUN.TASK.best (the smallest measured loss), .epoch (where), .last, and .train (the last epoch's).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mtl_vision.balancers.previous_runs import read_history
from mtl_vision.engine.folder import METRICS
from studies.tables import save_figure

Points = dict[int, float]  # epochs done -> loss


@dataclass(frozen=True)
class Curves:
    """A run's losses by task. trained: means over epochs; measured: after epochs."""

    name: str
    trained: Mapping[str, Points]
    measured: Mapping[str, Points]


def read(folder: Path) -> Curves:
    """Raises ValueError where nothing was measured in between."""
    trained: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    measured: dict[str, Points] = defaultdict(dict)
    epoch = 0
    for record in read_history(folder):
        if "loss" in record:
            epoch = record["epoch"] + 1
            for task, loss in record["loss"].items():
                trained[task][epoch].append(loss)
        for task, loss in losses(record.get("metrics", {})).items():
            measured[task][epoch] = loss
    if not measured:
        raise ValueError(f"{folder} was not measured between its epochs: train it with --train.eval_every N")
    if (folder / METRICS).exists():  # the end's
        for task, loss in losses(json.loads((folder / METRICS).read_text(encoding="utf-8"))).items():
            measured[task][epoch] = loss
    means = {task: {at: fmean(values) for at, values in epochs.items()} for task, epochs in trained.items()}
    return Curves(folder.resolve().name, means, measured)


def losses(metrics: Mapping[str, float]) -> dict[str, float]:
    """By task."""
    return {key.removesuffix(".loss"): value for key, value in metrics.items() if key.endswith(".loss")}


def plot(runs: Sequence[Curves], path: Path) -> None:
    """A panel a task, a colour a run."""
    tasks = list(runs[0].measured)
    figure = Figure(figsize=(4.6 * len(tasks), 4.2), layout="constrained")
    for axis, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for k, run in enumerate(runs):
            axis.plot(*zip(*run.measured[task].items(), strict=True), color=f"C{k}", label=f"{run.name}, measured")
            trained = run.trained[task].items()
            axis.plot(*zip(*trained, strict=True), ":", color=f"C{k}", label=f"{run.name}, in training")
        axis.set_title(task, loc="left")
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("epochs")
        axis.grid(alpha=0.3)
    axis = figure.axes[0]
    axis.set_ylabel("loss")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=len(runs), frameon=False)
    save_figure(figure, path)


def summary(run: Curves) -> dict[str, float]:
    """The smallest measured loss of each task, where it was, and what came of it."""
    found: dict[str, float] = {}
    for task, points in run.measured.items():
        best = min(points, key=points.__getitem__)
        trained = run.trained[task]
        values = {"best": points[best], "epoch": best, "last": points[max(points)], "train": trained[max(trained)]}
        found |= {f"{run.name}.{task}.{key}": value for key, value in values.items()}
    return found


def main(argv: list[str] | None = None) -> int:
    """Draw, and print the figures; the last line is JSON."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("runs", type=Path, nargs="+", help="run directories, with the same tasks")
    p.add_argument("--out", type=Path, default=Path("curves.png"), help="the figure")
    args = p.parse_args(argv)
    try:
        runs = [read(folder) for folder in args.runs]
        for run in runs[1:]:
            if run.measured.keys() != runs[0].measured.keys():
                mine, first = (", ".join(one.measured) for one in (run, runs[0]))
                raise ValueError(f"{run.name} has losses of {mine}, {runs[0].name} of {first}: no comparison")
        plot(runs, args.out)
    except (ValueError, OSError) as error:
        print(f"curves.py: {error}", file=sys.stderr)
        return 1
    figures = {key: value for run in runs for key, value in summary(run).items()}
    for run in runs:
        for task in run.measured:
            best, at, last, train = (figures[f"{run.name}.{task}.{key}"] for key in ("best", "epoch", "last", "train"))
            print(f"{run.name} {task}: best {best:.4f} after {at:.0f} epochs, last {last:.4f}, in training {train:.4f}")
    print(json.dumps({key: round(value, 5) for key, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
