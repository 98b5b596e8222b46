"""Leave out the samples of a split that can not be read, and say which."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace

from tqdm import tqdm

from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.folder import FolderDataset


def find_faults(source: FolderDataset, workers: int = 1) -> dict[str, str]:
    """What is wrong with each sample that can not be read, by its name. Reads every file, by `workers` threads."""
    stored = copy(source)
    normals = source.description.normals
    if normals is not None and normals.derive:  # computed, not read: nothing to find there
        stored.description = replace(source.description, normals=None)

    def fault(index: int) -> str | None:
        try:
            stored[index]
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        found = tqdm(
            pool.map(fault, range(len(source))), total=len(source), desc=f"reading {source.split}", leave=False
        )
        return {stem: message for stem, message in zip(source.stems, found, strict=True) if message is not None}


def readable_part(source: FolderDataset, workers: int = 1) -> tuple[FolderDataset, dict[str, str]]:
    """The split without the samples that can not be read, and what is wrong with those, by name.

    Raises DataError if none is left.
    """
    faults = find_faults(source, workers)
    if len(faults) == len(source):
        raise DataError(
            f"none of the {len(source)} samples of split '{source.split}' can be read: {next(iter(faults.values()))}"
        )
    kept = [stem for stem in source.stems if stem not in faults]
    part = source.only(kept, source.split)
    part.left_out = len(faults)
    return part, faults
