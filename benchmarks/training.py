"""How fast a training is, as train.py runs it on this machine: its loop, LibMTL's, bfloat16, two at once.

    python benchmarks/training.py [--quick] [--backbone NAME] [--size 120x160 --batch 8] [--only loop bf16]

All on synthetic rooms, on the CPU, with AdamW; what is compared takes turns.

loop_ratio: time of a bare step (the network and one batch again and again; forward, backward, AdamW by hand) over that
of a step of our loop with equal weights (Trainer.epoch: loading, packed data, preset `standard`, schedule,
history, TensorBoard, progress bar); loop_ratio.gradnorm: with GradNorm, which does more than the bare step.
libmtl_ratio.equal, .gradnorm: images a second of our loop over those of LibMTL 1.1.5's trainer with the same network,
on the same rooms in its own form, by as many loading processes: see libmtl_trainer.py. `.unmeasured`: it computes no
metrics. It has a process of its own, in the environment that this one was started in. bf16_ratio: time of our step
under bfloat16 autocast over that in float32. contention_ratio: wall time of two train.py at once over the same two one
after the other, from start to end; contention_ratio.step: of their steps alone.
"""
# ruff: noqa: E402

from __future__ import annotations

import os

from mtl_vision.commands import keep_freed_memory

ENVIRONMENT = dict(os.environ)
keep_freed_memory()  # as train.py does, before torch is imported

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import libmtl_trainer
from benchmarks.common import Step, finish, interleaved, machine, ratio
from benchmarks.loop import bare, epoch
from benchmarks.peers import ALPHA
from benchmarks.setup import Setup, make_setup, ours
from mtl_vision.balancers import Equal, GradNorm
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.recognise import describe
from mtl_vision.engine.build import loading_processes
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.loading.loader import Loader
from mtl_vision.synthetic.dataset import write_rooms

REPO = Path(__file__).resolve().parents[1]


@dataclass
class Bench:
    """The options, the rooms, and a network with one batch of them."""

    args: argparse.Namespace
    work: Path
    rooms: Path
    packed: PackedDataset
    loader: Loader
    setup: Setup

    @property
    def steps(self) -> int:
        """An epoch's."""
        return len(self.loader)


def prepare(args: argparse.Namespace, work: Path) -> Bench:
    """Make the rooms, the loader and the network."""
    height, width = (int(side) for side in args.size.split("x"))
    size = (height, width)
    write_rooms(work / "rooms", args.rooms, size, workers=os.cpu_count() or 1)
    source = FolderDataset(work / "rooms", "train", describe(work / "rooms"), "nyu13")
    packed = PackedDataset(source, work / "cache", os.cpu_count() or 1)
    setup = make_setup(args.backbone, args.batch, size, torch.device("cpu"))
    if args.workers is None:
        args.workers = loading_processes(packed, torch.device("cpu"))
    loader = Loader(
        packed, list(setup.tasks), size, args.batch, augment=Augmentation("standard", size), train=True,
        workers=args.workers,
    )  # fmt: skip
    return Bench(args, work, work / "rooms", packed, loader, replace(setup, batch=loader.spread(args.batch)))


def ours_by_method(bench: Bench) -> dict[str, Step]:
    """Our epochs."""
    names = list(bench.setup.tasks)
    methods = {"equal": Equal(names), "gradnorm": GradNorm(names, alpha=ALPHA)}
    return {name: epoch(bench.setup.twin(), bench.loader, method, bench.work) for name, method in methods.items()}


def show(bench: Bench, times: Mapping[str, list[float]], base: str) -> None:
    """The table of epochs."""
    for name, seconds in times.items():
        each = statistics.median(seconds) / bench.steps
        print(f"{name:<26}{1000 * each:>10.1f} ms a step{bench.args.batch / each:>10.1f} images/s", end="")
        print(f"{ratio(times[base], seconds):>10.3f} of {base}'s")


def loop(bench: Bench) -> dict[str, float]:
    """The loop against the bare step."""
    times = interleaved(
        {"bare step": bare(bench.setup.twin(), bench.steps), **ours_by_method(bench)}, bench.args.rounds, warmup=1
    )
    show(bench, times, "bare step")
    of = {name: ratio(times["bare step"], seconds) for name, seconds in times.items()}
    return {"loop_ratio": of["equal"], "loop_ratio.gradnorm": of["gradnorm"]}


def libmtl(bench: Bench) -> dict[str, float]:
    """The loop against LibMTL's."""
    args, folder = bench.args, bench.work / "npy"
    libmtl_trainer.write_maps([bench.packed[i] for i in range(len(bench.packed))], folder)
    given = ["--dataset", args.libmtl_dataset] if args.libmtl_dataset else []
    size = bench.setup.batch.image.shape[-2:]
    words = [
        folder,
        *given,
        "--backbone",
        args.backbone,
        "--size",
        *size,
        "--batch",
        args.batch,
        "--workers",
        args.workers,
    ]
    kinds = {"equal": ["--method=EW"], "equal.unmeasured": ["--method=EW", "--unmeasured"]}
    kinds["gradnorm"] = ["--method=GradNorm"]
    try:
        peers = {name: libmtl_trainer.Peer([*words, *kind], ENVIRONMENT) for name, kind in kinds.items()}
    except ModuleNotFoundError as error:
        print(f"libmtl left out: {error}")
        return {}
    theirs: dict[str, Step] = {f"LibMTL {name}": peer.step for name, peer in peers.items()}
    times = interleaved({**ours_by_method(bench), **theirs}, args.rounds, warmup=1)
    for peer in peers.values():
        peer.end()
    show(bench, times, "equal")
    pairs = {name: (times[f"LibMTL {name}"], times[name.partition(".")[0]]) for name in kinds}
    return {f"libmtl_ratio.{name}": ratio(*pair) for name, pair in pairs.items()}


def bf16(bench: Bench) -> dict[str, float]:
    """bfloat16 against float32."""
    setups = {"float32": bench.setup.twin(), "bfloat16": replace(bench.setup.twin(), precision=torch.bfloat16)}
    steps = {name: ours(setup, Equal(list(setup.tasks))) for name, setup in setups.items()}
    times = interleaved(steps, bench.args.rounds * (2 if bench.args.quick else 8))
    found = ratio(times["bfloat16"], times["float32"])
    faster = "bfloat16 is faster: run.precision: bf16" if found < 1 else "float32 is faster: run.precision: fp32"
    print(f"{bench.args.backbone} here: bfloat16 takes {found:.2f} of float32's time; {faster}")
    return {"bf16_ratio": found}


def contention(bench: Bench) -> dict[str, float]:
    """Two trainings at once against one after the other."""
    times: dict[str, list[float]] = {"one": [], "two": []}
    steps: dict[str, list[float]] = {"one": [], "two": []}
    start_run(bench, "warm").finish()  # packs the test rooms
    for turn in range(bench.args.rounds):
        start = time.perf_counter()
        alone = [start_run(bench, f"{turn}-{k}-alone").finish() for k in (0, 1)]
        between = time.perf_counter()
        together = [run.finish() for run in [start_run(bench, f"{turn}-{k}") for k in (0, 1)]]
        times["one"].append(between - start)
        times["two"].append(time.perf_counter() - between)
        steps["one"].append(sum(alone))
        steps["two"].append(statistics.mean(together))
    result = {"contention_ratio": ratio(times["two"], times["one"])}
    result["contention_ratio.step"] = ratio(steps["two"], steps["one"])
    print(
        f"two trainings of {bench.steps} steps: one after the other {statistics.median(times['one']):.1f} s, at once "
        f"{statistics.median(times['two']):.1f} s; a step of one alone {500 * statistics.median(steps['one']):.0f} ms, "
        f"beside the other {1000 * statistics.median(steps['two']):.0f} ms"
    )
    return result


@dataclass
class Process:
    """A train.py under way."""

    process: subprocess.Popen[str]
    folder: Path

    def finish(self) -> float:
        """Wait. The median time of a step, in seconds."""
        _, said = self.process.communicate()
        if self.process.returncode:
            sys.exit(said)
        lines = (self.folder / "history.jsonl").read_text().splitlines()
        return statistics.median(json.loads(line)["seconds"] for line in lines)


def start_run(bench: Bench, name: str) -> Process:
    """Start train.py for one epoch."""
    args, folder, (H, W) = bench.args, bench.work / "runs", bench.setup.batch.image.shape[-2:]
    words = {
        "data.root": bench.rooms, "data.cache": bench.work / "cache", "data.size": [H, W],
        "data.batch_size": args.batch, "data.workers": args.workers, "model.backbone": args.backbone, "train.epochs": 1,
        "run.device": "cpu", "run.dir": folder, "run.name": name,
    }  # fmt: skip
    command = [sys.executable, str(REPO / "train.py"), *(f"--{key}={value}" for key, value in words.items())]
    env = ENVIRONMENT | {"PYTHONPATH": str(REPO)}
    process = subprocess.Popen(
        command, cwd=bench.work, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    return Process(process, folder / name)


PARTS: dict[str, Callable[[Bench], dict[str, float]]] = {
    "loop": loop,
    "libmtl": libmtl,
    "bf16": bf16,
    "contention": contention,
}


def arguments() -> Any:
    """The options."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="one short round each, for trying")
    p.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    p.add_argument("--backbone", default="mobilenetv4_conv_small")
    p.add_argument("--size", default="120x160", help="HEIGHTxWIDTH")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--workers", type=int, help="loading processes (default: as many as train.py takes)")
    p.add_argument("--rooms", type=int, default=400, help="of which eight tenths are an epoch")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--libmtl-dataset", type=Path, metavar="FILE", help="LibMTL's examples/nyu/create_dataset.py")
    args = p.parse_args()
    if args.quick:
        args.rooms, args.rounds, args.batch = min(args.rooms, 10), 1, min(args.batch, 4)
    return args


def main() -> None:
    """Print the tables and the JSON line."""
    args = arguments()
    with tempfile.TemporaryDirectory() as name:
        bench = prepare(args, Path(name).resolve())
        print(
            f"{args.backbone}, {args.batch} x {args.size}, {args.workers} loading process(es), {args.rounds} rounds of "
            f"{bench.steps} steps; {machine()}, load {os.getloadavg()[0]:.1f}"
        )
        finish({key: value for part in args.only for key, value in PARTS[part](bench).items()})


if __name__ == "__main__":
    main()
