"""The canonical folder: {train,val,test}/{rgb,depth,normals,label}/STEM.* and one dataset.yaml beside them.

The same reader takes other folders of this shape where they lie, by a description given separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from mtl_vision.data.classes import ClassSet, class_set, label_table
from mtl_vision.data.description import FILE_NAME, DataError, Description, LabelFormat, read_description
from mtl_vision.data.normals import normals_from_depth
from mtl_vision.data.sample import Sample
from mtl_vision.runtime.images import ImageError, read_image
from mtl_vision.runtime.kinds import IGNORE, normalise

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


class FolderDataset:
    """One split of a folder as a sequence of Samples.

    root: the folder; description: a Description, or None to read `dataset.yaml` in it; classes: `nyu13` or `nyu40` to
    have the labels in that class set, None to take them as stored. Raises DataError where something does not fit.
    """

    def __init__(
        self, root: Path, split: str, description: Description | None = None, classes: str | None = None
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.description = description or read_description(self.root / FILE_NAME)
        self.folder = self.root / self.description.splits.get(split, split)
        images = _files(self.folder / self.description.image)
        if not images:
            found = sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else "no such folder"
            raise DataError(
                f"no pictures for split '{split}': expected {self.folder / self.description.image}/*.png (or jpg, "
                f"webp); in {self.root}: {found}"
            )
        self.stems = sorted(images)
        self.images = images
        self.files = {name: self._target_files(name) for name in self.description.targets()}
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

    def paths(self) -> list[Path]:
        """Every file that this split is read from."""
        return [files[stem] for files in (self.images, *self.files.values()) for stem in self.stems if stem in files]

    def __getitem__(self, index: int) -> Sample:
        """Read one sample. Raises DataError that names the file."""
        stem = self.stems[index]
        image = _picture(self.images[stem])
        size = image.shape[:2]
        camera = self.description.camera(size)
        targets: dict[str, np.ndarray] = {}
        if "depth" in self.files and stem in self.files["depth"]:
            targets["depth"] = self._depth(self.files["depth"][stem])
        if self.description.normals is not None and self.description.normals.derive:
            if camera is not None and "depth" in targets and targets["depth"].shape == size:
                targets["normals"] = normals_from_depth(targets["depth"], camera)
        elif (vectors := self.vectors(index)) is not None:
            targets["normals"] = _unit(vectors)
        if (labels := self._segmentation(index)) is not None:
            targets["segmentation"] = labels
        for name, array in targets.items():
            if array.shape[:2] != size:
                raise DataError(
                    f"{self.files[name][stem]} is {array.shape[0]}x{array.shape[1]} (HxW), its picture "
                    f"{self.images[stem]} is {size[0]}x{size[1]}: both must be of one size"
                )
        return Sample(stem, image, targets, camera)

    def _target_files(self, name: str) -> dict[str, Path]:
        """Files by stem; a picture without one simply lacks the target, a target without any file is an error."""
        fmt = getattr(self.description, name)
        if name == "normals" and fmt.derive:
            return {}
        files = _files(self.folder / fmt.folder)
        if not set(files) & set(self.stems):
            raise DataError(
                f"no {name} for split '{self.split}': expected {self.folder / fmt.folder}/{self.stems[0]}.png and so "
                f"on; leave '{name}' out of the description if there is none"
            )
        return files

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

    def _depth(self, path: Path) -> np.ndarray:
        fmt = self.description.depth
        assert fmt is not None
        stored = _single(path)
        metres = stored.astype(np.float32) * np.float32(fmt.scale) + np.float32(fmt.offset)
        if fmt.invalid is not None:
            metres[stored == fmt.invalid] = 0
        return np.maximum(metres, 0)

    def vectors(self, index: int) -> np.ndarray | None:
        """The stored normals (H, W, 3) float32 in our axes, at whatever length they have; None where there are none."""
        fmt, path = self.description.normals, self.files.get("normals", {}).get(self.stems[index])
        if fmt is None or path is None:
            return None
        stored = _read(path)
        if stored.ndim != 3 or stored.shape[2] != 3 or stored.dtype not in (np.uint8, np.uint16):
            raise DataError(
                f"{path}: expected three channels of 8 or 16 bits, (n + 1) / 2, found {stored.dtype} of shape "
                f"{stored.shape}"
            )
        vectors = stored[..., ::-1].astype(np.float32) / (np.iinfo(stored.dtype).max / 2) - 1
        return np.stack([vectors[..., "xyz".index(a[-1])] * (-1 if a[0] == "-" else 1) for a in fmt.axes], axis=-1)

    def ids(self, index: int) -> np.ndarray | None:
        """The stored label values (H, W), uint8 or uint16; None where there are none."""
        path = self.files.get("segmentation", {}).get(self.stems[index])
        return None if path is None else _single(path)

    def _segmentation(self, index: int) -> np.ndarray | None:
        stored = self.ids(index)
        if stored is None:
            return None
        fmt = self.description.segmentation
        assert self._labels is not None and fmt is not None
        ids = self._labels[stored]
        last = fmt.first + len(fmt.class_set().names) - 1
        odd = np.unique(stored[(ids == IGNORE) & (stored != fmt.void)])
        odd = odd[(odd < fmt.first) | (odd > last)]
        if odd.size:
            raise DataError(
                f"{self.files['segmentation'][self.stems[index]]}: label {odd[0]} is not a class: expected "
                f"{fmt.first}..{last}, or {fmt.void} for void; correct segmentation.first, .void or .classes in the "
                "description"
            )
        return ids


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (H, W, 3) at unit length; what is far from it, such as black or grey in a picture, is invalid."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where((length > 0.5) & (length < 1.5), normalise(vectors), 0).astype(np.float32)


def _files(folder: Path) -> dict[str, Path]:
    """Pictures of a folder by stem, in order; hidden files (macOS leaves ._0001.png) are none."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            raise DataError(f"{folder} has both {files[path.stem].name} and {path.name}: keep one file a sample")
        files[path.stem] = path
    return files


def _picture(path: Path) -> np.ndarray:
    try:
        return read_image(path)
    except ImageError as error:
        raise DataError(f"{path}: {error}; replace it, or remove its sample") from error


def _read(path: Path) -> np.ndarray:
    """The stored values of a map."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    cut = data.startswith(b"\x89PNG") and b"IEND" not in data[-64:]  # some versions of OpenCV give half a picture then
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data and not cut else None
    except cv2.error:
        array = None
    if array is None:
        raise DataError(f"{path}: not a readable picture ({len(data)} bytes); replace it, or remove its sample")
    return array


def _single(path: Path) -> np.ndarray:
    """One channel of uint8 or uint16."""
    array = _read(path)
    if array.ndim != 2 or array.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: expected one channel of 8 or 16 bits, found {array.dtype} of shape {array.shape}")
    return array
