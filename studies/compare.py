"""Balancers on one recipe, beside single-task runs: metrics, delta_m, ranks and time, over seeds.

    python studies/compare.py configs/nyuv2_mobile.yaml --data.root NYUV2_288x384 --seeds 0 1 2 --jobs 2
    python studies/compare.py configs/smoke.yaml --quick
    python studies/compare.py CONFIG --methods Equal GradNorm GradNorm:alpha=0.5,lr=0.01 --out runs/alphas

A method is a balancer, with settings after a colon. Two take more runs, which are made first: gradnorm_static (weights
that do not change, the time average of the GradNorm run of the same seed) and converged_gradients (from the single-task
runs of the same seed). `equal` is always among them. Any option of train.py goes to all runs. What is finished is not
done again: an interrupted comparison, or one with more methods or seeds, goes on where it stands. Writes compare.md and
compare.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import rankdata

from mtl_vision.runtime.files import atomic_write
from studies import common
from studies.common import FIGURES, Study, gain, metrics, read_spec
from studies.schedule import Run
from studies.tables import COLOURS, Column, metric_columns, save_figure, table

METHODS = (
    "Equal", "Uncertainty", "DWA", "RLW", "GeometricMean", "IMTLL", "FAMO", "DTP", "DBMTL", "GradNorm",
    "gradnorm_static", "ConvergedGradients", "UPGrad", "PCGrad", "CAGrad", "MGDA", "NashMTL", "AlignedMTL", "IMTLG",
)  # fmt: skip
QUICK = ("Equal", "GradNorm")
SINGLE = "single task"
STATIC = "gradnorm_static"
WIDE = 5.0  # times the others' span, beyond which a method that is far behind stands at the edge
Rows = dict[str, dict[str, list[float]]]  # label -> metric -> a value a seed

NOTES = """\
{protocol}

Seeds {seeds}; `a ± b` is mean and sample standard deviation over them. delta_m: mean relative gain in percent over the
mean of the single-task runs, positive is better; `main` over {main}, `nine` over the
literature's metrics; its spread on the single-task line is what a seed alone does. Rank: mean over those metrics of a
method's rank among the methods. Time is the median step's, while {jobs} trained at a time. Bold: best of the methods.
"""


def from_runs(name: str, tasks: Sequence[str]) -> list[str]:
    """Labels of the runs that a method is made from."""
    singles = [f"single_{task}" for task in tasks]
    return {STATIC: ["gradnorm"], "ConvergedGradients": singles}.get(name, [])


def complete(methods: Sequence[str]) -> list[str]:
    """The methods, each once, with equal weights and what others are made from. Raises ValueError for a bad spec."""
    more = ["GradNorm"] if any(read_spec(spec)[1] == STATIC for spec in methods) else []
    return list({read_spec(spec)[0]: spec for spec in ("Equal", *more, *methods)}.values())


def single_run(study: Study, task: str, seed: int) -> Run:
    """One task alone; GradNorm gives it the weight 1 and records its gradient norm."""
    run = common.balancer_run(study, f"single_{task}", seed, "GradNorm")
    return Run(run.name, (*run.arguments, f"--tasks.names=[{task}]"))


def method_run(study: Study, spec: str, seed: int) -> Run:
    """The run of a method with a seed, after the runs that it is made from."""
    label, name, settings = read_spec(spec)
    needs = [f"{source}-s{seed}" for source in from_runs(name, study.tasks)]
    runs = [str(study.out / need) for need in needs]
    read = {"weights": runs[0]} if name == STATIC else {"norms": runs} if runs else {}
    return common.balancer_run(study, label, seed, "Fixed" if name == STATIC else name, settings | read, needs)


def make_runs(study: Study, methods: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """All runs, a seed after the other."""
    return [
        run
        for seed in seeds
        for run in (
            *(single_run(study, name, seed) for name in study.tasks),
            *(method_run(study, spec, seed) for spec in methods),
        )
    ]


def collect(study: Study, labels: Sequence[str], seeds: Sequence[int]) -> Rows:
    """What the runs reached: metrics, delta_m.main, delta_m.nine, gain.METRIC over equal weights, ms, time_ratio; and
    rank, one value. A metric that a run lacks, or that is 0 in what is compared with, is left out.
    """
    names = {label: [f"{label}-s{seed}" for seed in seeds] for label in labels}
    results = {label: [metrics(study.out, name) for name in names[label]] for label in labels}
    alone = [{name: metrics(study.out, f"single_{name}-s{seed}") for name in study.tasks} for seed in seeds]
    results = {SINGLE: [own_metrics(runs) for runs in alone]} | results
    every = [values for runs in results.values() for values in runs]
    found = common.comparable(results[SINGLE] + results["equal"], every)
    reference = {key: fmean(values[key] for values in results[SINGLE]) for key in found}
    sets = {
        "delta_m.main": [key for key in study.main_metrics.values() if key in found],
        "delta_m.nine": [key for key in found if FIGURES[key].nine],
    }
    seconds = {label: [common.step_seconds(study.out, name) for name in names[label]] for label in labels}
    rows: Rows = {}
    for label, runs in results.items():
        rows[label] = {key: [values[key] for values in runs] for key in found}
        rows[label] |= {name: [gain(values, reference, keys) for values in runs] for name, keys in sets.items()}
        pairs = list(zip(runs, results["equal"], strict=True))
        rows[label] |= {f"gain.{key}": [gain(a, b, [key]) for a, b in pairs] for key in sets["delta_m.main"]}
        if label in seconds:
            rows[label]["ms"] = [1000 * s for s in seconds[label]]
            rows[label]["time_ratio"] = [s / t for s, t in zip(seconds[label], seconds["equal"], strict=True)]
    for label, rank in mean_ranks({label: rows[label] for label in labels}, sets["delta_m.nine"]).items():
        rows[label]["rank"] = [rank]
    return rows


def own_metrics(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Single-task runs as one: of each, its own task's metrics."""
    return {key: value for task, values in runs.items() for key, value in values.items() if key.startswith(f"{task}.")}


def mean_ranks(rows: Rows, names: Collection[str]) -> dict[str, float]:
    """Label -> mean over the metrics of its rank among the labels by mean value; 1 is best, equals share."""
    total = dict.fromkeys(rows, 0.0)
    for name in names:
        means = [fmean(values[name]) for values in rows.values()]
        ranks = rankdata([-mean if FIGURES[name].higher_is_better else mean for mean in means])
        for label, rank in zip(rows, ranks, strict=True):
            total[label] += float(rank) / len(names)
    return total


def write_tables(study: Study, rows: Rows, seeds: Sequence[int], said: str) -> str:
    """compare.md: the main figures, then every metric. Returns the first table."""
    main = [name for name in study.main_metrics.values() if name in rows["equal"]]
    columns = [
        *metric_columns(main),
        Column("delta_m main (%)", "delta_m.main", 2, True), Column("delta_m nine (%)", "delta_m.nine", 2, True),
        Column("rank", "rank", 2, False), Column("ms a step", "ms", 0), Column("to equal", "time_ratio", 2, False),
    ]  # fmt: skip
    rivals = [label for label in rows if label != SINGLE]
    first = table(rows, columns, rivals)
    every = table(rows, metric_columns(rows["equal"]), rivals)
    notes = NOTES.format(protocol=said, seeds=", ".join(map(str, seeds)), main=", ".join(main), jobs=study.jobs)
    text = f"# Balancers compared on {study.config.name}\n\n```\n{study.command}\n```\n\n{first}\n\n{every}\n\n{notes}"
    atomic_write(study.out / "compare.md", text.encode())
    return first


def plot(study: Study, rows: Rows, path: Path) -> None:
    """A line a method, best above: delta_m against single-task runs, and each task's gain over equal weights."""
    order = sorted(rows, key=lambda label: fmean(rows[label]["delta_m.main"]))
    gains = {task: f"gain.{name}" for task, name in study.main_metrics.items() if f"gain.{name}" in rows["equal"]}
    panels = [("delta_m.main", "delta_m, % over single task", "black")]
    panels += [(key, f"{key.removeprefix('gain.')}, % over equal", COLOURS[task]) for task, key in gains.items()]
    figure = Figure(figsize=(3.3 * len(panels) + 1, 0.3 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (key, title, colour) in zip(axes, panels, strict=True):
        draw(axis, [rows[label][key] for label in order], ["0.6" if name == SINGLE else colour for name in order])
        axis.set_title(title, fontsize=10)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(order)), order)
    axes[0].set_ylim(-0.7, len(order) - 0.3)
    for text in axes[0].get_yticklabels():
        text.set_fontweight("bold" if text.get_text().startswith("gradnorm") else "normal")
    figure.supxlabel("better to the right; small: a seed, large: the mean", fontsize=9)
    save_figure(figure, path)


def draw(axis: Axes, lines: Sequence[Sequence[float]], colours: Sequence[str]) -> None:
    """Dots on a line a method. One far below the others stands at the edge with its figure, so that they stay apart."""
    means = np.array([fmean(values) for values in lines])
    lower, upper = np.percentile(means, (25, 75))
    edge = lower - 3 * (upper - lower)
    if np.ptp(means) <= WIDE * np.ptp(means[means >= edge]):  # there is room for all
        edge = -np.inf
    for y, (values, mean, colour) in enumerate(zip(lines, means, colours, strict=True)):
        if mean < edge:
            axis.plot([edge], [y], "<", color=colour, markersize=7)
            axis.annotate(f"{mean:.0f}", (edge, y), (8, 0), textcoords="offset points", va="center", fontsize=9)
            continue
        axis.plot(
            [max(value, edge) for value in values], [y] * len(values), "o", color=colour, alpha=0.45, ms=3.5, mew=0
        )
        axis.plot([mean], [y], "o", color=colour, markersize=7)
    axis.axvline(0, color="0.4", linewidth=1)
    axis.set_axisbelow(True)
    axis.grid(alpha=0.3)


def compare(args: argparse.Namespace, study: Study) -> dict[str, float]:
    """Train, collect, write. Returns the figures."""
    methods = complete(QUICK if args.quick else args.methods)
    seeds = args.seeds[:1] if args.quick else args.seeds
    runs = make_runs(study, methods, seeds)
    common.train(study, runs)
    rows = collect(study, [read_spec(spec)[0] for spec in methods], seeds)
    rivals = sorted((label for label in rows if label != SINGLE), key=lambda label: -fmean(rows[label]["delta_m.main"]))
    rows = {label: rows[label] for label in (SINGLE, *rivals)}
    print("\n" + write_tables(study, rows, seeds, common.protocol(metrics(study.out, f"equal-s{seeds[0]}"))))
    plot(study, rows, study.out / "compare.png")
    print(f"\nall figures: {study.out / 'compare.md'} and compare.png")
    figures: dict[str, float] = {}
    for label in rivals:
        means = {key: fmean(values) for key, values in rows[label].items()}
        figures |= {f"{key}.{label}": means[key] for key in ("delta_m.main", "delta_m.nine", "rank", "time_ratio")}
        figures |= {f"{label}.{name}": means[name] for name in study.main_metrics.values() if name in means}
    return figures


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    p = common.make_parser(__doc__)
    p.add_argument("--methods", nargs="+", default=METHODS, metavar="METHOD", help=f"default: {' '.join(METHODS)}")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="SEED")
    return common.call(compare, p, argv)


if __name__ == "__main__":
    sys.exit(main())
