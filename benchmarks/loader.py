"""Speed and memory of the data loader: samples a second on one core, and what it leaves of the training rate.

    python benchmarks/loader.py [--quick] [--libmtl-dataset FILE] [--root DIR --description FILE]

limit_ratio: our time a sample (packed copy, preset `standard`, batches) over that of albumentations' own calls for the
same draws on arrays in memory: 1 is the limit for a pipeline built on it. libmtl_ratio: our samples a second over those
of LibMTL's NYUv2 data set on the same data as .npy files; give its examples/nyu/create_dataset.py, which its package
does not have. training_rate_ratio: steps a second with the loader's batches over those with one batch again and again.
memory_growth_mb: what the process and its workers take more after ten epochs than after two (Linux).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.common import Step, finish, interleaved, machine, ratio
from benchmarks.libmtl_trainer import dataset, write_maps
from benchmarks.setup import LR, WEIGHT_DECAY, make_setup
from mtl_vision.balancers import Equal
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.recognise import describe
from mtl_vision.datasets.sample import Sample
from mtl_vision.engine.loop import Trainer
from mtl_vision.engine.optimizer import make_optimizer, make_schedule
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.loading.loader import Batch, Loader, as_worker
from mtl_vision.runtime.kinds import Size
from mtl_vision.synthetic.dataset import write_rooms

TARGETS = ("depth", "normals", "segmentation")


def make_loader(packed: PackedDataset, size: Size, batch: int, workers: int = 0) -> Loader:
    """The loader as training has it."""
    augment = Augmentation("standard", size)
    return Loader(packed, TARGETS, size, batch, augment=augment, train=True, workers=workers)


def ours(packed: PackedDataset, size: Size, batch: int) -> Step:
    """An epoch of ours in this process."""
    loader = make_loader(packed, size, batch)

    def step() -> None:
        for _ in loader.epoch(0):
            pass

    return step


def limit(samples: list[Sample], size: Size, batch: int) -> Step:
    """The same by albumentations alone: arrays in memory, nothing is asked about validity, no vector is normalised."""
    import albumentations as A
    import cv2

    H, W = samples[0].size
    chain = A.Compose(
        [
            A.RandomSizedCrop((round(H / 1.5), H), size, w2h_ratio=W / H, mask_interpolation=cv2.INTER_LINEAR, p=1.0),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.0375, 0.0375), p=0.8),
        ],
        additional_targets=dict.fromkeys(TARGETS, "mask"),
    )
    rng = np.random.default_rng(0)

    def step() -> None:
        order = rng.permutation(len(samples))
        for at in range(0, len(samples) - batch + 1, batch):
            moved = [chain(image=samples[i].image, **samples[i].targets) for i in order[at : at + batch]]
            batched = {name: np.stack([one[name] for one in moved]) for name in ("image", *TARGETS)}  # noqa: F841

    return step


def libmtl(samples: list[Sample], folder: Path, batch: int, file: Path) -> Step:
    """An epoch of LibMTL's data set from .npy files, as its examples load it."""
    write_maps(samples, folder)
    loader = DataLoader(dataset(folder, file), batch_size=batch, shuffle=True, drop_last=True)

    def step() -> None:
        for _ in loader:
            pass

    return step


def speed(packed: PackedDataset, args: argparse.Namespace, size: Size, work: Path) -> dict[str, float]:
    """Samples a second of each on one core, all set up as a loading process is."""
    as_worker()
    torch.set_num_threads(1)
    samples = [packed[i] for i in range(len(packed))]
    steps = {"ours": ours(packed, size, args.batch), "albumentations": limit(samples, size, args.batch)}
    if args.libmtl_dataset:
        steps["libmtl"] = libmtl(samples, work / "npy", args.batch, args.libmtl_dataset)
    else:
        print("libmtl left out: --libmtl-dataset names its examples/nyu/create_dataset.py")
    times = interleaved(steps, args.rounds)
    count = len(samples) // args.batch * args.batch
    print(f"{len(samples)} samples, batches of {args.batch}, {args.rounds} rounds; {machine()}")
    print(f"{'one core':<16}{'ms a sample':>12}{'samples / s':>13}")
    for name, seconds in times.items():
        each = statistics.median(seconds) / count
        print(f"{name:<16}{1000 * each:>12.3f}{1 / each:>13.0f}")
    figures = {"limit_ratio": ratio(times["ours"], times["albumentations"])}
    if "libmtl" in times:
        figures["libmtl_ratio"] = ratio(times["libmtl"], times["ours"])
    return figures


def endless(loader: Loader) -> Iterator[Batch]:
    """Epoch after epoch."""
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def training(packed: PackedDataset, args: argparse.Namespace, size: Size) -> dict[str, float]:
    """Steps a second with two workers' batches over those with one batch, in chunks that take turns."""
    setup = make_setup(args.backbone, args.batch, size, torch.device("cpu"))
    optimizer = make_optimizer(setup.model, LR, WEIGHT_DECAY)
    schedule = make_schedule(optimizer, 10**6, 0)
    trainer = Trainer(setup.model, setup.tasks, Equal(TARGETS), optimizer, schedule, setup.device)
    batches = endless(make_loader(packed, size, args.batch, args.workers))
    ready = 2 * args.workers  # what the workers make ahead
    seconds: dict[str, list[float]] = {"loaded": [], "repeated": []}

    def chunk(source: Iterator[Batch]) -> float:
        start = time.perf_counter()
        for _ in range(args.chunk):
            trainer.step([next(source)])
        return time.perf_counter() - start

    def again() -> Iterator[Batch]:
        while True:
            yield setup.batch

    for turn in range(1 + args.chunks):
        for _ in range(ready):  # what was made while the other had its turn would be free
            trainer.step([next(batches)])
        loaded = chunk(batches)
        time.sleep(0.2)  # until the workers have nothing left to make
        repeated = chunk(again())
        if turn:
            seconds["loaded"].append(loaded)
            seconds["repeated"].append(repeated)
    print(
        f"training {args.backbone}, {args.batch} x {size[0]}x{size[1]}, {args.workers} workers, "
        f"{args.chunks} chunks of {args.chunk} steps; {machine()}"
    )
    for name, times in seconds.items():
        print(f"{name:<16}{1000 * statistics.median(times) / args.chunk:>12.1f} ms a step")
    return {"training_rate_ratio": ratio(seconds["repeated"], seconds["loaded"])}


def memory(packed: PackedDataset, args: argparse.Namespace, size: Size) -> dict[str, float]:
    """What this process and its workers take together, after two and after ten epochs. Shared pages count once."""
    if not Path("/proc/self/smaps_rollup").exists():
        print("memory left out: it is read from Linux's /proc")
        return {}
    print(f"{'memory':<16}{'2 epochs':>12}{'10 epochs':>12}{'of it packed':>14}   MB")
    growth: dict[int, float] = {}
    for workers in (0, 1, 2):
        loader = make_loader(packed, size, args.batch, workers)
        found = {}
        for epoch in range(10):
            for _ in loader.epoch(epoch):
                pass
            found[epoch + 1] = together(packed.folder)
        growth[workers] = found[10][0] - found[2][0]
        print(f"{f'{workers} worker(s)':<16}{found[2][0]:>12.1f}{found[10][0]:>12.1f}{found[10][1]:>14.1f}")
    return {"memory_growth_mb": growth[2]}


def together(folder: Path) -> tuple[float, float]:
    """Proportional memory of this process and its children in MB: all of it, and that of the files in `folder`."""
    total = mapped = 0
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for process in ("self", *children):
        inside = False
        for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
            key, *rest = line.split()
            if not key.endswith(":"):
                inside = rest[-1].startswith(str(folder))
            elif key == "Pss:":
                total += int(rest[0])
                mapped += int(rest[0]) * inside
    return total / 1e3, mapped / 1e3


def arguments() -> Any:
    """The options."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="few rounds on few rooms, for trying")
    p.add_argument("--root", type=Path, help="real data; by default synthetic rooms")
    p.add_argument("--description", help="of that data, if it has none beside it")
    p.add_argument("--libmtl-dataset", type=Path, metavar="FILE")
    p.add_argument("--count", type=int, default=96, help="rooms, or the first samples of --root")
    p.add_argument("--size", default="288x384", help="HEIGHTxWIDTH")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--rounds", type=int, default=20)
    p.add_argument("--backbone", default="mobilenetv4_conv_small")
    p.add_argument("--workers", type=int, default=2, help="of the training")
    p.add_argument("--chunk", type=int, default=8, help="training steps at a time")
    p.add_argument("--chunks", type=int, default=10)
    args = p.parse_args()
    if args.quick:
        args.count, args.rounds, args.chunk, args.chunks, args.batch = 12, 3, 2, 1, 4
    return args


def main() -> None:
    """Print the tables and the JSON line."""
    args = arguments()
    height, width = (int(side) for side in args.size.split("x"))
    size = height, width
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        root = args.root
        if root is None:
            root = work / "rooms"
            write_rooms(root, args.count * 10 // 8, size, workers=1)  # more would import torch each
        description = describe(root, args.description)
        source = FolderDataset(root, "train", description, "nyu13")  # as many classes as the network has
        source = source.only(source.stems[: args.count], "train")
        packed = PackedDataset(source, work / "cache", os.cpu_count() or 1)
        figures = training(packed, args, size) | memory(packed, args, size)
        finish(speed(packed, args, size, work) | figures)


if __name__ == "__main__":
    main()
