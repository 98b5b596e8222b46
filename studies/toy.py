"""The toy problem of the GradNorm paper (Chen et al., ICML 2018, section 4.1): equal weights, uncertainty, GradNorm.

    python studies/toy.py [--out runs/toy] [--seeds 0 1 2 3 4] [--jobs 2] [--quick]
    python studies/toy.py --variations [--settings t2]

T regression tasks share what they learn from, B, and differ in their scale and in e_i:

    f_i(x) = s_i tanh((B + e_i) x)      x in R^250, f_i(x) in R^100, B ~ N(0, 10) and e_i ~ N(0, 3.5), constant

Squared loss; four ReLU layers of width 100 shared by all, a linear head a task. Figure of merit: sum_i L_i(t) / L_i(0)
on a test set, averaged over the training and at its end; lower is better, and it starts at T.

What the paper leaves open is an option, and --variations changes one after the other: the distribution of x (normal:
N(0, 1), which makes tanh almost a sign; unit: scaled so that (B + e_i) x has standard deviation 1, where the network
sees x before the scaling); whether N(0, 10) names a variance; rates, batch size, steps; the first network (Glorot's, as
frameworks of its time had it, or torch's). No options: Adam; fresh batches; ten scales, from 1 to 100 in equal ratios.
Runs of one seed have the same problem, first network, batches and test set.

Writes table.md and toy.png, or variations.md, and a file a run in runs/: what is there is not trained again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from tqdm import tqdm

from mtl_vision.balancers import Balancer, Equal, GradNorm, Shared, Uncertainty
from mtl_vision.runtime.files import atomic_path, atomic_write
from mtl_vision.runtime.workers import end_with_parent

SETTINGS = {"t2": (1.0, 100.0), "t10": tuple(100 ** (i / 9) for i in range(10))}  # s_i
BALANCERS: dict[str, type[Balancer]] = {"equal": Equal, "uncertainty": Uncertainty, "gradnorm": GradNorm}
METHODS = {"equal": "0.45", "uncertainty": "C1", "gradnorm": "C0"}  # with their colours
X, WIDTH, Y = 250, 100, 100  # of x, of the layers, of f_i(x)
LEGEND = """Task-normalised test loss, sum_i L_i(t) / L_i(0), lower is better: averaged over the training, and final.
`a ± b`: mean and sample standard deviation over seeds; in brackets, how many seeds are below equal weights."""
TEST, POINTS = 1000, 100  # test samples; evaluations, not counting the first
Curves = dict[str, np.ndarray]  # step (P,), loss (P, T) on the test set, weight (P, T)
Results = dict[str, dict[str, list[Curves]]]  # setting -> method -> a seed each


def choice(default: Any, text: str, *options: str) -> Any:
    """A field of Choices, with what the command line says of it."""
    return field(default=default, metadata={"help": f"{text} (default {default})", "choices": options or None})


@dataclass(frozen=True)
class Choices:
    """What the paper leaves open, and alpha. What begins with a method's name is of that method alone."""

    steps: int = choice(10000, "optimiser steps")
    batch: int = choice(100, "samples a step")
    lr: float = choice(1e-3, "Adam's rate for the network")
    input: str = choice("normal", "x ~ N(0, 1), or scaled for (B + e_i) x of standard deviation 1", "normal", "unit")
    spread: str = choice("variance", "what N(0, 10) and N(0, 3.5) name", "variance", "deviation")
    init: str = choice("glorot", "the first network", "glorot", "torch")
    gradnorm_alpha: float = choice(0.12, "GradNorm's alpha")
    gradnorm_lr: float = choice(0.025, "GradNorm's rate for the weights")
    gradnorm_parametrisation: str = choice("direct", "of GradNorm's weights", "direct", "exponential")
    gradnorm_solver: str = choice("adam", "how GradNorm's weights move", "adam", "closed")
    gradnorm_beta: float = choice(0.0, "forgetting factor of GradNorm's averages over steps")
    gradnorm_decay: float = choice(0.0, "fall of GradNorm's rate")
    uncertainty_lr: float = choice(10.0, "the log-variances' rate, as a multiple of --lr")


@dataclass(frozen=True)
class Run:
    """One training."""

    setting: str
    method: str
    seed: int
    choices: Choices

    def settings(self) -> dict[str, Any]:
        """All that its curves depend on."""
        others = tuple(f"{method}_" for method in METHODS if method != self.method)
        mine = {key: value for key, value in asdict(self.choices).items() if not key.startswith(others)}
        return {"scales": SETTINGS[self.setting], "method": self.method, "seed": self.seed, **mine}

    def path(self, out: Path) -> Path:
        """Its file; other settings have another."""
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()[:8]
        return out / "runs" / f"{self.setting.upper()}-{self.method}-s{self.seed}-{digest}.json"


def make_matrices(T: int, choices: Choices, generator: torch.Generator) -> Tensor:
    """B + e_i (T, Y, X), times the scale of the inputs: the network sees x ~ N(0, 1) in either case."""
    b, e = (10**0.5, 3.5**0.5) if choices.spread == "variance" else (10.0, 3.5)
    scale = (X * (b**2 + e**2)) ** -0.5 if choices.input == "unit" else 1.0
    B = b * torch.randn(Y, X, generator=generator)
    return scale * (B + e * torch.randn(T, Y, X, generator=generator))


def make_targets(x: Tensor, matrices: Tensor, scales: Tensor) -> Tensor:
    """f_i(x) (T, N, Y) of x (N, X)."""
    return scales[:, None, None] * torch.tanh(x @ matrices.transpose(1, 2))


def make_network(T: int, choices: Choices, seed: int) -> tuple[nn.Sequential, nn.Linear, nn.ModuleList]:
    """Trunk, last shared layer, heads. That layer's ReLU stands before each head, since z is its own output."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk, last = nn.Sequential(nn.Linear(X, WIDTH), nn.ReLU()), nn.Linear(WIDTH, WIDTH)
        for _ in range(2):
            trunk.extend([nn.Linear(WIDTH, WIDTH), nn.ReLU()])
        heads = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, Y)) for _ in range(T))
        for layer in (*trunk.modules(), last, *heads.modules()):
            if isinstance(layer, nn.Linear) and choices.init == "glorot":
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
    return trunk, last, heads


def train(run: Run) -> dict[str, list[Any]]:
    """Curves, of an evaluation every hundredth of the steps."""
    c, scales = run.choices, torch.tensor(SETTINGS[run.setting])
    names = [f"task{i}" for i in range(len(scales))]
    generator = torch.Generator().manual_seed(run.seed)
    matrices = make_matrices(len(scales), c, generator)
    x_test = torch.randn(TEST, X, generator=generator)
    y_test = make_targets(x_test, matrices, scales)
    trunk, last, heads = make_network(len(scales), c, run.seed)
    adam = torch.optim.Adam([*trunk.parameters(), *last.parameters(), *heads.parameters()], lr=c.lr, fused=True)
    own = {key.removeprefix(f"{run.method}_"): v for key, v in asdict(c).items() if key.startswith(f"{run.method}_")}
    balancer = BALANCERS[run.method](names, **({"lr": own["lr"] * c.lr} if run.method == "uncertainty" else own))
    curves: dict[str, list[Any]] = {"step": [], "loss": [], "weight": []}
    for step in range(c.steps + 1):
        if step * POINTS % c.steps < POINTS:
            with torch.no_grad():
                curves["loss"].append([loss.item() for loss in losses(last(trunk(x_test)), heads, y_test)])
            curves["step"].append(step)
            curves["weight"].append(balancer.weight.tolist())
        if step < c.steps:
            x = torch.randn(c.batch, X, generator=generator)
            adam.zero_grad()
            shared = Shared.cut(last(trunk(x)), last.weight)
            of_tasks = losses(shared.leaf, heads, make_targets(x, matrices, scales))
            balancer.backward(dict(zip(names, of_tasks, strict=True)), shared)
            balancer.step()
            adam.step()
    return curves


def losses(z: Tensor, heads: nn.ModuleList, targets: Tensor) -> list[Tensor]:
    """L_i: the mean squared error of each head."""
    return [mse_loss(head(z), target) for head, target in zip(heads, targets, strict=True)]


def train_all(runs: Sequence[Run], out: Path, jobs: int) -> None:
    """Train what has no file yet, each run on one core."""
    (out / "runs").mkdir(parents=True, exist_ok=True)
    todo = list({run.path(out): run for run in runs if not run.path(out).exists()}.values())
    todo.sort(key=lambda run: -len(SETTINGS[run.setting]))  # the longest first: the cores end together
    # starts no process before it has work
    with ProcessPoolExecutor(jobs, get_context("spawn"), end_with_parent) as pool:
        done = (pool.map if jobs > 1 else map)(partial(train_and_write, out=out), todo)
        for _ in tqdm(done, desc="runs", total=len(todo)):
            pass


def train_and_write(run: Run, out: Path) -> None:
    """Train, and leave the run's file."""
    torch.set_num_threads(1)
    atomic_write(run.path(out), json.dumps({"settings": run.settings(), **train(run)}).encode())


def collect(runs: Sequence[Run], out: Path) -> Results:
    """What trained runs left."""
    results: Results = {run.setting: {method: [] for method in METHODS} for run in runs}
    for run in runs:
        record = json.loads(run.path(out).read_text(encoding="utf-8"))
        results[run.setting][run.method].append({key: np.array(record[key]) for key in ("step", "loss", "weight")})
    return results


def merit(curves: Curves) -> np.ndarray:
    """sum_i L_i(t) / L_i(0) (P,)."""
    return (curves["loss"] / curves["loss"][0]).sum(axis=1)


def figures_of(results: Results) -> dict[str, list[float]]:
    """A value a seed: SETTING.METHOD, the merit averaged over the training, and SETTING.METHOD_final."""
    curves = {f"{s}.{m}": [merit(run) for run in runs] for s, methods in results.items() for m, runs in methods.items()}
    averaged = {name: [float(curve.mean()) for curve in found] for name, found in curves.items()}
    return averaged | {f"{name}_final": [float(curve[-1]) for curve in found] for name, found in curves.items()}


def make_table(variants: Mapping[str, Results]) -> str:
    """Markdown: a row a setting, figure and variant; a column a method; the best in bold."""
    from studies.tables import markdown, spread  # here: they bring the training engine, which the runs do without

    cells = [["", *METHODS]]
    for variant, results in variants.items():
        figures = figures_of(results)
        for setting, end in ((s, e) for s in results for e in ("", "_final")):
            values = {method: figures[f"{setting}.{method}{end}"] for method in METHODS}
            best = min(fmean(found) for found in values.values())
            line = [f"{setting}, {end[1:] or 'averaged'}{variant and f', {variant}'}"]
            for method, found in values.items():
                wins = sum(a < b for a, b in zip(found, values["equal"], strict=True))
                text = f"**{spread(found, 3)}**" if fmean(found) == best else spread(found, 3)
                line.append(text if method == "equal" else f"{text} ({wins} of {len(found)})")
            cells.append(line)
    return markdown(cells)


def plot(results: Results, path: Path) -> None:
    """A row a setting: test loss over time, a line a method, and GradNorm's weights."""
    figure = Figure(figsize=(11, 3.7 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), 2, squeeze=False)
    for (left, right), (setting, methods) in zip(panels, results.items(), strict=True):
        scales, step = SETTINGS[setting], methods["gradnorm"][0]["step"]
        for method, runs in methods.items():
            band(left, step, np.stack([merit(run) for run in runs]), METHODS[method], method)
        left.set_title(f"{len(scales)} tasks: test loss, $\\Sigma_i\\, L_i(t) / L_i(0)$", loc="left")
        for i, scale in enumerate(scales):
            weights = np.stack([run["weight"][:, i] for run in methods["gradnorm"]])
            band(right, step, weights, matplotlib.colormaps["viridis"](i / len(scales)), f"$s_i$ = {scale:.3g}")
        right.set_title("GradNorm's weights $w_i$", loc="left")
        right.set_yscale("log")
        for axis in (left, right):
            axis.set_xlabel("step")
            axis.grid(alpha=0.25)
        left.legend(frameon=False)
        right.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    with atomic_path(path) as work:
        figure.savefig(work, dpi=110)


def band(axis: Axes, step: np.ndarray, values: np.ndarray, colour: Any, label: str) -> None:
    """The mean of values (seeds, P), and from their lowest to their highest."""
    axis.fill_between(step, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    axis.plot(step, values.mean(axis=0), color=colour, label=label, linewidth=1.6)


def make_variants(c: Choices) -> dict[str, Choices]:
    """The choices as given, and with one of them changed."""
    return {
        "as_given": c,
        "other_input": replace(c, input="unit" if c.input == "normal" else "normal"),
        "other_spread": replace(c, spread="deviation" if c.spread == "variance" else "variance"),
        "other_init": replace(c, init="torch" if c.init == "glorot" else "glorot"),
        "lr_x0.3": replace(c, lr=0.3 * c.lr),
        "lr_x3": replace(c, lr=3 * c.lr),
        "batch_x0.5": replace(c, batch=c.batch // 2),
        "batch_x2": replace(c, batch=c.batch * 2),
        "gradnorm_lr_x0.1": replace(c, gradnorm_lr=0.1 * c.gradnorm_lr),
        "gradnorm_exponential": replace(c, gradnorm_parametrisation="exponential"),
        "gradnorm_closed": replace(c, gradnorm_solver="closed"),
        "gradnorm_closed_beta": replace(c, gradnorm_solver="closed", gradnorm_beta=0.9),
        "gradnorm_beta": replace(c, gradnorm_beta=0.9),
        "gradnorm_decay": replace(c, gradnorm_decay=0.001),
        "uncertainty_lr_x0.1": replace(c, uncertainty_lr=0.1 * c.uncertainty_lr),
    }


def main(argv: list[str] | None = None) -> int:
    """Train what is missing, write what was found; the last line is JSON."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("runs/toy"))
    p.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    p.add_argument("--seeds", type=int, nargs="+", help="default 0 to 4, with --variations 0 and 1")
    p.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time (default: one a core)")
    p.add_argument("--variations", action="store_true", help="change one choice after the other")
    p.add_argument("--quick", action="store_true", help="few steps and seeds, for trying")
    for f in fields(Choices):
        p.add_argument(f"--{f.name.replace('_', '-')}", type=type(f.default), default=f.default, **f.metadata)
    args = p.parse_args(argv)
    c = Choices(**{f.name: getattr(args, f.name) for f in fields(Choices)})
    seeds = args.seeds or list(range(2 if args.variations else 5))
    if args.quick:
        c, seeds = replace(c, steps=20 if args.variations else 300), seeds[: 1 if args.variations else 2]
    variants = make_variants(c) if args.variations else {"": c}
    runs = {v: [Run(s, m, i, c) for i in seeds for s in args.settings for m in METHODS] for v, c in variants.items()}
    train_all([run for group in runs.values() for run in group], args.out, args.jobs)
    found = {v: collect(group, args.out) for v, group in runs.items()}
    text = f"{LEGEND}\n\n{make_table(found)}\n\nSeeds {seeds}, choices `{json.dumps(asdict(c))}`\n"
    print(text)
    atomic_write(args.out / ("variations.md" if args.variations else "table.md"), text.encode())
    if not args.variations:
        plot(found[""], args.out / "toy.png")
    figures = {f"{v}.{k}".strip("."): fmean(x) for v, results in found.items() for k, x in figures_of(results).items()}
    print(json.dumps({k: round(x, 4) if np.isfinite(x) else None for k, x in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
