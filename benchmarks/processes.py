"""Training by two processes of one thread each, against one process of one thread with the same global batch.

    python benchmarks/processes.py [--quick] [--size 96x128 --batch 8 --rounds 5 --balancer GradNorm]

Whole runs of train.py on synthetic rooms take turns; a step's time is the median over the second epoch of its run.
two_process_ratio: images a second of two processes to those of one, 2 at best. loss_error, weight_error, rmse_error:
the largest relative difference of two processes' losses and tasks' weights in the history, and of depth.rmse, to one's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import finish, machine, ratio

REPO = Path(__file__).resolve().parents[1]
EPOCHS = 2


def train(folder: Path, processes: int, args: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A run's history and metrics."""
    name = f"{processes}-{len(list(folder.glob('*')))}"
    H, W = args.size.split("x")
    words = [
        f"--data.size=[{H}, {W}]", f"--data.synthetic_count={args.rooms}", "--data.workers=0", "--run.device=cpu",
        f"--data.batch_size={args.batch // processes}", f"--train.epochs={EPOCHS}", f"--balancer={args.balancer}",
        "--run.tensorboard=false", f"--run.dir={folder}", f"--run.name={name}",
    ]  # fmt: skip
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    command = [sys.executable, *launch, str(REPO / "train.py"), *words]
    done = subprocess.run(command, env=env, cwd=folder.parent, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    lines = (folder / name / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], json.loads((folder / name / "metrics.json").read_text())


def step_time(history: list[dict[str, Any]]) -> float:
    """Seconds, without the first epoch, which warms up."""
    return statistics.median(record["seconds"] for record in history if record["epoch"] == EPOCHS - 1)


def error(found: list[Mapping[str, float]], expected: list[Mapping[str, float]]) -> float:
    """The largest relative difference."""
    return max(abs(a[key] / b[key] - 1) for a, b in zip(found, expected, strict=True) for key in b)


def main() -> None:
    """Print the figures and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short run each")
    parser.add_argument("--size", default="96x128", help="height x width")
    parser.add_argument("--batch", type=int, default=8, help="samples a step, of all processes")
    parser.add_argument("--rooms", type=int, default=160, help="synthetic rooms, of which eight tenths are trained on")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each")
    parser.add_argument("--balancer", default="GradNorm")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.rooms = 1, min(args.rooms, 40)
    times: dict[int, list[float]] = {1: [], 2: []}
    runs: dict[int, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "runs"
        folder.mkdir()
        for _ in range(args.rounds):
            for processes in times:
                runs[processes] = train(folder, processes, args)
                times[processes].append(step_time(runs[processes][0]))
    for processes, seconds in times.items():
        print(f"{processes} process(es): {args.batch / statistics.median(seconds):.1f} images/s")
    (one, measured), (two, measured_two) = runs[1], runs[2]
    print(machine())
    finish(
        {
            "two_process_ratio": ratio(times[1], times[2]),
            "first_loss_error": error([two[0]["loss"]], [one[0]["loss"]]),
            "loss_error": error([r["loss"] for r in two], [r["loss"] for r in one]),
            "weight_error": error([r["weight"] for r in two], [r["weight"] for r in one]),
            "rmse_error": error([{"": measured_two["depth.rmse"]}], [{"": measured["depth.rmse"]}]),
        }
    )


if __name__ == "__main__":
    main()
