"""The whole pipeline, against its limit and against a plain script."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from benchmarks.stages import CORES
from mtl_vision.runtime import pipeline
from mtl_vision.runtime.images import read_image
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.steps import Job, Wanted, keep, read


def one_at_a_time(session: onnxruntime.InferenceSession, photos: list[Path], out: Path) -> None:
    """What one would write by hand, without the runtime."""
    _, height, width, _ = session.get_inputs()[0].shape
    names = [output.name for output in session.get_outputs()]
    for photo in photos:
        image = cv2.imread(str(photo))
        assert image is not None, photo
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        found = session.run(None, {"image": cv2.cvtColor(small, cv2.COLOR_BGR2RGB)[None]})
        maps, size = dict(zip(names, map(np.asarray, found), strict=True)), image.shape[1::-1]
        for name, array in maps.items():
            if array.dtype == np.uint8:
                pixels = cv2.resize(array[0], size, interpolation=cv2.INTER_NEAREST)
            elif array.ndim == 4:
                vectors = cv2.resize(array[0], size)
                vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
                pixels = cv2.cvtColor(((vectors + 1) * 127.5).astype(np.uint8), cv2.COLOR_RGB2BGR)
            else:
                pixels = (cv2.resize(array[0], size) * 1000).clip(0, 65535).astype(np.uint16)
            cv2.imwrite(str(out / f"{photo.stem}.{name}.png"), pixels)


def cpu_alone(model: Model, photos: list[Path], out: Path, save: list[str]) -> dict[str, float]:
    """CPU seconds an image of reading, network and writing, each alone in one thread."""
    jobs = [Job(photo, photo.stem) for photo in photos]
    wanted = Wanted(manifest=model.manifest, out=out, save=frozenset(save), max_pixels=2**30)
    used = {}
    start = time.process_time()
    for job in jobs:
        read(job, wanted)
    used["read"] = time.process_time() - start
    start = time.process_time()
    for job in jobs:
        assert job.prepared is not None
        job.maps = model.run_prepared([job.prepared])[0]  # type: ignore[assignment]
    used["network"] = time.process_time() - start
    start = time.process_time()
    for job in jobs:
        keep(job, wanted)
    used["write"] = time.process_time() - start
    return {name: seconds / len(photos) for name, seconds in used.items()}


def whole(file: Path, photos: list[Path], args: argparse.Namespace, work: Path) -> dict[str, float]:
    """The pipeline against its limit, and against the script, in turns."""
    model, alone, out = Model(file), Model(file, threads=1), work / "whole"
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    save = [output.name for output in model.manifest.outputs]
    items = [(photo, photo.stem) for photo in photos]
    out.mkdir()
    figures: dict[str, list[float]] = {}
    for turn in range(1 + args.turns):
        parts = cpu_alone(alone, photos, out, save)
        began, used = time.perf_counter(), time.process_time()
        summary = pipeline.run(model, items, out, save=save, batch=args.batch, quiet=True)  # type: ignore[arg-type]
        ours, used = time.perf_counter() - began, time.process_time() - used
        assert summary.done == len(photos), summary.failed
        began = time.perf_counter()
        one_at_a_time(session, photos, out)
        naive = time.perf_counter() - began
        if turn == 0:  # a warm-up
            continue
        limit = CORES / sum(parts.values())
        measured = {f"cpu_ms.{name}": 1000 * seconds for name, seconds in parts.items()}
        measured["pipeline_limit_ratio"] = len(photos) / ours / limit
        measured["work_ratio"] = sum(parts.values()) * len(photos) / used
        measured["busy_ratio"] = used / ours / CORES
        measured["naive_ratio"] = naive / ours
        measured["images_per_second"] = len(photos) / ours
        for name, value in measured.items():
            figures.setdefault(name, []).append(value)
    found = {name: statistics.median(values) for name, values in figures.items()}
    print(f"{len(photos)} images of {read_image(photos[0]).shape[:2]}, batch {args.batch}, {args.turns} turns:")
    for name, value in found.items():
        print(f"  {name:<24}{value:>9.3f}")
    return found
