"""What a GPU is needed for, in one command: steps timed, the NYUv2 recipe for one GPU trained, balancers compared.

    python studies/gpu.py NYUV2_288x384_FOLDER [--out runs/gpu] [--only benchmark train] [--pretrained FILE] [--quick]

benchmark: a step of every balancer and of the peers that are installed, ResNet-50 at 288x384, batch 16, bfloat16.
train: configs/nyuv2_resnet50.yaml with GradNorm and with equal weights, both exported and verified.
compare, alpha: all methods, and GradNorm's alpha, on that recipe with three seeds; static_search: at 192x256.
Trainings that are finished are not done again, and an interrupted one goes on. Without a network, ImageNet weights come
from a file, or `--pretrained false` starts from scratch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from studies.schedule import Run, run_all

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPE = "configs/nyuv2_resnet50.yaml"
KEYS = ("depth.rmse", "depth.abs_err", "normals.mean", "segmentation.miou", "segmentation.pixel_accuracy")


def call(*arguments: str) -> dict[str, float]:
    """A script of this project, from its root; the figures of its last line. Its failure is ours."""
    print("+ python", *arguments, flush=True)
    with subprocess.Popen([sys.executable, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line
    if process.returncode:
        raise SystemExit(process.returncode)
    return json.loads(last) if last.startswith("{") else {}


def benchmark(args: argparse.Namespace, options: list[str]) -> dict[str, float]:
    """Ratios of time and memory to the plain loop."""
    more = ["--backbone", "resnet50", "--size", "288x384", "--batch", "16", "--bf16", *(["--quick"] * args.quick)]
    return call("benchmarks/balancers.py", "--device", args.device, *more)


def train(args: argparse.Namespace, options: list[str]) -> dict[str, float]:
    """Metrics of GradNorm and of equal weights."""
    figures: dict[str, float] = {}
    epochs = [f"--train.epochs={1 if args.quick else args.epochs}"]
    runs = [Run(f"nyuv2_resnet50_{name.lower()}", (f"--balancer={name}",)) for name in ("GradNorm", "Equal")]
    run_all(runs, REPOSITORY / RECIPE, args.out, [*options, *epochs])
    for run in runs:
        folder = args.out / run.name
        call("-m", "export", str(folder))
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        figures |= {f"{run.name.removeprefix('nyuv2_resnet50_')}.{key}": metrics[key] for key in KEYS}
    return figures


def study(name: str, *own: str) -> dict[str, float]:
    """A study's figures, its name before each key."""
    return {f"{name}.{key}": value for key, value in call(f"studies/{name}.py", RECIPE, *own).items()}


def compare(args: argparse.Namespace, options: list[str]) -> dict[str, float]:
    """All methods, three seeds."""
    return study("compare", *options, f"--out={args.out / 'studies'}", *how(args), "--seeds", "0", "1", "2")


def alpha(args: argparse.Namespace, options: list[str]) -> dict[str, float]:
    """GradNorm's alpha, three seeds."""
    return study("alpha", *options, f"--out={args.out / 'studies'}", *how(args), "--seeds", "0", "1", "2")


def static_search(args: argparse.Namespace, options: list[str]) -> dict[str, float]:
    """Random static weightings at 192x256."""
    more = ["--data.size=[192,256]", f"--out={args.out / 'static_search'}", "--count", str(args.count)]
    return study("static_search", *options, *more, *how(args))


def how(args: argparse.Namespace) -> list[str]:
    """Options that all studies share."""
    return ["--jobs", str(args.jobs), "--quick" if args.quick else f"--train.epochs={args.study_epochs}"]


PARTS = {"benchmark": benchmark, "train": train, "compare": compare, "alpha": alpha, "static_search": static_search}


def main() -> int:
    """Run the parts; the last line is JSON."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "root",
        type=Path,
        help="the NYUv2 labelled set in any known layout; at 288x384 it loads fastest",
    )
    p.add_argument("--out", type=Path, default=Path("runs/gpu"), help="where run directories are made")
    p.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="some of the parts")
    p.add_argument("--epochs", type=int, default=100, help="of `train`")
    p.add_argument("--study-epochs", type=int, default=20, help="of the studies' runs")
    p.add_argument("--count", type=int, default=100, help="static weightings")
    p.add_argument("--jobs", type=int, default=2, help="trainings at a time on the GPU")
    p.add_argument("--pretrained", default="true", help="true, false or a weights file")
    p.add_argument("--device", default="cuda")
    p.add_argument("--quick", action="store_true", help="one epoch of few runs, few rounds")
    args = p.parse_args()
    args.out = args.out.resolve()
    options = [f"--data.root={args.root.resolve()}", f"--model.pretrained={args.pretrained}"]
    options += [f"--run.device={args.device}"]
    figures: dict[str, float] = {}
    for name in args.only:
        figures |= PARTS[name](args, options)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
