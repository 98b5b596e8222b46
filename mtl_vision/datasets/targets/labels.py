"""Class ids and instance numbers: uint8 (H, W), 255 = none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.datasets.classes import ClassSet, Palette, class_set, label_table, make_palette
from mtl_vision.datasets.idtable import id_table
from mtl_vision.datasets.schema import Folder, Variable
from mtl_vision.datasets.targets.base import Target, one_channel
from mtl_vision.datasets.text import shown
from mtl_vision.runtime.kinds import IGNORE


@dataclass(frozen=True)
class LabelFiles:
    """Class ids as values; `first` is the id of the first class, `void` means no label.

    table: file, from and to: a file of columns between tabs, of which one has the stored ids and another the classes'.
    """

    folder: Folder = "label"
    first: int = 0
    void: int = 255
    classes: Annotated[str | list[str], "nyu13, nyu40 or a list of names"] = "nyu13"
    palette: Annotated[Palette, "a list of [red, green, blue], each 0 to 255"] | None = None
    table: Annotated[dict[str, str], "a mapping of file, from and to"] | None = None
    key: Variable | None = None

    def class_set(self) -> ClassSet:
        """The classes as they are stored."""
        if isinstance(self.classes, str):
            return class_set(self.classes)
        palette = self.palette or make_palette(len(self.classes))
        return ClassSet(tuple(self.classes), tuple(tuple(colour) for colour in palette))  # type: ignore[arg-type]

    def problem(self) -> str | None:
        """What is wrong with the section."""
        try:
            classes = self.class_set()
        except ValueError as error:
            return f"classes: {error}"
        count = len(classes.names)
        if not 1 <= count <= IGNORE:
            return f"classes has {count} names: expected 1 to {IGNORE}"
        if len(classes.palette) != count:
            return f"palette has {len(classes.palette)} colours for {count} classes"
        if any(not 0 <= part <= 255 for colour in self.palette or () for part in colour):
            return f"palette is {shown(str(self.palette))}: expected red, green and blue, each 0 to 255"
        if not 0 <= self.first <= 65536 - count or not -65536 <= self.void <= 65535:
            expected = "expected values of 16 bits at most (a negative .void where there is none)"
            return f"first is {shown(str(self.first))}, .void {shown(str(self.void))}: {expected}"
        if self.table is not None and set(self.table) != {"file", "from", "to"}:
            return f"table has {shown(str(sorted(self.table)))}: expected file, from and to"
        return None

    def read_in(self, classes: str | None) -> ClassSet:
        """The class set that labels are read in: `classes` by name, or None for the stored one. Raises DataError."""
        stored = self.class_set()
        if classes is None:
            return stored
        if not stored.name:
            raise DataError(f"classes is {classes}, the labels have classes of their own: leave it at None")
        try:
            wanted = class_set(classes)
            label_table(stored.name, wanted.name, self.first, self.void)
        except ValueError as error:
            raise DataError(f"classes: {error}") from None
        return wanted


@dataclass(frozen=True)
class InstancesFiles:
    """A number for each object in an image, 0 to 254; 255 means none. No task uses them yet."""

    folder: Folder = "instances"


def read(stored: np.ndarray, section: object) -> np.ndarray:
    """The stored values as whole numbers (H, W) int32."""
    stored = one_channel(stored)
    rounded = stored
    if stored.dtype.kind == "f":
        rounded = np.nan_to_num(stored.astype(np.float64), nan=0.5).round().clip(-(2**30), 2**30)
    if rounded is not stored and not np.array_equal(rounded, stored):
        raise DataError("expected whole numbers, the classes' ids; found others")
    return rounded.astype(np.int64).clip(-(2**30), 2**30).astype(np.int32)  # OpenCV has no 64-bit images


def place(stored: np.ndarray, section: LabelFiles, root: Path, camera: object) -> np.ndarray:
    """The stored values, or the ids that the section's table gives for them. Raises DataError for those it lacks."""
    if section.table is None:
        return stored
    known = id_table(root / section.table["file"], section.table["from"], section.table["to"])
    values, inverse = np.unique(stored, return_inverse=True)
    if odd := [value for value in values.tolist() if value not in known and value != section.void]:
        raise DataError(f"label {odd[0]} is not in column '{shown(section.table['from'])}' of {section.table['file']}")
    ids = np.array([known.get(value, section.void) for value in values.tolist()], np.int32)
    return ids[inverse].reshape(stored.shape)


def finish(stored: np.ndarray, section: LabelFiles, classes: ClassSet | None) -> np.ndarray:
    """Class ids in `classes`, 255 for void. Raises DataError for a value that is no class."""
    known = section.class_set()
    table = label_table(known.name, (classes or known).name, section.first, section.void, len(known.names))
    ids = np.where((stored >= 0) & (stored < 65536), table[np.clip(stored, 0, 65535)], np.uint8(IGNORE))
    last = section.first + len(known.names) - 1
    odd = np.unique(stored[(ids == IGNORE) & (stored != section.void)])
    odd = odd[(odd < section.first) | (odd > last)]
    if odd.size:
        raise DataError(
            f"label {odd[0]} is not a class: expected {section.first}..{last}, or {section.void} for void; correct "
            "segmentation.first, .void or .classes in the description"
        )
    return ids


def finish_instances(stored: np.ndarray, section: InstancesFiles, classes: ClassSet | None) -> np.ndarray:
    """The numbers themselves."""
    if not (stored.min() >= 0 and stored.max() <= IGNORE):
        raise DataError(f"instances {stored.min()} to {stored.max()}: expected 0 to 254, and {IGNORE} for none")
    return stored.astype(np.uint8)


SEGMENTATION = Target("segmentation", "label_map", read, finish, place=place)
INSTANCES = Target("instances", "label_map", read, finish_instances)
