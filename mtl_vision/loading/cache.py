"""A packed copy of a split on disk, memory-mapped: epochs after the first decode nothing and derive nothing.

Keyed by the files (names, sizes, times), their description, the class set and the derived targets; complete or absent;
reused over runs; shared between worker processes, since mapped pages are. Targets are stored as their kinds pack them.
"""

import errno
import hashlib
import inspect
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.doubts import doubts, warn
from mtl_vision.datasets.folder import FolderDataset, in_threads
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.targets import Target, kind_of
from mtl_vision.datasets.text import LEADING
from mtl_vision.runtime.files import FULL, atomic_folder
from mtl_vision.runtime.kinds import Size

NAME = 24  # letters of a data set's and of a split's name that a copy's folder has
VERSION = 7  # raise it when what is read or how it is stored changes: old copies are then made anew
Shapes = Mapping[str, tuple[Any, tuple[int, ...]]]  # name -> type and shape


class PackedDataset:
    """The samples of a FolderDataset, from the packed copy in `folder`, made on first use by `workers` threads.

    A damaged copy is made anew. Packing says on stderr what is most likely misread. new: it was packed just now.
    Raises DataError for samples of different sizes, which can not be packed, and where the disk has no space for them.
    """

    def __init__(self, source: FolderDataset, folder: Path, workers: int = 1) -> None:
        self.source = source
        self.folder = Path(folder) / _key(source)
        if self.folder.exists() and (fault := _fault(source, self.folder)):
            print(f"note       {self.folder} is damaged ({fault}): it is made anew")
            shutil.rmtree(self.folder, ignore_errors=True)
        self.new = not self.folder.exists()
        if self.new:
            _pack(source, self.folder, workers)
        self.image = _mapped(self.folder / "image.npy")
        self.arrays = {name: _mapped(self.folder / f"{name}.npy") for name in source.target_names}
        self.present = np.load(self.folder / "present.npy")

    def __reduce__(self) -> tuple[type, tuple[FolderDataset, Path]]:
        # a worker that is not forked opens the files again: a mapped array would travel as a copy of all its pages
        return type(self), (self.source, self.folder.parent)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """One sample; equal to the source's to the storage's precision."""
        return unpacked(self.stored(index, tuple(self.arrays)))

    def stored(self, index: int, names: Sequence[str]) -> Sample:
        """One sample with the targets of these names, packed: views of the mapped files."""
        kept = {name: k for k, name in enumerate(self.arrays) if name in names and self.present[index, k]}
        targets = {name: self.arrays[name][index] for name in kept}
        image = self.image[index]
        return Sample(self.source.stems[index], image, targets, self.source.description.camera(image.shape[:2]))


def unpacked(sample: Sample) -> Sample:
    """The sample with its targets as maps, where they are packed."""
    return replace(sample, targets={name: kind_of(name).unpack(array) for name, array in sample.targets.items()})


def _mapped(path: Path) -> np.ndarray:
    return np.asarray(np.load(path, mmap_mode="r"))  # a plain array over the map: indexing np.memmap is slow


def _key(source: FolderDataset) -> str:
    stats = [
        (name, stem, os.path.relpath(path, source.root), (stat := path.stat()).st_size, stat.st_mtime_ns)
        for name, stem, path in source.paths()
        if path.exists()  # a listed image that is missing fails when it is read
    ]
    classes = source.classes and source.classes.names
    derived = [(target.name, _code(target)) for target in source.derived]
    content = [stats, source.description.to_yaml(), classes, derived, VERSION]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    names = f"{source.root.resolve().name[:NAME]}-{source.split[:NAME]}"
    return f"{LEADING.sub('_', names)}-{digest}"  # in the cache's folder, whatever the split is called


def _code(target: Target) -> str:
    """The source of the function that derives a target: a copy made by another one is not taken."""
    try:
        return inspect.getsource(target.derive)  # type: ignore[arg-type]
    except (OSError, TypeError):  # typed at a prompt, or no plain function
        return repr(target.derive)


def _shapes(source: FolderDataset, size: Size) -> Shapes:
    """What the packed copy of images of `size` (H, W) consists of."""
    kinds = {name: kind_of(name) for name in source.target_names}
    shapes = {name: (kind.packed, (len(source), *size, *kind.tail)) for name, kind in kinds.items()}
    return {"image": (np.uint8, (len(source), *size, 3)), "present": (bool, (len(source), len(kinds))), **shapes}


def _fault(source: FolderDataset, folder: Path) -> str | None:
    """What is wrong with a packed copy: a file that is missing, cut short, or has another array's header."""
    name = "image"
    try:
        size = np.load(folder / "image.npy", mmap_mode="r").shape[1:3]
        for name, (dtype, shape) in _shapes(source, size).items():
            array = np.load(folder / f"{name}.npy", mmap_mode="r")  # a file that is too short is an error
            if array.dtype != dtype or array.shape != shape:
                return f"{name}.npy holds {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}"
    except Exception as error:  # a damaged header is parsed: it may raise whatever it likes
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise
        return f"{name}.npy: {' '.join(str(error).split())[:100]}"
    return None


def _pack(source: FolderDataset, folder: Path, workers: int) -> None:
    with suppress(FileExistsError), atomic_folder(folder) as work:  # another process may have been faster
        size = source[0].size
        kinds = {name: kind_of(name) for name in source.target_names}
        arrays = _reserved(work, _shapes(source, size), folder)
        warn(doubts(source))

        def store(index: int) -> None:
            sample = source[index]
            if sample.size != size:
                raise DataError(
                    f"{source.images[sample.name]} is {sample.size} (H, W), the first image {size}: images of "
                    "different sizes can not be packed; use the data set without a cache"
                )
            arrays["image"][index] = sample.image
            arrays["present"][index] = [name in sample.targets for name in kinds]
            for name, array in sample.targets.items():
                arrays[name][index] = kinds[name].pack(array)

        in_threads(store, len(source), f"packing {source.split}", workers)
        for name in list(arrays):
            arrays.pop(name).flush()  # and unmapped: some systems do not rename a folder with mapped files


def _reserved(work: Path, shapes: Shapes, folder: Path) -> dict[str, np.memmap]:
    """The arrays, mapped to files whose space is taken: writing to a mapped page for which there is none is SIGBUS."""
    needed = sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in shapes.values())
    free = shutil.disk_usage(work).free
    arrays: dict[str, np.memmap] = {}
    try:
        if 0 < free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for name, (dtype, shape) in shapes.items():
            path = work / f"{name}.npy"
            arrays[name] = np.lib.format.open_memmap(path, "w+", dtype, shape)
            _take_space(path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DataError(
            f"the packed copy in {folder} needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free ({error.strerror}"
            "): free some, set data.cache to a folder on another disk, or to null, which decodes in every epoch"
        ) from error
    return arrays


def _take_space(path: Path) -> None:
    """Have the space of a file that is still empty. Some file systems cannot say whether there is any."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno in FULL:
                    raise
