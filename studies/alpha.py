"""GradNorm's alpha: what each value gains over equal weights, a task and in the mean, over seeds.

    python studies/alpha.py configs/nyuv2_mobile.yaml --data.root NYUV2_288x384 --alphas 0 0.5 1 1.5 2 3 --seeds 0 1
    python studies/alpha.py configs/smoke.yaml --quick

Any option of train.py goes to all runs. What is finished is not done again; with the --out of studies/compare.py the
runs of equal weights are shared. Writes alpha.md and alpha.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from matplotlib.figure import Figure

from mtl_vision.balancers.previous_runs import mean_weights
from mtl_vision.runtime.files import atomic_write
from studies import common
from studies.common import Study, gain, metrics
from studies.schedule import Run
from studies.tables import COLOURS, Column, save_figure, table

Rows = dict[float, dict[str, list[float]]]  # alpha -> gain, gain.TASK, weight.TASK -> a value a seed

TEXT = """\
# alpha of GradNorm on {recipe}

```
{command}
```

{table}

{protocol}

Seeds {seeds}; `a ± b` is mean and sample standard deviation over them. Gain: in percent over the run with equal weights
of the same seed, positive is better, of {metrics}; `mean` over the tasks. w: the task's
weight, its mean over the whole run.
"""


def label_of(study: Study, alpha: float) -> str:
    """The label of an alpha's runs: the method GradNorm:alpha=ALPHA, or GradNorm where that is the recipe's own."""
    own = study.recipe.balancer.name == "GradNorm" and alpha == study.recipe.balancer.init_args["alpha"]
    return common.read_spec("GradNorm" if own else f"GradNorm:alpha={alpha:g}")[0]


def make_runs(study: Study, alphas: Sequence[float], seeds: Sequence[int]) -> list[Run]:
    """Equal weights and every alpha, a seed after the other."""
    return [
        run
        for seed in seeds
        for run in (
            common.balancer_run(study, "equal", seed, "Equal"),
            *(common.balancer_run(study, label_of(study, a), seed, "GradNorm", {"alpha": f"{a:g}"}) for a in alphas),
        )
    ]


def collect(study: Study, alphas: Sequence[float], seeds: Sequence[int]) -> Rows:
    """What each alpha gained, paired by seed, and its weights."""
    equal = [metrics(study.out, f"equal-s{seed}") for seed in seeds]
    names = {alpha: [f"{label_of(study, alpha)}-s{seed}" for seed in seeds] for alpha in alphas}
    results = {alpha: [metrics(study.out, name) for name in names[alpha]] for alpha in alphas}
    found = common.comparable(equal, [values for runs in results.values() for values in runs])
    main = {task: name for task, name in study.main_metrics.items() if name in found}
    rows: Rows = {}
    for alpha, runs in results.items():
        pairs = list(zip(runs, equal, strict=True))
        weights = [mean_weights(study.out / name) for name in names[alpha]]
        rows[alpha] = {"gain": [gain(a, b, list(main.values())) for a, b in pairs]}
        rows[alpha] |= {f"gain.{task}": [gain(a, b, [name]) for a, b in pairs] for task, name in main.items()}
        rows[alpha] |= {f"weight.{task}": [mean[task] for mean in weights] for task in study.tasks}
    return rows


def plot(study: Study, rows: Rows, path: Path) -> None:
    """Gain against alpha, a line a task and one for the mean, with the spread over seeds."""
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axis = figure.subplots()
    alphas = sorted(rows)
    lines = [(f"gain.{task}", f"{task} ({name})", COLOURS[task]) for task, name in study.main_metrics.items()]
    axis.axhline(0, color="0.3", linewidth=1.2, linestyle="--")
    shift = 0.008 * (alphas[-1] - alphas[0])  # side by side, so that the bars can be told apart
    for i, (key, label, colour) in enumerate([*lines, ("gain", "mean of the tasks", "black")]):
        if key not in rows[alphas[0]]:
            continue
        values = [rows[alpha][key] for alpha in alphas]
        axis.errorbar(
            [alpha + (i - len(lines) / 2) * shift for alpha in alphas], [fmean(v) for v in values],
            [stdev(v) if len(v) > 1 else 0.0 for v in values], label=label, color=colour, marker="o", capsize=3,
            linewidth=2.6 if key == "gain" else 1.5, elinewidth=1.2,
        )  # fmt: skip
    axis.set_xticks(alphas)
    axis.set_xlabel("alpha")
    axis.set_ylabel("gain over equal weights, %")
    axis.set_axisbelow(True)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    save_figure(figure, path)


def write_table(study: Study, rows: Rows, seeds: Sequence[int]) -> str:
    """alpha.md. Returns its table."""
    main: Mapping[str, str] = study.main_metrics
    columns = [Column(f"{task} (%)", f"gain.{task}", 2, True) for task in main]
    columns += [Column("mean (%)", "gain", 2, True)]
    columns += [Column(f"w {task}", f"weight.{task}", 2) for task in study.tasks]
    lines = {f"alpha {alpha:g}": values for alpha, values in rows.items()}
    text = TEXT.format(
        recipe=study.config.name, command=study.command, table=table(lines, columns, list(lines)),
        protocol=common.protocol(metrics(study.out, f"equal-s{seeds[0]}")), seeds=", ".join(map(str, seeds)),
        metrics=", ".join(main.values()),
    )  # fmt: skip
    atomic_write(study.out / "alpha.md", text.encode())
    return table(lines, columns, list(lines))


def sweep(args: argparse.Namespace, study: Study) -> dict[str, float]:
    """Train, collect, write. Returns the figures."""
    alphas = sorted(set(args.alphas))[:2] if args.quick else sorted(set(args.alphas))
    seeds = args.seeds[:1] if args.quick else args.seeds
    common.train(study, make_runs(study, alphas, seeds))
    rows = collect(study, alphas, seeds)
    print("\n" + write_table(study, rows, seeds))
    plot(study, rows, study.out / "alpha.png")
    print(f"\nall figures: {study.out / 'alpha.md'} and alpha.png")
    figures = {f"gain.{alpha:g}": fmean(values["gain"]) for alpha, values in rows.items()}
    for alpha, values in rows.items():
        figures |= {f"gain.{alpha:g}.{t}": fmean(values[f"gain.{t}"]) for t in study.tasks if f"gain.{t}" in values}
    return figures


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    p = common.make_parser(__doc__)
    p.add_argument("--alphas", type=float, nargs="+", default=[0, 0.5, 1, 1.5, 2, 3], metavar="ALPHA")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="SEED")
    return common.call(sweep, p, argv)


if __name__ == "__main__":
    sys.exit(main())
