"""What a GPU is needed for, in one command: steps timed, the NYUv2 recipe for one GPU trained, balancers compared.

    python studies/gpu.py NYUV2_288x384_FOLDER [--out runs/gpu] [--only step train] [--pretrained FILE] [--quick]

train: configs/nyuv2_resnet50.yaml with GradNorm and with equal weights, both exported and verified.
step: a step in float32, with TF32, in bfloat16 and float16, channels last or not, compiled or not, each with GradNorm
and with equal weights (`gradnorm_ratio`, at most 1.03); a few minutes for each way, each kept.
loop: the whole loop to the bare step, in bfloat16 with 4, 8 and 12 loading processes (`loop_ratio`, at least 0.95).
benchmark: a step of every balancer and of the peers that are installed, in bfloat16.
All three with ResNet-50 at 288x384, batch 16.
compare, alpha: all methods, and GradNorm's alpha, on that recipe with three seeds; static_search: at 192x256.
Several GPUs are not measured. A call may be ended at any time (`timeout 9m python studies/gpu.py ...`): the same
command then goes on; figures and trainings that are there are not made again. Without a network, ImageNet weights come
from a file, or `--pretrained false` starts from scratch.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mtl_vision.runtime.files import atomic_write
from studies.schedule import Run, run_all

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPE = "configs/nyuv2_resnet50.yaml"
WAYS = ("tf32", "bf16", "fp16", "bf16_channels_first", "bf16_compile", "fp16_compile")  # of benchmarks/precision.py
QUICK = ("bf16", "fp16")
KEYS = ("depth.rmse", "depth.abs_err", "normals.mean", "segmentation.miou", "segmentation.pixel_accuracy")


def call(*arguments: str) -> dict[str, float]:
    """A script of this project, from its root; the figures of its last line. Its failure is ours."""
    print("+ python", *arguments, flush=True)
    with subprocess.Popen([sys.executable, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                last = line
        except KeyboardInterrupt:
            process.terminate()
            raise
    if process.returncode:
        raise SystemExit(process.returncode)
    return json.loads(last) if last.startswith("{") else {}


def kept(args: argparse.Namespace, name: str, *arguments: str) -> dict[str, float]:
    """A script's figures, from the call before where there was one."""
    path = args.out / f"{name}{'_quick' * args.quick}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(call(*arguments)).encode())
    return json.loads(path.read_text(encoding="utf-8"))


def timed(args: argparse.Namespace, script: str) -> list[str]:
    """A benchmark of a step with the recipe's network and batch."""
    backbone, size, batch = ("test_resnet", "48x64", "2") if args.quick else ("resnet50", "288x384", "16")
    how = ["--backbone", backbone, "--size", size, "--batch", batch, *["--quick"] * args.quick]
    return [script, "--device", args.device, *how]


def step(args: argparse.Namespace, options: list[str]) -> dict[str, float]:
    """Ratios of time and memory to float32 with equal weights, and of GradNorm to equal weights in each way."""
    figures: dict[str, float] = {}
    for way in QUICK if args.quick else WAYS:
        figures |= kept(args, f"step_{way}", *timed(args, "benchmarks/precision.py"), "--only", way)
    return {f"step.{key}": value for key, value in figures.items()}


def loop(args: argparse.Namespace, options: list[str]) -> dict[str, float]:
    """Images a second of the whole loop to those of the bare step, by loading processes."""
    workers = ("1",) if args.quick else ("4", "8", "12")
    arguments = [*timed(args, "benchmarks/loop.py"), "--bf16", "--root", str(args.root), "--workers"]
    return {k: v for n in workers for k, v in kept(args, f"loop_{n}", *arguments, n).items()}


def benchmark(args: argparse.Namespace, options: list[str]) -> dict[str, float]:
    """Ratios of time and memory to the plain loop."""
    return kept(args, "benchmark", *timed(args, "benchmarks/balancers.py"), "--bf16")


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


FUNCTIONS = (train, step, loop, benchmark, compare, alpha, static_search)
PARTS: dict[str, Callable[[argparse.Namespace, list[str]], dict[str, float]]] = {f.__name__: f for f in FUNCTIONS}


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
    args.out, args.root = args.out.resolve(), args.root.resolve()
    options = [f"--data.root={args.root}", f"--model.pretrained={args.pretrained}"]
    options += [f"--run.device={args.device}"]
    figures: dict[str, float] = {}
    for name in args.only:
        figures |= PARTS[name](args, options)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left running
    sys.exit(main())
