"""A set of synthetic rooms as a canonical folder: 80 % train, 10 % val, 10 % test.

A room is known by its seed: those of a set are the integers from the set's own seed * 1,000,000 on.
"""

import multiprocessing
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from mtl_vision.datasets.description import DataError, DepthFiles, Description, LabelFiles, NormalsFiles
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.write import FolderWriter
from mtl_vision.runtime.kinds import Size
from mtl_vision.runtime.terminal import progress
from mtl_vision.runtime.workers import ahead, end_with_parent
from mtl_vision.synthetic.render import NYU_CAMERA, NYU_SIZE, render_room

DEFAULT = 1000  # rooms of the default set


def write_rooms(out: Path, count: int, size: Size, seed: int = 0, workers: int = 2) -> None:
    """Render `count` rooms of `size` (H, W) into `out`, by `workers` processes; the same seed gives the same set.

    Raises DataError when `out` exists and is not empty, and for fewer rooms than splits.
    """
    if count < 3 or seed < 0:
        raise DataError(f"{count} rooms from seed {seed}: expected at least 3 (one a split), from seed 0 or above")
    _write(out, splits_of(count, seed), size, workers)


def write_measured_rooms(out: Path, size: Size, workers: int = 2) -> None:
    """As write_rooms, but of the default set's rooms those alone that are not trained on: its test and val."""
    splits = splits_of(DEFAULT)
    del splits["train"]
    _write(out, splits, size, workers)


def splits_of(count: int, seed: int = 0) -> dict[str, range]:
    """The seeds of a set's rooms, by split, in the order in which they are made."""
    first, tenth = seed * 1_000_000, max(count // 10, 1)
    test, val, end = first + count - 2 * tenth, first + count - tenth, first + count
    return {"train": range(first, test), "test": range(test, val), "val": range(val, end)}


def _write(out: Path, splits: Mapping[str, range], size: Size, workers: int) -> None:
    camera: dict[str, float] = asdict(NYU_CAMERA.resized(NYU_SIZE, size))
    description = Description(
        source="synthetic rooms: exact, from ray casting",
        depth=DepthFiles(),
        normals=NormalsFiles(),
        segmentation=LabelFiles(classes="nyu13"),
        intrinsics=camera | {"height": size[0], "width": size[1]},
    )
    of = [split for split, seeds in splits.items() for _ in seeds]
    seeds = list(chain.from_iterable(splits.values()))
    with FolderWriter(out, description) as writer, _rendered(seeds, size, workers) as rooms:
        for split, room in progress(zip(of, rooms, strict=True), len(of), quiet=False, unit="room"):
            writer.write(split, room)


@contextmanager
def _rendered(seeds: Sequence[int], size: Size, workers: int) -> Iterator[Iterator[Sample]]:
    """The rooms of these seeds, from `workers` processes; when the block ends, those not yet begun are left."""
    spawn = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of the parent hold
    pool = ProcessPoolExecutor(max(workers, 1), spawn, end_with_parent)

    def begin(seed: int) -> Future[Sample]:
        with _no_main_module(), _no_interrupts():
            return pool.submit(render_room, seed, size)

    try:
        yield ahead(begin, seeds, most=4 * max(workers, 1))
    except BrokenProcessPool as error:
        raise DataError("a process that makes rooms was ended from outside (no memory left?): begin again") from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Processes that start now do not import the main module: a script without a guard would run again in each."""
    main = vars(sys.modules["__main__"])
    names = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    main.pop("__file__", None)
    try:
        yield
    finally:
        main.update(names)


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Processes that start now leave Ctrl-C, which a terminal sends to all, to this one."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
