"""What a GPU is needed for, in one command: the NYUv2 recipe for one GPU, trained, exported, and a step timed.

    python studies/gpu.py NYUV2_288x384_FOLDER [--out runs] [--epochs 100] [--pretrained FILE|true|false] [--quick]

Trains configs/nyuv2_resnet50.yaml with GradNorm and with equal weights, exports and verifies both, and times a step in
bfloat16. Without a network, ImageNet weights come from a file, or `--pretrained false` starts from scratch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
KEYS = ("depth.rmse", "depth.abs_err", "normals.mean", "segmentation.miou", "segmentation.pixel_accuracy")


def call(*arguments: str) -> None:
    """A command of this project, from its root; its failure is ours."""
    print("+ python", *arguments, flush=True)
    subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, check=True)


def step_figures(device: str, quick: bool) -> dict[str, float]:
    """The JSON line of benchmarks/gradnorm_step.py."""
    arguments = ["benchmarks/gradnorm_step.py", "--device", device, "--backbone", "resnet50", "--size", "288x384"]
    arguments += ["--batch", "16", "--bf16", *(["--quick"] if quick else [])]
    done = subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    print(done.stdout, flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Run it all; the last line is JSON."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("root", type=Path, help="the NYUv2 labelled set at 288x384 (configs/data/nyuv2_288x384.yaml)")
    p.add_argument("--out", type=Path, default=Path("runs"), help="where run directories are made")
    p.add_argument("--epochs", type=int, default=100)
    p.add_argument("--pretrained", default="true", help="true, false or a weights file")
    p.add_argument("--device", default="cuda")
    p.add_argument("--quick", action="store_true", help="one epoch, few rounds")
    args = p.parse_args()
    epochs = 1 if args.quick else args.epochs
    root, out = args.root.resolve(), args.out.resolve()
    figures = step_figures(args.device, args.quick)
    for balancer in ("gradnorm", "equal"):
        run = out / f"nyuv2_resnet50_{balancer}"
        call(
            "train.py", "--config", "configs/nyuv2_resnet50.yaml", f"--data.root={root}", f"--train.epochs={epochs}",
            f"--model.pretrained={args.pretrained}", f"--balancer.name={balancer}", f"--run.device={args.device}",
            f"--run.dir={out}", f"--run.name={run.name}",
        )  # fmt: skip
        call("-m", "export", str(run))
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        figures |= {f"{balancer}.{key}": metrics[key] for key in KEYS}
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
