"""What a report costs at the end of a training, in seconds of one core; and the evaluation, for single samples.

    python benchmarks/report.py [--quick] [--size 240x320] [--images 100] [--steps 2000]

`evaluate.ratio`: an evaluation with the metrics of each sample to one without, taken by turns, median of the rounds.
`gallery`: the samples' pictures; `page`: report.html from the files, of a history of so many steps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from unittest.mock import patch

import torch
import yaml

from benchmarks.common import finish
from mtl_vision.config import Config, plain
from mtl_vision.engine.details import write_details
from mtl_vision.engine.evaluate import evaluate
from mtl_vision.loading.loader import Loader
from mtl_vision.models import Fusion, Network
from mtl_vision.report.page import REPORT, write_report
from mtl_vision.synthetic import render_room
from mtl_vision.tasks import Task
from mtl_vision.tasks.depth import Depth
from mtl_vision.tasks.normals import Normals
from mtl_vision.tasks.segmentation import Segmentation

CPU = torch.device("cpu")


def seconds(call: Callable[[], object]) -> float:
    """Of this process, on all its threads."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


def history(steps: int, tasks: list[str]) -> str:
    """Of a GradNorm run."""
    keys = ("loss", "weight", "grad_norm", "target", "rate")
    each = ({key: dict.fromkeys(tasks, 1 / (1 + step)) for key in keys} for step in range(steps))
    lines = ({"step": k, "epoch": 0, "lr": 0.01, "seconds": 0.1} | record for k, record in enumerate(each))
    return "".join(json.dumps(line) + "\n" for line in lines)


def main() -> None:
    """Measure, and print; the last line is JSON."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="a try of some seconds")
    p.add_argument("--size", default="120x160", help="of the images, HxW (%(default)s)")
    p.add_argument("--images", type=int, default=100, help="that are evaluated (%(default)s)")
    p.add_argument("--steps", type=int, default=2000, help="of the history (%(default)s)")
    args = p.parse_args()
    H, W = (int(side) for side in args.size.split("x"))
    images, rounds = (6, 1) if args.quick else (args.images, 5)
    torch.set_num_threads(1)
    rooms = [render_room(k, (H, W)) for k in range(images)]
    chosen = (Depth(), Normals(), Segmentation([f"class {k}" for k in range(13)]))
    tasks: dict[str, Task] = {task.name: task for task in chosen}
    net = Network(tasks, "resnet10t", Fusion(64), size=(H, W)).eval()
    loader = Loader(rooms, [*tasks], (H, W), 8)
    without = patch.object(Task, "main_metrics", lambda *_: [0.0] * len(_[1]))
    taken: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(rounds):
        for name, context in (("without", without), ("with", nullcontext())):
            with context:
                taken[name].append(seconds(lambda: evaluate(net, tasks, loader, CPU)))
    ratios = [a / b for a, b in zip(taken["with"], taken["without"], strict=True)]
    found = {"evaluate.ratio": median(ratios), "evaluate": median(taken["with"])}
    trainer = SimpleNamespace(model=net, tasks=tasks, device=CPU, epochs=20, steps=args.steps)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        (folder / "config.yaml").write_text(yaml.safe_dump(plain(Config())))
        (folder / "history.jsonl").write_text(history(args.steps, [*tasks]))
        evaluation = evaluate(net, tasks, loader, CPU)
        details = [seconds(lambda: write_details(folder, trainer, loader, evaluation, {}, {})) for _ in range(rounds)]  # type: ignore[arg-type]
        page = [seconds(lambda: write_report([folder], folder / REPORT)) for _ in range(rounds)]
        found |= {"gallery": median(details), "page": median(page)}
        found["megabytes"] = (folder / REPORT).stat().st_size / 1e6
    for name, value in found.items():
        print(f"{name:<16} {value:.3f}")
    finish(found)


if __name__ == "__main__":
    main()
