"""The whole loop's images a second to those of the bare step, on a GPU or not, by number of loading processes.

    python benchmarks/loop.py [--quick] [--device cuda --backbone resnet50 --size 288x384 --batch 16 --bf16]
                              [--root DIR] [--workers 4 8 12]

The bare step: the network and one batch again and again; forward, backward of the losses' sum and AdamW by hand. The
loop: Trainer.epoch with N loading processes, packed data, preset `strong`, schedule, history and TensorBoard.
loop_ratio.N: with equal weights; loop_ratio.N.gradnorm: with GradNorm, which does more than the bare step. They take
turns in one process.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.common import Step, finish, interleaved, machine, ratio
from benchmarks.setup import LR, WEIGHT_DECAY, Setup, from_arguments, parser, plain
from mtl_vision.balancers import Balancer, Equal, GradNorm
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.recognise import describe
from mtl_vision.engine.device import pick_device
from mtl_vision.engine.loop import Trainer
from mtl_vision.engine.optimizer import make_optimizer, make_schedule
from mtl_vision.engine.tracking import Tracker
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.loading.loader import Loader
from mtl_vision.synthetic.dataset import write_rooms

EPOCHS = 10**4  # of the schedule: none comes to its end


def epoch(setup: Setup, loader: Loader, balancer: Balancer, folder: Path) -> Step:
    """An epoch of the loop, with all that it writes, to a new folder in `folder`."""
    optimizer = make_optimizer(setup.model, LR, WEIGHT_DECAY)
    schedule = make_schedule(optimizer, EPOCHS * len(loader), 0.05)
    parts = (setup.model, setup.tasks, balancer.to(setup.device), optimizer, schedule, setup.device, setup.precision)
    trainer, tracker = Trainer(*parts), Tracker(Path(tempfile.mkdtemp(dir=folder)), tensorboard=True)

    def step() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # the progress bar
            trainer.epoch(loader, EPOCHS, tracker)

    return step


def bare(setup: Setup, steps: int) -> Step:
    """As many bare steps as an epoch has."""
    step = plain(setup)

    def epoch() -> None:
        for _ in range(steps):
            step()

    return epoch


def main() -> None:
    """Print the table and the JSON line."""
    p = parser(__doc__)
    p.add_argument("--root", type=Path, help="a data set; synthetic rooms if not given")
    p.add_argument("--workers", type=int, nargs="+", default=[8], help="loading processes")
    p.set_defaults(rounds=5)
    args = p.parse_args()
    pick_device(args.device)  # which has cuDNN choose its kernels, as a training does
    setup = from_arguments(args)
    height, width = setup.batch.image.shape[-2:]
    size, cores = (height, width), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as work:
        root = args.root or Path(work, "rooms")
        if args.root is None:
            write_rooms(root, 20 if args.quick else 600, size, workers=cores)
        packed = PackedDataset(FolderDataset(root, "train", describe(root), "nyu13"), Path(work, "cache"), cores)
        steps: dict[str, Step] = {}
        for workers in args.workers:
            for method in (Equal, GradNorm):
                loader = Loader(
                    packed, list(setup.tasks), size, args.batch, augment=Augmentation("strong", size), train=True,
                    workers=workers, pin=setup.device.type == "cuda",
                )  # fmt: skip
                name = f"{workers}{'.gradnorm' * (method is GradNorm)}"
                steps[name] = epoch(setup.twin(), loader, method(list(setup.tasks)), Path(work))
        count = len(packed) // args.batch
        batch = loader.spread(args.batch).to(setup.device)
        steps = {"bare step": bare(replace(setup.twin(), batch=batch), count), **steps}
        times = interleaved(steps, 1 if args.quick else args.rounds, 1, args.device)
    print(f"{args.backbone}, {count} steps of {args.batch} x {args.size}; {machine(args.device)}, {cores} cores")
    for name, seconds in times.items():
        each = statistics.median(seconds) / count
        print(f"{name:<16}{1000 * each:>9.1f} ms a step{args.batch / each:>9.1f} images/s")
    base = times.pop("bare step")
    finish({f"loop_ratio.{name}": ratio(base, seconds) for name, seconds in times.items()})


if __name__ == "__main__":
    main()
