"""Rooms that are rendered as training uses them (--data.synthetic_count 0), against the default's packed ones.

    python benchmarks/rooms.py [--quick] [--size 120x160 --workers 1 2 --batch 8 --steps 40 --rounds 7 --rooms 1000]

room_ms.HxW: milliseconds of a core to render a room, the median of many. step_ratio.workersN: seconds of a training
step with new rooms to those with packed ones, loaded by N processes; stretches of steps take turns.
core_share.workersN: cores that must render to keep up with the packed rooms' steps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

import cv2

from benchmarks.common import finish, machine, ratio
from mtl_vision.config import Config, DataConfig, RunConfig
from mtl_vision.engine.run import Run
from mtl_vision.runtime.kinds import Size
from mtl_vision.synthetic import render_room

SIZES = ((120, 160), (144, 192), (240, 320))


def room_ms(size: Size, count: int) -> float:
    """The processor's time for a room of this size (H, W), after a warm-up."""
    times = []
    for seed in range(count + 5):
        start = time.process_time()
        render_room(seed, size)
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times[5:])


def step_ms(run: Run, epoch: int, steps: int) -> float:
    """The mean of some steps at an epoch's beginning, after those whose batches were waiting."""
    batches = run.loader.epoch(epoch)
    for _ in range(3 * run.loader.loader.num_workers + 1):
        run.trainer.step([next(batches)])
    start = time.perf_counter()
    for _ in range(steps):
        run.trainer.step([next(batches)])
    return 1000 * (time.perf_counter() - start) / steps


def compare(rooms: int, workers: int, size: Size, args: argparse.Namespace) -> tuple[list[float], list[float]]:
    """A step's milliseconds with new rooms, and with packed ones, in each round."""

    def start(count: int) -> Run:
        data = DataConfig(size=size, synthetic_count=count, workers=workers, batch_size=args.batch)
        return Run(Config(RunConfig(device="cpu"), data))

    runs = {count: start(count) for count in (0, rooms)}
    times: dict[int, list[float]] = {count: [] for count in runs}
    for epoch in range(args.rounds + 1):
        for count, run in runs.items():
            times[count].append(step_ms(run, epoch, args.steps))
    return times[0][1:], times[rooms][1:]  # the first round warms up


def main() -> None:
    """Print the figures and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rooms and steps")
    parser.add_argument("--size", default="120x160", help="height x width of the training")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="loading processes")
    parser.add_argument("--batch", type=int, default=8, help="samples a step")
    parser.add_argument("--steps", type=int, default=40, help="that are timed at once")
    parser.add_argument("--rounds", type=int, default=7, help="stretches of steps of each")
    parser.add_argument("--rooms", type=int, default=1000, help="of the packed set")
    args = parser.parse_args()
    if args.quick:
        args.workers, args.steps, args.rounds, args.rooms = args.workers[:1], 2, 1, min(args.rooms, 100)
    H, W = map(int, args.size.split("x"))
    cv2.setNumThreads(0)
    most = 3 if args.quick else 60
    figures = {f"room_ms.{h}x{w}": room_ms((h, w), most) for h, w in SIZES}
    rendering = room_ms((H, W), most) * args.batch
    for key, ms in figures.items():
        print(f"{key}: {ms:.1f}")
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        for workers in args.workers:
            fresh, packed = compare(args.rooms, workers, (H, W), args)
            figures[f"step_ratio.workers{workers}"] = ratio(fresh, packed)
            figures[f"core_share.workers{workers}"] = rendering / statistics.median(packed)
            old, new = statistics.median(packed), statistics.median(fresh)
            print(f"workers {workers}: {old:.0f} ms a step with packed rooms, {new:.0f} with new ones")
        os.chdir("/")
    print(machine())
    finish(figures)


if __name__ == "__main__":
    main()
