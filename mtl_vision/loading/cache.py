"""A packed copy of a split on disk, memory-mapped: epochs after the first decode nothing and derive nothing.

Keyed by the files (names, sizes, times), their description, the class set and the derived targets; complete or absent;
reused over runs; shared between worker processes, since mapped pages are. Targets are stored as their kinds pack them.
"""

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.folder import FolderDataset, in_threads
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.targets import Target, kind_of

VERSION = 4  # raise it when what is read or how it is stored changes: old copies are then made anew


class PackedDataset:
    """The samples of a FolderDataset, from the packed copy in `folder`, made on first use by `workers` threads.

    Raises DataError for samples of different sizes: they can not be packed.
    """

    def __init__(self, source: FolderDataset, folder: Path, workers: int = 1) -> None:
        self.source = source
        self.folder = Path(folder) / _key(source)
        if not self.folder.exists():
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
    return f"{source.root.resolve().name}-{source.split}-{digest}"


def _code(target: Target) -> str:
    """The source of the function that derives a target: a copy made by another one is not taken."""
    try:
        return inspect.getsource(target.derive)  # type: ignore[arg-type]
    except (OSError, TypeError):  # typed at a prompt, or no plain function
        return repr(target.derive)


def _pack(source: FolderDataset, folder: Path, workers: int) -> None:
    work = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(work, ignore_errors=True)  # of a killed process that had this number
    work.mkdir(parents=True)
    try:
        size = source[0].size
        kinds = {name: kind_of(name) for name in source.target_names}
        types = {"image": (np.uint8, (3,))} | {name: (kind.packed, kind.tail) for name, kind in kinds.items()}
        arrays = {
            name: np.lib.format.open_memmap(work / f"{name}.npy", "w+", dtype, (len(source), *size, *tail))
            for name, (dtype, tail) in types.items()
        }
        present = np.zeros((len(source), len(source.target_names)), bool)

        def store(index: int) -> None:
            sample = source[index]
            if sample.size != size:
                raise DataError(
                    f"{source.images[sample.name]} is {sample.size} (H, W), the first image {size}: images of "
                    "different sizes can not be packed; use the data set without a cache"
                )
            arrays["image"][index] = sample.image
            present[index] = [name in sample.targets for name in kinds]
            for name, array in sample.targets.items():
                arrays[name][index] = kinds[name].pack(array)

        in_threads(store, len(source), f"packing {source.split}", workers)
        np.save(work / "present.npy", present)
        for name in list(arrays):
            arrays.pop(name).flush()  # and unmapped: some systems do not rename a folder with mapped files
        if not folder.exists():  # another process may have been faster
            work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
