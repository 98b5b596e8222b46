"""A set of synthetic rooms as a canonical folder: 80 % train, 10 % val, 10 % test."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mtl_vision.datasets.description import DataError, DepthFormat, Description, LabelFormat, NormalsFormat
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.write import FolderWriter
from mtl_vision.runtime.kinds import Size
from mtl_vision.synthetic.render import NYU_CAMERA, NYU_SIZE, render_room


def write_rooms(out: Path, count: int, size: Size, seed: int = 0, workers: int = 2) -> None:
    """Render `count` rooms of `size` (H, W) into `out`, by `workers` processes; the same seed gives the same set.

    Raises DataError when `out` exists and is not empty, and for fewer rooms than splits.
    """
    if count < 3 or seed < 0:
        raise DataError(f"{count} rooms from seed {seed}: expected at least 3 (one a split), from seed 0 or above")
    camera: dict[str, float] = asdict(NYU_CAMERA.resized(NYU_SIZE, size))
    description = Description(
        source="synthetic rooms: exact, from ray casting",
        depth=DepthFormat(),
        normals=NormalsFormat(),
        segmentation=LabelFormat(classes="nyu13"),
        intrinsics=camera | {"height": size[0], "width": size[1]},
    )
    held_out = max(count // 10, 1)
    splits = ["test"] * held_out + ["val"] * held_out
    splits = ["train"] * (count - len(splits)) + splits
    with FolderWriter(out, description) as writer, _pool(workers) as pool:
        rooms = pool.map(partial(_render, size=size), range(seed * 1_000_000, seed * 1_000_000 + count), chunksize=8)
        for split, room in tqdm(zip(splits, rooms, strict=True), total=count, desc="making synthetic rooms"):
            writer.write(split, room)


def _render(seed: int, size: Size) -> Sample:
    return render_room(seed, size)


def _pool(workers: int) -> ProcessPoolExecutor:
    # not forked: the parent may hold threads (torch's, OpenCV's) that a fork would leave behind
    return ProcessPoolExecutor(max(workers, 1), multiprocessing.get_context("spawn"))
