"""A folder of pictures and ground truth, read as its description says: the canonical one, or one of another form.

The canonical folder is {train,val,test}/{rgb,depth,normals,label}/STEM.* with one dataset.yaml beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtl_vision.datasets.arrays import read_picture, read_values
from mtl_vision.datasets.classes import ClassSet, class_set, label_table
from mtl_vision.datasets.description import DataError, Description, LabelFormat
from mtl_vision.datasets.files import find_files, no_splits, place, splits_there
from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.recognise import describe
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.unwrap import unwrap
from mtl_vision.runtime.kinds import IGNORE, Size, normalise, resize_pixels

NEAREST = 0.4  # metres; no depth camera of the kind sees nearer
ASPECT = 0.03  # relative difference of aspect ratios that a resized picture may have


class FolderDataset:
    """One split of a folder as a sequence of Samples.

    root: the folder; description: a Description, or None for the `dataset.yaml` in it, or the known form that it has;
    classes: `nyu13` or `nyu40` to have the labels in that class set, None to take them as stored. Raises DataError
    where something does not fit.
    """

    def __init__(
        self, root: Path, split: str, description: Description | None = None, classes: str | None = None
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.description = description or describe(self.root)
        layout = find_files(self.root, self.description, split)
        self.stems, self.images, self.files = layout.stems, layout.images, layout.targets
        self.scenes = layout.scenes
        self.left_out = 0  # samples that could not be read
        if not self.stems:
            found = sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else "no such folder"
            raise DataError(f"no pictures for split '{split}': expected {self._expected()}; in {self.root}: {found}")
        for name in self.files:
            self._has_any(name)
        self.classes, self._labels = self._label_reader(classes)

    def __len__(self) -> int:
        return len(self.stems)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The targets that this source has."""
        return self.description.targets()

    def as_trained(self) -> Description:
        """The description with the labels in the class set that they are read in."""
        fmt, classes = self.description.segmentation, self.classes
        if fmt is None or classes is None:
            return self.description
        palette = None if classes.name else list(classes.palette)
        names = classes.name or list(classes.names)
        return replace(self.description, segmentation=replace(fmt, first=0, void=255, classes=names, palette=palette))

    def only(self, stems: Sequence[str], split: str) -> FolderDataset:
        """The samples of these stems alone, as a split of this name."""
        part = copy(self)
        part.stems, part.split = list(stems), split
        return part

    def paths(self) -> Iterator[tuple[str, str, Path]]:
        """Every file that this split is read from: image or target, sample, path."""
        for name, files in {"image": self.images, **self.files}.items():
            yield from ((name, stem, files[stem]) for stem in self.stems if stem in files)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample. Raises DataError that names the file."""
        d, stem = self.description, self.stems[index]
        image = self._upright(read_picture(self.images[stem]))
        maps = {
            "depth": self.depth(index),
            "segmentation": self._segmentation(index),
            "instances": self._instances(index),
        }
        targets = {name: array for name, array in maps.items() if array is not None}
        if (vectors := self.vectors(index)) is not None:
            targets["normals"] = _unit(vectors)
        if d.fit and targets:
            image = _fitted(image, next(iter(targets.values())).shape[:2])
        size = image.shape[:2]
        for name, array in targets.items():
            if array.shape[:2] != size:
                raise DataError(
                    f"{self.files[name][stem]} is {array.shape[0]}x{array.shape[1]} (HxW), its picture "
                    f"{self.images[stem]} is {size[0]}x{size[1]}: both must be of one size"
                )
        camera = d.camera(size)
        if d.normals is not None and d.normals.derive and camera is not None and "depth" in targets:
            targets["normals"] = normals_from_depth(targets["depth"], camera)
        return Sample(stem, image, {name: targets[name] for name in d.targets() if name in targets}, camera)

    def vectors(self, index: int) -> np.ndarray | None:
        """The stored normals (H, W, 3) float32 in our axes, at whatever length they have; None where there are none."""
        fmt, path = self.description.normals, self._path("normals", index)
        if fmt is None or path is None:
            return None
        stored = self._upright(read_values(path, fmt.key))
        if (
            stored.ndim != 3
            or stored.shape[2] != 3
            or (stored.dtype.kind != "f" and stored.dtype not in (np.uint8, np.uint16))
        ):
            raise DataError(
                f"{path}: expected three channels of 8 or 16 bits, (n + 1) / 2, or vectors of floats; found "
                f"{stored.dtype} of shape {stored.shape}"
            )
        if stored.dtype.kind == "f":
            vectors = np.nan_to_num(stored.astype(np.float32), posinf=0, neginf=0)
        else:
            vectors = stored.astype(np.float32) / (np.iinfo(stored.dtype).max / 2) - 1
        turned = [vectors[..., "xyz".index(a[-1])] * (-1 if a[0] == "-" else 1) for a in fmt.axes]
        if self.description.mirrored:
            turned[0] = -turned[0]
        return np.stack(turned, axis=-1)

    def ids(self, index: int, target: str = "segmentation") -> np.ndarray | None:
        """The stored label values (H, W), whole numbers; None where there are none."""
        path = self._path(target, index)
        if path is None:
            return None
        stored = self._single(path, getattr(getattr(self.description, target), "key", None))
        whole = stored if stored.dtype.kind != "f" else np.nan_to_num(stored, nan=0.5).round().astype(np.int64)
        if stored.dtype.kind == "f" and not np.array_equal(whole, stored):
            raise DataError(f"{path}: expected whole numbers, the classes' ids; found others")
        return whole

    def depth(self, index: int) -> np.ndarray | None:
        """Metres (H, W) float32, 0 where there are none; None where there is no file."""
        fmt, path = self.description.depth, self._path("depth", index)
        if fmt is None or path is None:
            return None
        stored = self._single(path, fmt.key)
        scale = fmt.scale
        if fmt.full_scale is not None:
            if stored.dtype.kind == "f":
                raise DataError(
                    f"{path}: depth.full_scale is for whole numbers, found {stored.dtype}: give depth.scale"
                )
            scale = fmt.full_scale / np.iinfo(stored.dtype).max
        if fmt.wraps and stored.dtype != np.uint16:
            raise DataError(f"{path}: depth.wraps is for files of 16 bits, found {stored.dtype}: leave it out")
        values = unwrap(stored, NEAREST / scale) if fmt.wraps else stored
        metres = values.astype(np.float32) * np.float32(scale) + np.float32(fmt.offset)
        if fmt.invalid is not None:
            metres[stored == fmt.invalid] = 0
        metres[~np.isfinite(metres)] = 0
        return np.maximum(metres, 0)

    def _segmentation(self, index: int) -> np.ndarray | None:
        stored = self.ids(index)
        if stored is None:
            return None
        fmt = self.description.segmentation
        assert self._labels is not None and fmt is not None
        ids = np.where((stored >= 0) & (stored < 65536), self._labels[np.clip(stored, 0, 65535)], np.uint8(IGNORE))
        last = fmt.first + len(fmt.class_set().names) - 1
        odd = np.unique(stored[(ids == IGNORE) & (stored != fmt.void)])
        odd = odd[(odd < fmt.first) | (odd > last)]
        if odd.size:
            raise DataError(
                f"{self._path('segmentation', index)}: label {odd[0]} is not a class: expected "
                f"{fmt.first}..{last}, or {fmt.void} for void; correct segmentation.first, .void or .classes in the "
                "description"
            )
        return ids

    def _instances(self, index: int) -> np.ndarray | None:
        stored = self.ids(index, "instances")
        if stored is not None and not (stored.min() >= 0 and stored.max() <= IGNORE):
            raise DataError(
                f"{self._path('instances', index)}: instances {stored.min()} to {stored.max()}: expected 0 to 254, and "
                f"{IGNORE} for none"
            )
        return None if stored is None else stored.astype(np.uint8)

    def _path(self, target: str, index: int) -> Path | None:
        return self.files.get(target, {}).get(self.stems[index])

    def _upright(self, array: np.ndarray) -> np.ndarray:
        """Turned back where the files are mirrored."""
        return np.ascontiguousarray(array[:, ::-1]) if self.description.mirrored else array

    def _single(self, path: Path, key: str | None) -> np.ndarray:
        """One number a pixel; grey stored as three equal channels is one."""
        array = read_values(path, key)
        if array.ndim == 3 and array.shape[2] == 3 and (array == array[..., :1]).all():
            array = array[..., 0]
        if array.ndim != 2:
            raise DataError(f"{path}: expected one channel of 8 or 16 bits, found {array.dtype} of shape {array.shape}")
        return self._upright(array)

    def _expected(self) -> str:
        folder = place(self.root, self.description, self.split, self.description.image)
        return str(folder) if "*" in folder.name else f"{folder}/*.png (or jpg, webp)"

    def _has_any(self, name: str) -> None:
        """A picture without a file simply lacks the target; a target that is described without any file is an error."""
        if not self.files[name].keys() & set(self.stems):
            folder = place(self.root, self.description, self.split, getattr(self.description, name).folder)
            file = str(folder).replace("*", self.stems[0]) if "*" in folder.name else f"{folder}/{self.stems[0]}.png"
            there = sorted(path.name for path in folder.iterdir())[:3] if folder.is_dir() else "no such folder"
            raise DataError(
                f"no {name} for split '{self.split}': expected {file} and so on, found {there}; leave '{name}' out of "
                "the description if there is none"
            )

    def _label_reader(self, classes: str | None) -> tuple[ClassSet | None, np.ndarray | None]:
        fmt: LabelFormat | None = self.description.segmentation
        if fmt is None:
            return None, None
        stored = fmt.class_set()
        if not stored.name or classes in (None, stored.name):
            if classes is not None and not stored.name:
                raise DataError(f"the labels of {self.root} have classes of their own: leave data.classes at null")
            table = np.full(65536, IGNORE, np.uint8)
            table[fmt.first : fmt.first + len(stored.names)] = np.arange(len(stored.names))
            if fmt.void >= 0:
                table[fmt.void] = IGNORE
            return stored, table
        try:
            return class_set(classes), label_table(stored.name, classes, fmt.first, fmt.void)  # type: ignore[arg-type]
        except ValueError as error:
            raise DataError(f"data.classes: {error}") from None


def open_splits(root: Path, description: Description, classes: str | None = None) -> list[FolderDataset]:
    """Every split that is there."""
    found = splits_there(root, description)
    if not found:
        raise no_splits(root, description)
    return [FolderDataset(root, split, description, classes) for split in found]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (H, W, 3) at unit length; what is far from it, such as black or grey in a picture, is invalid."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where((length > 0.5) & (length < 1.5), normalise(vectors), 0).astype(np.float32)


def _fitted(image: np.ndarray, size: Size) -> np.ndarray:
    """The picture at its maps' size, where the aspect ratios agree."""
    aspects = image.shape[1] / image.shape[0], size[1] / size[0]
    return resize_pixels(image, size) if abs(aspects[0] / aspects[1] - 1) < ASPECT else image
