"""Random static weightings against GradNorm, as in figure 4 of Chen et al. 2018.

    python studies/static_search.py configs/nyuv2_mobile.yaml --data.root NYUV2_288x384 --count 100 --jobs 2
    python studies/static_search.py configs/smoke.yaml --quick

Each weighting is drawn uniformly from (0, 1) a task, scaled to sum to T, and kept for the whole training. How much
better or worse it ends than GradNorm (mean relative change of each task's main metric) is held against its distance to
GradNorm's weights, averaged over time. The weightings are always the same ones: a larger --count adds to them. Any
option of train.py goes to all runs. What is finished is not done again. Writes static_search.md and static_search.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from math import dist
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from mtl_vision.balancers.previous_runs import mean_weights
from mtl_vision.runtime.files import atomic_write
from studies import common
from studies.common import Study, gain, metrics
from studies.schedule import Run
from studies.tables import Column, metric_columns, save_figure, table

Weights = dict[str, float]
Rows = dict[str, dict[str, list[float]]]  # run -> weight.TASK, metrics, distance, change -> [value]

SAID = """\
{beat_gradnorm} of {count} random weightings end better than GradNorm (the best changes by {best_change:+.2f} %, equal
weights by {equal_change:+.2f} %). Spearman's rank correlation between distance and change: {spearman:+.2f}."""

TEXT = """\
# Static weightings against GradNorm on {recipe}

```
{command}
```

{said}

{table}

{protocol}

Seed {seed}, one run each. Change: mean relative change in percent of {metrics}
against the GradNorm run, positive is better. Distance: L2, to the mean over time of GradNorm's weights.
"""


def draw(tasks: Sequence[str], count: int) -> dict[str, Weights]:
    """Label -> weighting that sums to T. The first ones are the same for every count."""
    rows = np.random.default_rng(0).random((count, len(tasks)))
    rows *= len(tasks) / rows.sum(axis=1, keepdims=True)
    return {f"static{i:03d}": dict(zip(tasks, row.round(6).tolist(), strict=True)) for i, row in enumerate(rows)}


def make_runs(study: Study, drawn: Mapping[str, Weights], seed: int) -> list[Run]:
    """GradNorm, equal weights, and the weightings."""
    return [
        *(common.balancer_run(study, name.lower(), seed, name) for name in ("GradNorm", "Equal")),
        *(common.balancer_run(study, label, seed, "Fixed", {"weights": weights}) for label, weights in drawn.items()),
    ]


def collect(study: Study, weights: Mapping[str, Weights], seed: int) -> Rows:
    """What the runs reached. weights: label -> its weighting, GradNorm's first."""
    results = {label: metrics(study.out, f"{label}-s{seed}") for label in weights}
    found = common.comparable([results["gradnorm"]], list(results.values()))
    main = [name for name in study.main_metrics.values() if name in found]
    middle = list(weights["gradnorm"].values())
    rows: Rows = {}
    for label, values in results.items():
        rows[label] = {f"weight.{task}": [value] for task, value in weights[label].items()}
        rows[label] |= {name: [values[name]] for name in main}
        rows[label]["distance"] = [dist(weights[label].values(), middle)]
        rows[label]["change"] = [gain(values, results["gradnorm"], main)]
    return rows


def plot(rows: Rows, path: Path) -> None:
    """Change against distance, a dot a weighting."""
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axis = figure.subplots()
    points = {label: (values["distance"][0], values["change"][0]) for label, values in rows.items()}
    x, y = np.array([point for label, point in points.items() if label.startswith("static")]).T
    axis.axhline(0, color="0.3", linewidth=1.2, linestyle="--")
    axis.plot(x, y, "o", color="C0", alpha=0.7, markersize=6, label="random static weights")
    axis.plot(*points["equal"], "D", color="C1", markersize=9, label="equal weights", linestyle="")
    axis.plot(*points["gradnorm"], "*", color="black", markersize=14, label="GradNorm", linestyle="")
    axis.set_xlabel("distance to GradNorm's mean weights, $\\|w - E_t[w_{GradNorm}(t)]\\|_2$")
    axis.set_ylabel("change of performance against GradNorm, %")
    axis.set_axisbelow(True)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    save_figure(figure, path)


def search(args: argparse.Namespace, study: Study) -> dict[str, float]:
    """Train, collect, write. Returns the figures. Raises ValueError for a count below 2."""
    count, seed = 2 if args.quick else args.count, args.seed
    if count < 2:
        raise ValueError(f"--count is {count}: expected at least 2")
    drawn = draw(study.tasks, count)
    common.train(study, make_runs(study, drawn, seed))
    weights = {
        "gradnorm": mean_weights(study.out / f"gradnorm-s{seed}"),
        "equal": dict.fromkeys(study.tasks, 1.0),
        **drawn,
    }
    rows = collect(study, weights, seed)
    changes = [rows[label]["change"][0] for label in drawn]
    spearman: Any = spearmanr([rows[label]["distance"][0] for label in drawn], changes)
    figures = {
        "beat_gradnorm": sum(change > 0 for change in changes), "count": count, "spearman": float(spearman.statistic),
        "best_change": max(changes), "equal_change": rows["equal"]["change"][0],
        "equal_distance": rows["equal"]["distance"][0],
    }  # fmt: skip
    write_table(study, rows, seed, SAID.format(**figures))
    plot(rows, study.out / "static_search.png")
    print(f"\n{SAID.format(**figures)}\nall figures: {study.out / 'static_search.md'} and static_search.png")
    return figures


def write_table(study: Study, rows: Rows, seed: int, said: str) -> None:
    """static_search.md, the best weighting first."""
    main = [name for name in study.main_metrics.values() if name in rows["gradnorm"]]
    columns = [Column(f"w {task}", f"weight.{task}", 3) for task in study.tasks]
    columns += [Column("distance", "distance", 3), *metric_columns(main), Column("change (%)", "change", 2, True)]
    ordered = dict(sorted(rows.items(), key=lambda item: -item[1]["change"][0]))
    text = TEXT.format(
        recipe=study.config.name, command=study.command, said=said, seed=seed, metrics=", ".join(main),
        table=table(ordered, columns, list(rows)), protocol=common.protocol(metrics(study.out, f"gradnorm-s{seed}")),
    )  # fmt: skip
    atomic_write(study.out / "static_search.md", text.encode())


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    p = common.make_parser(__doc__)
    p.add_argument("--count", type=int, default=100, help="random weightings (default 100)")
    p.add_argument("--seed", type=int, default=0, help="of the trainings; the weightings are always the same")
    return common.call(search, p, argv)


if __name__ == "__main__":
    sys.exit(main())
