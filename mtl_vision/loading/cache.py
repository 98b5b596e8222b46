"""A packed copy of a split on disk, memory-mapped: epochs after the first decode nothing and derive nothing.

Keyed by the files (names, sizes, times), their description and the class set; written whole or not at all; reused over
runs; shared between worker processes, since mapped pages are. Samples of different sizes can not be packed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.sample import Sample
from mtl_vision.runtime.kinds import FULL_LENGTH, normalise

# How a target is stored: 16 bits for normals keep them to 0.002 degrees
FORMAT = 3  # raise it when what is derived or how it is stored changes: old copies are then made anew
STORED: dict[str, tuple[type, tuple[int, ...]]] = {
    "depth": (np.float32, ()),
    "normals": (np.int16, (3,)),
    "segmentation": (np.uint8, ()),
    "instances": (np.uint8, ()),
}


class PackedDataset:
    """The samples of a FolderDataset, from the packed copy in `folder`, made on first use by `workers` threads."""

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
        """One sample with the targets of these names alone, as views of the mapped files; normals in 16 bits."""
        kept = {name: k for k, name in enumerate(self.arrays) if name in names and self.present[index, k]}
        targets = {name: self.arrays[name][index] for name in kept}
        image = self.image[index]
        return Sample(self.source.stems[index], image, targets, self.source.description.camera(image.shape[:2]))


def unpacked(sample: Sample) -> Sample:
    """The sample with float32 normals, if they are in 16 bits."""
    normals = sample.targets.get("normals")
    if normals is None or normals.dtype != np.int16:
        return sample
    return replace(sample, targets=sample.targets | {"normals": normalise(normals)})


def _mapped(path: Path) -> np.ndarray:
    return np.asarray(np.load(path, mmap_mode="r"))  # a plain array over the map: indexing np.memmap is slow


def _key(source: FolderDataset) -> str:
    stats = []
    for name, stem, path in source.paths():
        if path.exists():  # a listed picture may be missing: to read it says so
            stat = path.stat()
            stats.append((name, stem, os.path.relpath(path, source.root), stat.st_size, stat.st_mtime_ns))
    told: list[Any] = [stats, source.description.to_yaml(), source.classes and source.classes.names, FORMAT]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    return f"{source.root.resolve().name}-{source.split}-{digest}"


def _pack(source: FolderDataset, folder: Path, workers: int) -> None:
    work = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(work, ignore_errors=True)  # of a killed process that had this number
    work.mkdir(parents=True)
    try:
        size = source[0].size
        shapes = {"image": (np.uint8, (3,))} | {name: STORED[name] for name in source.target_names}
        arrays = {
            name: np.lib.format.open_memmap(work / f"{name}.npy", "w+", dtype, (len(source), *size, *tail))
            for name, (dtype, tail) in shapes.items()
        }
        present = np.zeros((len(source), len(source.target_names)), bool)

        def store(index: int) -> None:
            sample = source[index]
            if sample.size != size:
                raise DataError(
                    f"{source.images[sample.name]} is {sample.size} (H, W), the first picture {size}: "
                    "set data.cache to null for pictures of different sizes"
                )
            arrays["image"][index] = sample.image
            for k, name in enumerate(source.target_names):
                if name in sample.targets:
                    value = sample.targets[name]
                    arrays[name][index] = np.rint(value * FULL_LENGTH) if name == "normals" else value
                    present[index, k] = True

        with ThreadPoolExecutor(max(workers, 1)) as pool:  # decoding and fitting run outside Python's lock
            for _ in tqdm(
                pool.map(store, range(len(source))), total=len(source), desc=f"packing {source.split}", leave=False
            ):
                pass
        np.save(work / "present.npy", present)
        for name in list(arrays):
            arrays.pop(name).flush()  # and unmapped: some systems do not rename a folder with mapped files
        if not folder.exists():  # another process may have been faster
            work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
