"""A folder of images and ground truth, read as its description says: the canonical folder, or one of another layout.

The canonical folder is {train,val,test}/{rgb,depth,normals,label}/STEM.* with one dataset.yaml beside them.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from tqdm import tqdm

from mtl_vision.datasets.arrays import read_rgb
from mtl_vision.datasets.description import DataError, Description
from mtl_vision.datasets.files import expect_splits, find_files, place
from mtl_vision.datasets.maps import finish_map, read_map, read_stored
from mtl_vision.datasets.recognise import describe
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.targets import Target, kind_of, target_of
from mtl_vision.runtime.kinds import Size, resize_pixels

T = TypeVar("T")
CORES = os.cpu_count() or 1
NAMED = 20  # files that an error names
ASPECT = 0.03  # relative difference of aspect ratios that a resized image may have


class FolderDataset:
    """One split of a folder as a sequence of Samples.

    description: a Description, a dataset.yaml, a known layout's name, or None for the `dataset.yaml` in the folder or
    the known layout that it has. classes: `nyu13` or `nyu40` to have the labels in that class set, None to take them as
    stored; derived: targets beyond those of the description, derived from them. Raises DataError where something does
    not fit, ValueError for a name in `derived` that is no such target.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        description: Description | str | Path | None = None,
        classes: str | None = None,
        derived: Sequence[str] = (),
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.description = describe(self.root, description)
        found = find_files(self.root, self.description, split)
        self.stems, self.images, self.files, self.scenes = found.stems, found.images, found.targets, found.scenes
        self.absent = found.absent  # listed files of targets that are not there
        self.faults: dict[str, str] = {}  # of the samples that were left out since they can not be read, by name
        if not self.stems:
            if found.no_list:
                raise DataError(
                    f"no list of split '{split}': expected {self.root / found.no_list}, as 'lists' of the description "
                    f"says; in {self.root}: {_names_in(self.root)}"
                )
            image = self.description.image
            folder = place(self.root, self.description, split, image)
            expected = str(folder) if "*" in image else f"{folder}/*.png (or jpg, webp)"
            there = _names_in(self.root)
            raise DataError(f"no images for split '{split}': expected {expected}; in {self.root}: {there}")
        for name in self.files:
            self._expect_any(name)
        labels = self.description.segmentation
        self.classes = labels and labels.read_in(classes)
        self.derived = self._derived(derived)

    def __len__(self) -> int:
        return len(self.stems)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The targets that this source has."""
        return tuple(dict.fromkeys((*self.description.targets(), *(target.name for target in self.derived))))

    @property
    def left_out(self) -> int:
        """How many samples were left out since they can not be read."""
        return len(self.faults)

    def as_trained(self) -> Description:
        """The description with the labels in the class set that they are read in."""
        section, classes = self.description.segmentation, self.classes
        if section is None or classes is None:
            return self.description
        names, palette = (classes.name, None) if classes.name else (list(classes.names), list(classes.palette))
        section = replace(section, first=0, void=255, classes=names, palette=palette, table=None)
        return replace(self.description, segmentation=section)

    def only(self, stems: Sequence[str], split: str) -> Self:
        """The samples of these stems, as a split of this name."""
        part = copy(self)
        part.stems, part.split = list(stems), split
        return part

    def paths(self) -> Iterator[tuple[str, str, Path]]:
        """Every file that this split is read from: image or target, sample (none: the table of labels), path."""
        if (labels := self.description.segmentation) and labels.table:
            yield "segmentation", "", self.root / labels.table["file"]
        for name, files in {"image": self.images, **self.files}.items():
            yield from ((name, stem, files[stem]) for stem in self.stems if stem in files)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample. Raises DataError that names the file."""
        stem = self.stems[index]
        image = read_rgb(self.images[stem], self.description.image_key)
        if self.description.mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
        crop = self.description.crop
        if crop is not None and not _alike(image, (crop["height"], crop["width"])):
            raise DataError(
                f"{self.images[stem]} is {image.shape[0]}x{image.shape[1]} (HxW), 'crop' of the description "
                f"{crop['height']}x{crop['width']}: expected one aspect ratio; correct 'crop', or leave it out"
            )
        maps = {name: array for name in self.files if (array := self.read(name, index)) is not None}
        if self.description.fit and maps:
            size = next(iter(maps.values())).shape[:2]
            image = resize_pixels(image, size) if _alike(image, size) else image
            maps = {name: kind_of(name).resize(a, size) if _alike(a, size) else a for name, a in maps.items()}
        size = image.shape[:2]
        for name, array in maps.items():
            if array.shape[:2] != size:
                raise DataError(
                    f"{self.files[name][stem]} is {array.shape[0]}x{array.shape[1]} (HxW), its image "
                    f"{self.images[stem]} is {size[0]}x{size[1]}: both must be of one size"
                )
        return self.with_derived(Sample(stem, image, maps, self.description.camera(size)))

    def with_derived(self, sample: Sample) -> Sample:
        """The sample with the targets that are derived from those it has."""
        sample = replace(sample, targets=(maps := dict(sample.targets)))
        for target in self.derived:
            if target.derive and maps.keys() >= set(target.needs) and (array := target.derive(sample)) is not None:
                maps[target.name] = target.checked(array, sample.size)
        return replace(sample, targets={name: maps[name] for name in self.target_names if name in maps})

    def read(self, name: str, index: int) -> np.ndarray | None:
        """A target's map from its file, such as class ids in `classes`; None where there is no file."""
        path, values = self._path(name, index), self.values(name, index)
        if path is None or values is None:
            return None
        return finish_map(values, path, name, self.description, self.classes)

    def values(self, name: str, index: int, stored: np.ndarray | None = None) -> np.ndarray | None:
        """What a target's file holds, upright: metres, stored ids, vectors of any length; None where there is none.

        stored: the file as it is, where it has been read already.
        """
        path = self._path(name, index)
        return None if path is None else read_map(path, name, self.description, self.root, stored)

    def stored(self, name: str, index: int) -> np.ndarray | None:
        """A target's file as it is, (H, W) or (H, W, 3) of any type; None where there is none."""
        path = self._path(name, index)
        return None if path is None else read_stored(path, name, self.description)

    def _path(self, name: str, index: int) -> Path | None:
        return self.files.get(name, {}).get(self.stems[index])

    def _derived(self, names: Sequence[str]) -> tuple[Target, ...]:
        """The targets without files: those that the description derives, and those of `names` that it lacks."""
        described = self.description.targets()
        derived = [target_of(name) for name in described if name not in self.files]
        for target in (target_of(name) for name in dict.fromkeys(names) if name not in described):
            if target.derive is None:
                raise ValueError(f"derived has '{target.name}', which is read from files: give it in the description")
            there = {*described, *(other.name for other in derived)}
            if missing := [name for name in target.needs if name not in there]:
                raise DataError(
                    f"{target.name} is derived from {' and '.join(target.needs)}: {self.root} has no "
                    f"{' and no '.join(missing)}; leave {target.name} out"
                )
            derived.append(target)
        return tuple(derived)

    def _expect_any(self, name: str) -> None:
        """An image without a file simply lacks the target; a target that is described without any file is an error."""
        if not self.files[name].keys() & set(self.stems):
            named = self.description.section(name).folder
            folder = place(self.root, self.description, self.split, named)
            alone = named.count("*") == 1  # of several, the sample's name does not tell which stands for what
            file = folder if "*" in named else folder / f"{self.stems[0]}.png"
            file = str(file).replace("*", self.stems[0]) if alone else file
            raise DataError(
                f"no {name} for split '{self.split}': expected {file} and so on, found {_names_in(folder)[:3]}; leave "
                f"'{name}' out of the description if there is none, or '{self.split}' out of its 'splits' if only that "
                "lacks it"
            )


def open_splits(root: Path, description: Description, classes: str | None = None) -> list[FolderDataset]:
    """Every split that is there."""
    return [FolderDataset(root, split, description, classes) for split in expect_splits(root, description)]


def in_threads(function: Callable[[int], T], count: int, text: str, workers: int = CORES) -> list[T]:
    """function(0), .. function(count - 1), by `workers` threads and with a progress bar called `text`."""
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        return list(tqdm(pool.map(function, range(count)), total=count, desc=text, leave=False, disable=None))


def _names_in(folder: Path) -> list[str]:
    """Some names of what is in a folder, for an error."""
    if not folder.is_dir():
        return ["no such folder"]
    found = sorted(path.name for path in folder.iterdir())
    return found[:NAMED] + [f"and {len(found) - NAMED} more"] * (len(found) > NAMED)


def _alike(array: np.ndarray, size: Size) -> bool:
    """Whether an image or a map has the aspect ratio of a size (H, W), nearly."""
    return abs(array.shape[1] * size[0] / (array.shape[0] * size[1]) - 1) < ASPECT
