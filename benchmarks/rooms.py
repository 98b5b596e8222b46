"""Rooms that are rendered as training uses them (--data.synthetic_count 0), against the default's packed ones.

    python benchmarks/rooms.py [--quick] [--size 120x160 --workers 0 1 2 --batch 8 --epochs 2 --rounds 3]

room_ms.HxW: milliseconds of a core to render a room, the median of many. step_ratio.workersN: seconds of a step of
train.py with new rooms to those with packed ones, each loaded by N processes; whole runs take turns, and a step's time
is the mean over the second epoch of its run. core_share: cores that must render to keep up with the packed run's steps.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2

from benchmarks.common import finish, machine, ratio
from mtl_vision.synthetic import render_room

REPO = Path(__file__).resolve().parents[1]
SIZES = ((120, 160), (144, 192), (240, 320))


def room_ms(size: tuple[int, int], count: int) -> float:
    """The processor's time for a room of this size (H, W), after a warm-up."""
    times = []
    for seed in range(count + 5):
        start = time.process_time()
        render_room(seed, size)
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times[5:])


def step_seconds(work: Path, rooms: int, workers: int, args: argparse.Namespace) -> float:
    """Of the second epoch of a run."""
    name = f"{rooms}-{workers}-{time.monotonic_ns()}"
    words = [
        f"--data.size=[{args.size.replace('x', ', ')}]", f"--data.synthetic_count={rooms}", f"--run.name={name}",
        f"--data.workers={workers}", f"--data.batch_size={args.batch}", f"--train.epochs={args.epochs}",
        "--run.tensorboard=false", "--run.device=cpu",
    ]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, str(REPO / "train.py"), *words], env=env, cwd=work, capture_output=True)
    if done.returncode:
        sys.exit(done.stderr.decode())
    records = [json.loads(line) for line in (work / "runs" / name / "history.jsonl").read_text().splitlines()]
    return statistics.mean(record["seconds"] for record in records if record["epoch"] == args.epochs - 1)


def main() -> None:
    """Print the figures and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few rooms, and one run of one epoch each")
    parser.add_argument("--size", default="120x160", help="height x width of the runs")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="loading processes")
    parser.add_argument("--batch", type=int, default=8, help="samples a step")
    parser.add_argument("--epochs", type=int, default=2, help="of a run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    args = parser.parse_args()
    if args.quick:
        args.workers, args.epochs, args.rounds = args.workers[:1], 1, 1
    cv2.setNumThreads(0)
    figures = {f"room_ms.{H}x{W}": room_ms((H, W), 3 if args.quick else 60) for H, W in SIZES}
    own = room_ms((int(args.size.split("x")[0]), int(args.size.split("x")[1])), 3 if args.quick else 60)
    with tempfile.TemporaryDirectory() as work:
        for workers in args.workers:
            times: dict[int, list[float]] = {1000: [], 0: []}
            for _ in range(args.rounds):
                for rooms in times:
                    times[rooms].append(step_seconds(Path(work), rooms, workers, args))
            packed, fresh = (1000 * statistics.median(times[rooms]) for rooms in (1000, 0))
            figures[f"step_ratio.workers{workers}"] = ratio(times[0], times[1000])
            figures[f"core_share.workers{workers}"] = own * args.batch / packed
            print(f"workers {workers}: {packed:.0f} ms a step with packed rooms, {fresh:.0f} ms with new ones")
    for (H, W), ms in zip(SIZES, figures.values(), strict=False):
        print(f"a room of {H}x{W}: {ms:.1f} ms of a core")
    print(machine())
    finish(figures)


if __name__ == "__main__":
    main()
