"""Each step of an image alone, and the network alone: with threads, and against one network for each output."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common import interleaved, ratio
from benchmarks.random_export import made
from mtl_vision.runtime.files import atomic_write
from mtl_vision.runtime.headers import check
from mtl_vision.runtime.images import decode_rgb, file_size, read_bytes
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.predictor import prepare
from mtl_vision.runtime.render import draw

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def steps(model: Model, photo: Path, out: Path) -> dict[str, float]:
    """Seconds of each step of one image."""
    manifest, seconds, last = model.manifest, dict[str, float](), [time.perf_counter()]

    def lap(name: str) -> None:
        now = time.perf_counter()
        seconds[name] = now - last[0]
        last[0] = time.perf_counter()

    data = read_bytes(photo, file_size(photo, 2**30))
    image = decode_rgb(data, check(data, 2**30), manifest.fill)
    lap("decode")
    one = prepare(image, manifest)
    lap("preprocess")
    maps = model.run_prepared([one])[0]
    lap("network")
    assert isinstance(maps, dict), maps
    large = {o.name: one.at_image_size(maps[o.name], KINDS[o.kind]) for o in manifest.outputs}
    lap("postprocess")
    for o in manifest.outputs:
        found = KINDS[o.kind].encode(large[o.name], o)
        lap(f"encode {o.name}")
        atomic_write(out / "file", found)
        lap(f"write {o.name}")
    cv2.imencode(".jpg", np.ascontiguousarray(draw(image, maps, manifest)[..., ::-1]))
    lap("overview")
    return seconds


def stages(file: Path, photos: list[Path], args: argparse.Namespace, work: Path) -> dict[str, float]:
    """Milliseconds of each step of an image, one thread: the middle, and what 95 of 100 stay below."""
    began = time.perf_counter()
    model = Model(file, threads=1)
    loaded = time.perf_counter() - began
    found = [steps(model, photos[turn % len(photos)], work) for turn in range(1 + args.rounds)]
    print(f"{'ms of a step':<22}{'p50':>8}{'p95':>8}{'first':>8}   (loading the model: {1000 * loaded:.0f} ms)")
    figures = {}
    for name in found[0]:
        p50, p95 = np.percentile([seconds[name] for seconds in found[1:]], (50, 95)) * 1000
        print(f"{name:<22}{p50:>8.2f}{p95:>8.2f}{1000 * found[0][name]:>8.2f}")
        figures[f"ms.{name.replace(' ', '_')}"] = p50
    return figures


def threads(file: Path, args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of the network alone with 1 to n threads, in turns."""
    counts = sorted({1, *(2**i for i in range(CORES.bit_length())), CORES})
    counts = [count for count in counts if count <= CORES]
    models = {f"{count}": Model(file, threads=count) for count in counts}
    image = np.zeros((1, models["1"].manifest.height, models["1"].manifest.width, 3), np.uint8)
    times = interleaved({n: lambda model=model: model.run(image) for n, model in models.items()}, args.rounds)
    for count, seconds in times.items():
        print(f"network, {count} thread(s): {1000 * statistics.median(seconds):.2f} ms")
    return {f"thread_ratio.{count}": ratio(times["1"], seconds) for count, seconds in times.items() if count != "1"}


def several(file: Path, args: argparse.Namespace, work: Path) -> dict[str, float]:
    """One network with three outputs against three with one."""
    size = f"{args.size[0]}x{args.size[1]}"
    singles = [
        made(work / f"{name}.onnx", "--backbone", args.backbone, "--size", size, "--tasks", name)
        for name in ("depth", "normals", "segmentation")
    ]
    together, apart = Model(file, threads=1), [Model(single, threads=1) for single in singles]
    image = np.zeros((1, *args.size, 3), np.uint8)

    def three() -> None:
        for model in apart:
            model.run(image)

    times = interleaved({"one": lambda: together.run(image), "three": three}, args.rounds)
    found = ratio(times["three"], times["one"])
    print(f"three networks of one output take {found:.2f} x the time of one with three")
    return {"multi_ratio": found}
